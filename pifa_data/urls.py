"""Names of files on disk and in object stores (``s3://bucket/key``)."""

from __future__ import annotations

from pathlib import Path


def is_url(name: str | Path) -> bool:
    """Whether a name is a URL as ``s3://bucket/prefix``, and no path."""
    return isinstance(name, str) and "://" in name


def join(folder: str | Path, name: str) -> str:
    """``name`` below ``folder``, or ``name`` itself where it is absolute or a URL."""
    if is_url(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if isinstance(folder, str) and is_url(folder) else str(Path(folder) / name)
