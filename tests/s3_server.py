"""A real S3 server on this machine (moto's), which the tests' own process and its Dask workers talk to by HTTP.

    python tests/s3_server.py

serves until it is stopped and prints its address. ``PUT /_faults?slow_down=0.3&latency=0.02`` makes it answer that
share of the requests by 503 SlowDown, as a service under load does, and every one so many seconds later.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
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
    """``slow_down``: share of the requests; ``latency``: seconds. What isn't named is switched off."""
    query = "&".join(f"{name}={value}" for name, value in faults.items())
    request = urllib.request.Request(f"{endpoint}/_faults?{query}", method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        pass


class Faulty:
    """A WSGI application with faults."""

    def __init__(self, app: Any) -> None:
        self._app, self._faults, self._random = app, {}, random.Random(0)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/_faults":
            self._faults = {name: float(values[0]) for name, values in parse_qs(environ["QUERY_STRING"]).items()}
            start_response("204 No Content", [])
            return []
        time.sleep(self._faults.get("latency", 0.0))
        if self._random.random() < self._faults.get("slow_down", 0.0):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(SLOW_DOWN)))]
            start_response("503 Slow Down", headers)
            return [SLOW_DOWN]
        return self._app(environ, start_response)


def main() -> None:
    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    app = Faulty(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
