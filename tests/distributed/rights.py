"""Rights of files that hold for root too."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mortal() -> Iterator[None]:
    """Without root's right to write where nobody may, in this thread (Linux: capget and capset of version 3)."""
    if os.name != "posix" or (os.geteuid() == 0 and sys.platform != "linux"):
        pytest.skip("here nobody can be kept from writing")
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()

    def call(function: str) -> None:
        if getattr(libc, function)(header, sets) != 0:
            raise OSError(ctypes.get_errno(), function)

    call("capget")
    effective = sets[0], sets[3]  # each followed by what is permitted and what is inherited
    sets[0] = sets[3] = 0
    call("capset")
    try:
        yield
    finally:
        sets[0], sets[3] = effective
        call("capset")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that nobody may write to, nor to anything in it."""
    paths = [folder, *folder.rglob("*")]
    modes = [path.stat().st_mode for path in paths]
    try:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode & ~0o222)
        with mortal():
            yield
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)
