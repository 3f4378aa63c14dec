"""A registry in a bucket, ``s3://bucket/prefix``: Amazon's S3 or a store that speaks its interface.

Credentials, region and endpoint are found as AWS's own tools find them (botocore). An object appears whole. Files are
written on the condition that there are none of that name, and the index on the condition that it is still the one
that was read, so that publishers lose nothing without a lock.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, cast

from zoo.backends.base import Opened
from zoo.entry import CONFIG, INDEX, MAX_INDEX_BYTES, FileEntry
from zoo.errors import MissingFileError, PublishError, RegistryError, UnreachableError, ZooError
from zoo.plain import first_line
from zoo.storage import hash_stream, read_up_to, temporary_folder
from zoo.transfer import patiently

log = logging.getLogger("pifa")

CONNECT_SECONDS, READ_SECONDS = 10, 30

MAX_PUT_BYTES = 5 * 2**30
"""What one PUT may bring. A write in parts can't be made on a condition by this client."""

_TYPES = {".json": "application/json", ".md": "text/markdown; charset=utf-8", ".html": "text/html; charset=utf-8"}
_TYPES |= {".png": "image/png", ".jpg": "image/jpeg"}
_NO_BUCKET = "expected a bucket, found none of that name; correct --registry"
_PASSING = {"408", "429", "500", "502", "503", "504", "SlowDown", "InternalError", "RequestTimeout"}


class BucketBackend:
    """A bucket, or what is below a prefix of one.

    Raises:
        RegistryError: no such URL, or the packages for it are not installed.
    """

    folder = None

    def __init__(self, url: str) -> None:
        self.url = url
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        prefix = prefix.strip("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket) or ".." in prefix.split("/"):
            raise RegistryError(f"registry {url!r}: expected s3://bucket/prefix; correct --registry")
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._warned = False
        try:
            from boto3 import Session
            from botocore import UNSIGNED
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise RegistryError(
                f"{url}: needs a package that is not installed: pip install 'pifa[s3]' ({error})"
            ) from error
        retries = {"total_max_attempts": 4, "mode": "standard"}
        config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=retries)
        try:
            session = Session()
            if session.get_credentials() is None:  # a public bucket asks for none
                config = config.merge(Config(signature_version=UNSIGNED))
            self._client: Any = session.client("s3", config=config)
        except (BotoCoreError, ValueError) as error:
            raise RegistryError(f"{url}: expected settings for S3, found {first_line(error)}; correct them") from error

    def where(self, path: str) -> str:
        return f"{self.url.rstrip('/')}/{path}"

    def exists(self) -> bool:
        """Whether there is such a bucket; a prefix needs no making."""
        try:
            with _plain_errors(self.url):
                self._client.head_bucket(Bucket=self._bucket)
        except MissingFileError as error:
            raise RegistryError(f"{self.url}: {_NO_BUCKET}") from error
        return True

    @contextmanager
    def open(self, path: str, start: int = 0) -> Iterator[Opened]:
        where = self.where(path)
        try:
            reply = self._get(path, **({"Range": f"bytes={start}-"} if start else {}))
        except _BeyondTheEnd:
            start, reply = 0, self._get(path)
        with closing(reply["Body"]) as body:  # as its own manager it gives a stream that may end early
            yield Opened(cast(BinaryIO, _Body(body, where)), start, start + int(reply["ContentLength"]))

    def prepare(self) -> None:
        self.exists()

    def new_folder(self) -> AbstractContextManager[Path]:
        return temporary_folder("pifa-publish-")

    def put_version(self, made: Path, path: str, files: Sequence[FileEntry]) -> None:
        for file in files:
            if file.size > MAX_PUT_BYTES:
                raise PublishError(
                    f"{file.name}: expected at most {MAX_PUT_BYTES} bytes, which one request may bring, found "
                    f"{file.size}; publish to a folder and copy it, index.json last"
                )
            if not self._put_new(f"{path}/{file.name}", made / file.name):
                self._compare(f"{path}/{file.name}", file)
        if self._put_new(f"{path}/{CONFIG}", made / CONFIG):  # the same bytes once more: harmless
            self._warn()

    def put_file(self, path: str, data: bytes) -> None:
        with _plain_errors(self.where(path)):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + path, Body=data)

    def turn(self) -> AbstractContextManager[None]:
        return nullcontext()

    def read_indexes(self) -> tuple[list[bytes], str | None]:
        try:
            reply = self._get(INDEX)
        except MissingFileError:
            return [], None
        with closing(reply["Body"]) as body:
            return [read_up_to(cast(BinaryIO, _Body(body, self.where(INDEX))), MAX_INDEX_BYTES + 1)], reply["ETag"]

    def swap_index(self, data: bytes, tag: str | None) -> bool:
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        try:
            written = self._put(INDEX, data, **condition)
        except _Conflict:
            return False
        # A write that is done although its answer got lost is sent again by the client: what then stands there is ours.
        return written or self.read_indexes()[0] == [data]

    def _get(self, path: str, **ranged: str) -> Any:
        with _plain_errors(self.where(path)):
            return self._client.get_object(Bucket=self._bucket, Key=self._prefix + path, **ranged)

    def _put_new(self, path: str, source: Path) -> bool:
        def put() -> bool:
            with source.open("rb") as stream:
                return self._put(path, stream, IfNoneMatch="*")

        return patiently(put)

    def _put(self, path: str, body: Any, **condition: str) -> bool:
        """Whether it was written; False: the condition does not hold."""
        key = self._prefix + path
        kind = _TYPES.get(Path(path).suffix, "application/octet-stream")
        try:
            with _plain_errors(self.where(path)):
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=kind, **condition)
        except _ConditionFailed:
            return False
        except _NotImplemented:
            self._warn()
            if "IfNoneMatch" in condition and self._has(path):
                return False
            with _plain_errors(self.where(path)):
                if not isinstance(body, bytes):
                    body.seek(0)
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=kind)
        return True

    def _has(self, path: str) -> bool:
        try:
            with _plain_errors(self.where(path)):
                self._client.head_object(Bucket=self._bucket, Key=self._prefix + path)
        except MissingFileError:
            return False
        return True

    def _compare(self, path: str, file: FileEntry) -> None:
        with self.open(path) as opened:
            same = hash_stream(opened.stream, file.size).is_of(file)
        if not same:
            raise PublishError(
                f"{self.where(path)}: expected no such file, found another one that the index does not name, left by a "
                "publication that was killed or is under way; if none is under way, remove that folder and publish "
                "again"
            )

    def _warn(self) -> None:
        if not self._warned:
            log.warning("%s: this store ignores conditions: let one publisher at a time write to it", self.url)
        self._warned = True


class _ConditionFailed(RegistryError):
    pass


class _Conflict(UnreachableError):
    pass


class _NotImplemented(RegistryError):
    pass


class _BeyondTheEnd(RegistryError):
    pass


_OWN: dict[str, type[RegistryError]] = {
    "412": _ConditionFailed,
    "501": _NotImplemented,
    "416": _BeyondTheEnd,
    "404": MissingFileError,
}


@contextmanager
def _plain_errors(where: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        code = str(error.response.get("Error", {}).get("Code", ""))
        text = f"{where}: expected to be served, found {first_line(error)}"
        if code == "NoSuchBucket":
            raise RegistryError(f"{where}: {_NO_BUCKET}") from error
        if status in _OWN:
            cure = "correct --registry, or tell the registry's publisher"
            raise _OWN[status](f"{where}: expected a file, found {code or status}; {cure}") from error
        if status == "409":
            raise _Conflict(f"{where}: expected to write it, found another writing it; try again later") from error
        if {status, code} & _PASSING:
            raise UnreachableError(f"{text}; try again later") from error
        raise RegistryError(f"{text}; check the credentials and what they may do") from error
    except ZooError:
        raise
    except (BotoCoreError, OSError) as error:
        if "redential" in type(error).__name__:
            raise RegistryError(
                f"{where}: expected credentials, found none that work ({first_line(error)}); set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or a profile"
            ) from error
        raise UnreachableError(
            f"{where}: expected an answer, found {first_line(error)}; check the connection"
        ) from error


class _Body:
    """The body of an object; what breaks it off is an `UnreachableError`."""

    def __init__(self, body: Any, where: str) -> None:
        self._body, self._where = body, where

    def read(self, size: int = -1) -> bytes:
        import urllib3

        with _plain_errors(self._where):
            try:
                return cast(bytes, self._body.read(size if size >= 0 else None))
            except urllib3.exceptions.HTTPError as error:
                raise OSError(str(error)) from error
