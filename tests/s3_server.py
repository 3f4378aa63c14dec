"""A real S3 server on this machine (moto's), which the tests' own process and its Dask workers talk to by HTTP.

    python tests/s3_server.py

serves until it is stopped and prints its address. ``PUT /_faults?slow_down=0.3&latency=0.02`` makes it answer that
share of the requests by 503 SlowDown, as a service under load does, and every one so many seconds later. Other faults:
``Faulty``.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

SETTINGS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Start a server on a free port; gives its address."""
    with log.open("w") as out:
        server = subprocess.Popen([sys.executable, __file__], stdout=out, stderr=out)
    try:
        yield _address(server, log)
    finally:
        server.terminate()
        server.wait(20)


def _address(server: subprocess.Popen, log: Path) -> str:
    limit = time.monotonic() + 60
    while time.monotonic() < limit and server.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        if found:
            return found[0]
        time.sleep(0.02)
    raise RuntimeError(f"moto's server did not start: {log.read_text()[-500:]}")


def configure(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Point every S3 client of this process, and of those it starts, to a server, by nobody's credentials."""
    from pifa_data.buckets import bucket_client  # the server itself has no use for it

    bucket_client.cache_clear()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    for name, value in SETTINGS.items():
        patch.setenv(name, value)
    patch.setenv("AWS_ENDPOINT_URL", endpoint)
    patch.setenv("AWS_CONFIG_FILE", os.devnull)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


def set_faults(endpoint: str, **faults: float) -> None:
    """See `Faulty`. What isn't named is switched off."""
    query = "&".join(f"{name}={value}" for name, value in faults.items())
    request = urllib.request.Request(f"{endpoint}/_faults?{query}", method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        pass


class Faulty:
    """A WSGI application with faults.

    ``slow_down``: share of the requests that get 503; ``latency``: seconds. ``unconditional``: conditions of writes are
    ignored (1) or not implemented (501). ``private``: without a signature nothing is given. After ``skip`` writes, the
    next so many times: ``conflict``: a write on a condition finds another one under way; ``lost``: a write is done and
    then answered by 500; ``broken``: a file that is read breaks off in the middle; ``writes``: a write is let through,
    and none after those.
    """

    def __init__(self, app: Any) -> None:
        self._app, self._faults, self._random = app, {}, random.Random(0)
        self._writing = threading.Lock()  # moto looks at a condition first and writes then

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/_faults":
            self._faults = {name: float(values[0]) for name, values in parse_qs(environ["QUERY_STRING"]).items()}
            start_response("204 No Content", [])
            return []
        time.sleep(self._faults.get("latency", 0.0))
        if self._random.random() < self._faults.get("slow_down", 0.0):
            return _refuse(environ, start_response, "503 Slow Down", SLOW_DOWN)
        if self._faults.get("private") and "HTTP_AUTHORIZATION" not in environ:
            return _refuse(environ, start_response, "403 Forbidden", DENIED)
        if environ["REQUEST_METHOD"] == "PUT":
            with self._writing:
                return self._write(environ, start_response)
        reply = self._app(environ, start_response)
        if environ["REQUEST_METHOD"] == "GET" and self._happens("broken"):
            data = b"".join(reply)
            return [data[: len(data) // 2]]
        return reply

    def _write(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if self._happens("skip"):
            return list(self._app(environ, start_response))
        conditions = [name for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH") if name in environ]
        unconditional = self._faults.get("unconditional")
        if conditions and unconditional == 501:
            return _refuse(
                environ, start_response, "501 Not Implemented", b"<Error><Code>NotImplemented</Code></Error>"
            )
        for name in conditions if unconditional else ():
            del environ[name]
        if conditions and self._happens("conflict"):
            code = b"<Error><Code>ConditionalRequestConflict</Code></Error>"
            return _refuse(environ, start_response, "409 Conflict", code)
        if "writes" in self._faults and not self._happens("writes"):
            return _refuse(environ, start_response, "403 Forbidden", DENIED)
        if self._happens("lost"):
            b"".join(self._app(environ, lambda *_: None))
            return _refuse({}, start_response, "500 Oops", b"<Error><Code>InternalError</Code></Error>")
        return list(self._app(environ, start_response))

    def _happens(self, fault: str) -> bool:
        """Whether a fault that has a number of times happens now."""
        left = self._faults.get(fault, 0.0)
        self._faults[fault] = max(left - 1, 0.0)
        return left > 0


def _refuse(environ: dict[str, Any], start_response: Callable[..., Any], status: str, body: bytes) -> list[bytes]:
    if environ:  # or it was read before
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def main() -> None:
    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    app = Faulty(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
