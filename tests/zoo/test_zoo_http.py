"""A registry behind the simplest web server: no ranges, no locks, no writing."""

import functools
import http.server
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import serving

import zoo


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(published: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=published)
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def test_fetch_and_verify(url: str, published: Path) -> None:
    source = published / "face" / "1.0.0" / "weights.safetensors"
    assert zoo.fetch("face", url).read_bytes() == source.read_bytes()
    assert zoo.verify(None, url) == []
    source.write_bytes(source.read_bytes()[:-1])
    (problem,) = zoo.verify(None, url)
    assert "expected" in problem.message
    with pytest.raises(zoo.RegistryError, match=r"nowhere/index\.json: expected a file, found none"):
        zoo.Registry(url + "/nowhere").index()
