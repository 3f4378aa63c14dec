"""Disks of a few megabytes, to be filled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of a size, as ``1m``, mounted below a folder; where nobody may mount one, the test skips."""
    disk = folder / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip("may not mount a small disk: " + mount.stderr.decode().strip())
    try:
        yield disk
    finally:
        # An error that is looked at may hold a file open.
        subprocess.run(["umount", "--lazy", disk], check=True)


def resize(disk: Path, size: str | int) -> None:
    """Give a small disk another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
