"""From an address to the place that it names; what a place needs is imported when it is asked for."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

from zoo.addresses import shown_address
from zoo.backends.base import Backend, Opened, Writer
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
    if scheme == "hf":
        from zoo.backends.hub import HubBackend

        return HubBackend(url)
    raise RegistryError(
        f"registry {shown_address(url)!r}: expected a folder, file://, https://, s3:// or hf://, found another kind "
        "of address; correct --registry or PIFA_REGISTRY"
    )


class Mirror:
    """A place that is opened when it is used: what a mirror lacks, such as a package, matters only then."""

    folder = None

    def __init__(self, url: str) -> None:
        self.url = url
        self._backend: Backend | None = None

    def where(self, path: str) -> str:
        return f"{shown_address(self.url).rstrip('/')}/{path}"

    def exists(self) -> bool:
        return self._opened().exists()

    def open(self, path: str, start: int = 0) -> AbstractContextManager[Opened]:
        return self._opened().open(path, start)

    def _opened(self) -> Backend:
        self._backend = self._backend or open_backend(self.url)
        return self._backend


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
            f"registry {shown_address(url)!r}: expected one that can be written, found a web server; give "
            "--staging DIR, and copy what it holds to the server, index.json last"
        )
    return cast(Writer, backend)
