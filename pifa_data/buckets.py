"""Object stores: one client a bucket, which finds credentials, region and endpoint as AWS's own tools do (botocore).

The client is obstore's: of s3fs, a listing took 10 times and a small object 5 times as much of the processor
(``benchmarks/s3.py``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from pifa_data.errors import PifaError

AT_ONCE, SMALL_AT_ONCE = 16, 32
"""Requests that are under way together, and such that bring kilobytes: an answer takes 10 to 100 ms, whatever its size,
and photographs that wait fill the memory."""

CONNECT_SECONDS, READ_SECONDS = 5, 15
"""After which the first request, which asks for the bucket alone, is given up; it is made twice."""

REQUEST_SECONDS, RETRY_SECONDS = 120, 60
"""After which any other request is given up, and for how long one that failed is made again."""

ONE_PART = 64 * 2**20
"""Bytes above which an object is written in parts side by side."""

T = TypeVar("T")
R = TypeVar("R")


def open_bucket(url: str) -> tuple[Any, str]:
    """The client (an ``obstore`` store) of the bucket that a URL is in, and the URL's key there.

    Raises:
        PifaError: no such kind of URL, or a package is not installed.
        OSError: no credentials, no connection, no such bucket.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or scheme not in ("s3", "memory"):
        raise PifaError(f"{url}: expected a path, or a URL as s3://bucket/prefix")
    try:
        return bucket_client(scheme, bucket), key.strip("/")
    except ImportError as error:
        raise PifaError(f"{url}: needs a package that is not installed: pip install 'pifa[s3]' ({error})") from error


@functools.lru_cache(maxsize=16)
def bucket_client(scheme: str, bucket: str) -> Any:
    """One client a bucket for the whole process, whose connections it keeps."""
    from obstore.store import MemoryStore, S3Store

    if scheme == "memory":  # of this process, for tests
        return MemoryStore()
    from boto3 import Session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from obstore.auth.boto3 import Boto3CredentialProvider

    name = f"s3://{bucket}"
    retries = {"total_max_attempts": 2, "mode": "standard"}
    config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=retries)
    try:
        session = Session()
        if session.get_credentials() is None:
            raise OSError(
                f"{name}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile (docs/store.md)"
            )
        botocore = session.client("s3", config=config)
        headers = botocore.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        what = {"404": "no such bucket", "403": "no right to look into this bucket, or wrong credentials"}
        raise OSError(f"{name}: {what.get(code, str(error))}") from error
    except BotoCoreError as error:
        raise OSError(f"{name}: {error}") from error
    endpoint = str(botocore.meta.endpoint_url)
    aws = endpoint.endswith(".amazonaws.com")  # whose endpoint follows from the bucket's region
    return S3Store(
        bucket,
        endpoint=None if aws else endpoint,
        region=headers.get("x-amz-bucket-region") or botocore.meta.region_name,
        # Credentials that expire are renewed by botocore, 10 minutes before they do.
        credential_provider=Boto3CredentialProvider(session, ttl=timedelta(minutes=5)),
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": f"{CONNECT_SECONDS}s",
            "timeout": f"{REQUEST_SECONDS}s",
        },
        retry_config={"max_retries": 10, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
    )


class TooLarge(Exception):
    """An object has more bytes than asked for."""


def get(url: str, limit: int) -> bytes:
    """The bytes of an object.

    Raises:
        FileNotFoundError: there is no such object.
        TooLarge: it has more than ``limit`` bytes.
        OSError: no credentials, no connection, no such bucket.
    """
    client, key = open_bucket(url)
    with plain_errors(url):
        answer = client.get(key)
        if answer.meta["size"] <= limit:
            return bytes(answer.bytes())
    raise TooLarge


def check_folder(url: str) -> None:
    """Refuse a URL below which there is nothing.

    Raises:
        PifaError: there is nothing, or no such kind of URL.
        OSError: no credentials, no connection, no such bucket.
    """
    client, key = open_bucket(url)
    with plain_errors(url):
        empty = not any(len(page) for page in islice(client.list(key), 1))
    if empty:
        raise PifaError(f"{url}: there is nothing below it")


def ahead(function: Callable[[T], R], arguments: Iterable[T], at_once: int = AT_ONCE) -> Iterator[R]:
    """``map``, with the next calls under way in threads while a result is used."""
    rest = iter(arguments)
    with ThreadPoolExecutor(at_once) as pool:
        waiting: list[Future[R]] = [pool.submit(function, argument) for argument in islice(rest, at_once)]
        while waiting:
            future = waiting.pop(0)
            waiting += [pool.submit(function, argument) for argument in islice(rest, 1)]
            yield future.result()


@contextmanager
def plain_errors(name: str) -> Iterator[None]:
    """What the client raises as an ``OSError`` of one line that names the URL."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:  # ValueError: an empty folder's name, or .., which is none
        raise FileNotFoundError(f"{name}: {_line(error)}") from error
    except Exception as error:  # obstore's and botocore's have bases of their own
        raise OSError(f"{name}: {_line(error)}") from error


def _line(error: Exception) -> str:
    """What the server said, or the first line: what follows is for who works on the client."""
    said = re.search(r"<Message>([^<]+)</Message>", str(error))
    return said[1] if said else str(error).partition("\n")[0].strip() or type(error).__name__
