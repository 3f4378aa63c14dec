"""A real S3 server on this machine (moto's), which the tests' own process and its Dask workers talk to by HTTP."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest import MonkeyPatch

SETTINGS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Start a server on a free port; gives its address."""
    with log.open("w") as out:
        # http.client, the only other server of the standard library's kind, answers one request at a time.
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=out, stderr=out
        )
    try:
        yield _address(server, log)
    finally:
        server.terminate()
        server.wait(20)


def _address(server: subprocess.Popen, log: Path) -> str:
    import time

    limit = time.monotonic() + 60
    while time.monotonic() < limit and server.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        if found:
            return found[0]
        time.sleep(0.02)
    raise RuntimeError(f"moto's server did not start: {log.read_text()[-500:]}")


def configure(patch: MonkeyPatch, endpoint: str) -> None:
    """Point every S3 client of this process, and of those it starts, to a server and to nobody's credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    for name, value in SETTINGS.items():
        patch.setenv(name, value)
    patch.setenv("AWS_ENDPOINT_URL", endpoint)
    patch.setenv("AWS_CONFIG_FILE", os.devnull)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
