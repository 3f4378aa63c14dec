"""A registry behind a web server: plain GET requests, with a Range to go on where a download stopped.

Requests knows the proxies and certificates of the machine (``https_proxy``, ``no_proxy``, ``REQUESTS_CA_BUNDLE``).
Redirects are followed here and not by it, because not every one is: only to http and https, and never from https to
http.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import responses
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urljoin, urlsplit

from zoo.addresses import shown_address
from zoo.backends.base import Opened
from zoo.errors import MissingFileError, RegistryError, UnreachableError
from zoo.plain import LONGEST_SAID, plain

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
"""After which a server that does not answer, or sends nothing, is given up."""

SLOW_BYTES, SLOW_SECONDS = 1000, 60.0
"""A server that sends fewer bytes in so long is given up too: 50 processes may wait for this one."""

MAX_REDIRECTS = 5
LONGEST_WAIT = 120.0
"""Seconds at most that a server's Retry-After is listened to."""

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Where a machine names the file of its authorities; the first that is set is used."""

PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Replies that may be another one later."""

_REDIRECTS = {301, 302, 303, 307, 308}


class WebBackend:
    """The address of a folder on a web server.

    Raises:
        RegistryError: no such address.
    """

    folder = None

    def __init__(self, url: str) -> None:
        try:
            usable = bool(urlsplit(url).hostname) and urlsplit(url).port != 0
        except ValueError:
            usable = False
        if not usable:
            raise RegistryError(
                f"{shown_address(url)!r}: expected https://host/folder, found no such address; correct it"
            )
        self.url = url
        self._session: requests.Session | None = None

    def where(self, path: str) -> str:
        """The file's address without the name and password that it may have."""
        return f"{shown_address(self.url).rstrip('/')}/{path}"

    def _address(self, path: str) -> str:
        """What is asked for to get a file."""
        return f"{self.url.rstrip('/')}/{path}"

    def exists(self) -> bool:
        """Not to be told apart from an empty one: a web registry has an index."""
        return False

    @contextmanager
    def open(self, path: str, start: int = 0) -> Iterator[Opened]:
        where = self.where(path)
        response = self._get(path, start)
        try:
            if start and (response.status_code == 416 or _first_byte(response) not in (None, start)):
                response.close()  # the part is as long as the file or longer, or the server gave another part
                response = self._get(path, 0)
            first = _first_byte(response) or 0
            yield Opened(cast(BinaryIO, _Body(response, where)), first, _whole_size(response))
        finally:
            response.close()

    def _credentials(self) -> Mapping[str, str]:
        """Headers that say who is asking. They go to the registry's own host alone, wherever it redirects to."""
        return {}

    def _fault(self, status: int, headers: Mapping[str, str], where: str) -> RegistryError:
        """What a reply means that doesn't bring the file."""
        found = f"{status} {responses.get(status, '')}".strip()
        if status in (404, 410):
            return MissingFileError(
                f"{where}: expected a file, found none ({found}); check the address, or tell its publisher"
            )
        # Where a server says when to come back, it refuses only for now: so GitHub who asks it too often.
        if status in PASSING or (status == 403 and "Retry-After" in headers):
            return UnreachableError(f"{where}: expected the file, found {found}; try again later", _seconds(headers))
        cure = "check that you may read it" if status in (401, 403, 407) else "check the address"
        return RegistryError(f"{where}: expected the file, found {found}; {cure}")

    def _get(self, path: str, start: int) -> requests.Response:
        where, url = self.where(path), self._address(path)
        home = urlsplit(url).netloc
        for _ in range(MAX_REDIRECTS + 1):
            with _plain_errors(where):
                response = self._send(url, start, own=urlsplit(url).netloc == home)
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or target is None:
                return self._checked(response, where, start)
            response.close()
            before = url
            try:
                url = urljoin(url, target)
                scheme = urlsplit(url).scheme
            except ValueError:  # such as http://[
                url, scheme = target, ""
            if scheme not in ("http", "https") or (scheme == "http" and before.startswith("https:")):
                raise RegistryError(
                    f"{where}: expected a file, found a redirect to {plain(url, LONGEST_SAID)}; only https, or http "
                    "from http, is followed: do not use it before its publisher explains that"
                )
        raise RegistryError(f"{where}: expected a file, found more than {MAX_REDIRECTS} redirects; tell its publisher")

    def _checked(self, response: requests.Response, where: str, start: int) -> requests.Response:
        status, encoding = response.status_code, response.headers.get("Content-Encoding", "identity")
        if status in (200, 206) and encoding.lower() != "identity":
            response.close()
            raise RegistryError(
                f"{where}: expected the file as it is, found a reply compressed by {plain(encoding, LONGEST_SAID)}; "
                "the server must send it uncompressed"
            )
        if status == 200 or (start and status in (206, 416)):
            return response
        response.close()
        raise self._fault(status, response.headers, where)

    def _send(self, url: str, start: int, own: bool) -> requests.Response:
        if self._session is None:
            self._session = _new_session()
        # As it is: a compressed reply would be a bomb's way in, and weights do not get smaller.
        headers = {"User-Agent": "pifa", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        credentials = self._credentials() if own else {}

        def signed(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers.update(credentials)
            return request

        return self._session.get(
            url,
            headers=headers,
            auth=signed if credentials else None,  # as headers they would lose against those of a .netrc
            stream=True,
            allow_redirects=False,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        )


def _new_session() -> requests.Session:
    import requests

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> None:
            """None, or it would read a redirect's whole body, also where it is told not to follow: a bomb's way in."""

    session = Session()
    name = next((name for name in _BUNDLES if os.environ.get(name)), None)
    if name is not None:
        session.verify = os.environ[name]
        if not Path(session.verify).exists():
            raise RegistryError(
                f"{name}: expected a file of certificates, found none at {session.verify}; correct that variable"
            )
    return session


class _Body:
    """The body of a reply; what breaks it off is an `UnreachableError`."""

    def __init__(self, response: requests.Response, where: str) -> None:
        self._raw, self._where = response.raw, where
        self._came, self._since = 0, time.monotonic()

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes as they come: a slow server's few bytes are given at once."""
        with _plain_errors(self._where):
            if size < 0:
                return cast(bytes, self._raw.read(decode_content=False))
            data = cast(bytes, self._raw.read1(size, decode_content=False))
        self._came += len(data)
        if (now := time.monotonic()) - self._since > SLOW_SECONDS:
            if data and self._came < SLOW_BYTES:
                raise UnreachableError(
                    f"{self._where}: expected at least {SLOW_BYTES} bytes in {SLOW_SECONDS:g} s, found {self._came}; "
                    "try again later"
                )
            self._came, self._since = 0, now
        return data


def _first_byte(response: requests.Response) -> int | None:
    """The first byte of a partial reply, by its own word; None: the reply is no part."""
    if response.status_code != 206:
        return None
    match = re.match(r"bytes (\d{1,19})-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _whole_size(response: requests.Response) -> int | None:
    if response.status_code == 206:
        match = re.search(r"/(\d{1,19})$", response.headers.get("Content-Range", ""))
    else:
        match = re.search(r"^(\d{1,19})$", response.headers.get("Content-Length", ""))
    return int(match[1]) if match else None


def _seconds(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds; its other form, a date, is not worth a clock that may be wrong."""
    text = headers.get("Retry-After", "")
    return min(float(text), LONGEST_WAIT) if re.fullmatch(r"\d{1,9}", text) else None


@contextmanager
def _plain_errors(where: str) -> Iterator[None]:
    import requests
    import urllib3

    try:
        yield
    except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
        if "certificate" not in _reason(error).lower():  # a connection that was disturbed, or no TLS at all
            raise UnreachableError(
                f"{where}: expected an answer by TLS, found {_reason(error)}; check the address and the connection"
            ) from error
        raise RegistryError(
            f"{where}: expected a certificate that this machine trusts, found {_reason(error)}; "
            "name your authority's file in REQUESTS_CA_BUNDLE"
        ) from error
    except requests.exceptions.ProxyError as error:
        raise UnreachableError(
            f"{where}: expected an answer through the proxy, found {_reason(error)}; check https_proxy and no_proxy"
        ) from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError) as error:
        raise RegistryError(f"{where}: expected an address, found {_reason(error)}; correct it") from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(
            f"{where}: expected an answer, found {_reason(error)}; check the address and the connection"
        ) from error


def _reason(error: BaseException) -> str:
    """The innermost reason in one line: what wraps it repeats addresses and objects."""
    while isinstance(inner := getattr(error, "reason", None) or (error.args[:1] or (None,))[0], BaseException):
        error = inner
    text = plain(str(error), LONGEST_SAID)
    return re.sub(r"^<[^>]*>: ", "", text) or type(error).__name__
