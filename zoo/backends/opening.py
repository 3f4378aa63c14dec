"""From an address to the place that it names; what a place needs is imported when it is asked for."""

from pathlib import Path
from typing import cast

from zoo.backends.base import Backend, Writer
from zoo.backends.folder import FolderBackend
from zoo.errors import PublishError, RegistryError


def open_backend(url: str) -> Backend:
    """The place that an address names: a path or ``file://``, ``http(s)://``, ``s3://``, ``hf://``.

    Raises:
        RegistryError: no such kind of address, or it needs a package that is not installed.
    """
    scheme = url.partition("://")[0] if "://" in url else "file"
    if scheme == "file" or url.startswith("file:"):
        return FolderBackend(url)
    if scheme in ("http", "https"):
        from zoo.backends.web import WebBackend

        return WebBackend(url)
    if scheme == "s3":
        from zoo.backends.bucket import BucketBackend

        return BucketBackend(url)
    raise RegistryError(
        f"registry {url!r}: expected a folder, file://, https://, s3:// or hf://, found another kind of address; "
        "correct --registry or PIFA_REGISTRY"
    )


def open_writer(url: str, staging: Path | None = None) -> Writer:
    """The place that an address names, to publish to; with ``staging`` a folder of what is to be copied there.

    Raises:
        PublishError: it can only be read.
        RegistryError: as `open_backend`.
    """
    backend = open_backend(url)
    if staging is not None:
        from zoo.backends.staging import StagingWriter

        return StagingWriter(backend, staging)
    if not hasattr(backend, "swap_index"):
        raise PublishError(
            f"registry {url!r}: expected one that can be written, found a web server; give --staging DIR, "
            "and copy what it holds to the server, index.json last"
        )
    return cast(Writer, backend)
