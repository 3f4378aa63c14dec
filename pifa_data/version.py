"""The program's version, read from the installed package so that it stands in one place (``pyproject.toml``)."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    VERSION = version("pifa")
except PackageNotFoundError:  # run from a source tree that was never installed
    VERSION = "0+unknown"


def source_commit() -> str | None:
    """The commit of the checkout that this runs from, with ``+changes`` where it was changed since; None: of none."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=True
            ).stdout
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):  # no git here, or a folder that it does not trust
        return None
    return commit.strip() + ("+changes" if changes else "")
