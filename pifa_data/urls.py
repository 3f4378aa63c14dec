"""Files in object stores and behind web servers, by URL (fsspec)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pifa_data.errors import PifaError

UNCACHED: dict[str, Any] = {"use_listings_cache": False}
"""Other processes write beside this one: a listing that is kept would hide what they wrote."""


def is_url(name: str | Path) -> bool:
    """Whether a name is a URL as ``s3://bucket/prefix``, and no path."""
    return isinstance(name, str) and "://" in name


def open_url(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the URL's path in it.

    Raises:
        PifaError: the URL's kind is not known, or needs a package that is not installed.
    """
    import fsspec  # 0.1 s, for those who need it

    try:
        fs, path = fsspec.core.url_to_fs(url, **UNCACHED)
    except ImportError as error:
        raise PifaError(f"{url}: needs a package that is not installed: pip install 'pifa[s3]' ({error})") from error
    except ValueError as error:
        raise PifaError(f"{url}: expected a path, or a URL as s3://bucket/prefix ({error})") from error
    return fs, path.rstrip("/")


def join(folder: str | Path, name: str) -> str:
    """``name`` below ``folder``, or ``name`` itself where it is absolute or a URL."""
    if is_url(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if isinstance(folder, str) and is_url(folder) else str(Path(folder) / name)
