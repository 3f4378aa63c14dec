"""Servers that are slow or say nothing, many processes at once, and no server at all."""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import WEIGHTS, Served, cached, part, refused
from upstream import Reply, Request, Right, status

import zoo
from zoo import transfer
from zoo.backends import web

ROOT = Path(__file__).resolve().parents[2]


def hanging(size: int | None) -> Reply:
    """A reply that stops after so many bytes of its body (None: before the head) and keeps the connection open."""

    def reply(_: Request, right: Right) -> Iterator[bytes]:
        if size is not None:
            yield right.head + b"\r\n" + right.body[:size]
        time.sleep(0.6)

    return reply


@pytest.mark.parametrize("size", [None, 0, 1000])
@pytest.mark.parametrize("file", ["index.json", WEIGHTS])
def test_a_server_that_says_nothing_is_given_up(
    served: Served, waits: list[float], monkeypatch: pytest.MonkeyPatch, file: str, size: int | None
) -> None:
    monkeypatch.setattr(web, "READ_SECONDS", 0.1)
    served.upstream.plan(file, hanging(size if file == WEIGHTS else size and 10))
    assert zoo.fetch("face", f"{served.upstream.url}/registry").read_bytes() == served.weights
    assert len(waits) == 1
    starts = [request.start for request in served.upstream.asked if file in request.path]
    assert starts == [0, size or 0] if file == WEIGHTS else [0, 0]


@pytest.mark.parametrize("file", ["index.json", WEIGHTS])
def test_a_server_that_trickles_is_given_up(
    served: Served, waits: list[float], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """It never pauses for long, so that a time limit on each read alone would let it go on for ever."""

    def trickle(_: Request, right: Right) -> Iterator[bytes]:
        yield right.head + b"\r\n"
        for byte in right.body[:500]:
            yield bytes([byte])
            sent.append(byte)
            time.sleep(0.005)

    sent: list[int] = []
    monkeypatch.setattr(web, "SLOW_SECONDS", 0.1)
    served.upstream.plan(file, trickle)
    assert zoo.fetch("face", f"{served.upstream.url}/registry").read_bytes() == served.weights
    assert len(waits) == 1
    assert 1 < len(sent) < 500
    if file == WEIGHTS:
        starts = [request.start for request in served.upstream.asked if file in request.path]
        assert 1 < starts[1] < 500


def test_a_slow_server_is_not_too_slow(served: Served, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SLOW_SECONDS", 0.05)
    url = f"{served.nginx.url}/slow/registry"
    (entry,) = zoo.Registry(url).index().entries
    target = zoo.cache_folder() / "config.json"
    config = entry.file("config.json")
    assert config is not None
    transfer.download(zoo.Registry(url).sources(entry, "config.json"), config, target)
    assert target.stat().st_size == config.size


FETCHERS = """
import os, sys, warnings, zoo
import requests, zoo.backends.web  # here, so that no child has to
warnings.simplefilter("error")
children = []
gate, opened = os.pipe()
for _ in range(50):
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(opened)
            os.read(gate, 1)  # all begin at once, when the parent has forked them and closes it too
            with zoo.fetch("face", sys.argv[1]).open("rb") as file:
                status = 0 if len(file.read()) == int(sys.argv[2]) else 2
        finally:
            os._exit(status)
    children.append(child)
os.close(opened)
print(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 for child in children))
"""


def test_fifty_processes_download_once(served: Served) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FETCHERS, served.at("plain"), str(len(served.weights))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("50", "")
    assert len(served.nginx.asked("index.json")) == 50
    assert [asked.sent for asked in served.nginx.asked(WEIGHTS)] == [len(served.weights)]
    assert sorted(cached()) == [".used", "config.json", "verified.json", WEIGHTS]


def test_offline_the_cache_is_used(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zoo.fetch("face", served.at("plain"))
    served.nginx.forget()
    monkeypatch.setenv("PIFA_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert zoo.fetch("face@^1", served.at("plain")) == path
        assert zoo.Registry(served.at("plain")).index().serial == 1
    assert served.nginx.asked() == []


def test_offline_what_is_missing_is_said(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIFA_OFFLINE", "true")
    url = served.at("plain")
    with pytest.raises(zoo.OfflineError, match=r"expected it in the cache.* `pifa zoo list`"):
        zoo.fetch("face", url)
    monkeypatch.setenv("PIFA_OFFLINE", "0")
    zoo.Registry(url).index()
    served.nginx.forget()
    monkeypatch.setenv("PIFA_OFFLINE", "yes")
    size = len(served.weights)
    with pytest.raises(
        zoo.OfflineError, match=rf"face@1\.0\.0: .*\({size} bytes\).*pifa zoo get face@1\.0\.0"
    ) as caught:
        zoo.fetch("face", url)
    refused(caught.value, "face@1.0.0")
    with pytest.raises(zoo.UnknownEntryError):
        zoo.fetch("other", url)
    with pytest.raises(zoo.OfflineError):  # another registry's index is not this one's
        zoo.fetch("face", served.at("noranges"))
    assert served.nginx.asked() == []


def test_offline_a_broken_download_stays(served: Served, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    served.upstream.plan(WEIGHTS, lambda _, right: [right.head + b"\r\n" + right.body[:77]], status("403 Forbidden"))
    with pytest.raises(zoo.RegistryError, match="403"):
        zoo.fetch("face", served.at("up"))
    with pytest.raises(zoo.OfflineError):
        zoo.fetch("face", served.at("up"), offline=True)
    assert cached() == part(served, 77)


@pytest.mark.parametrize("code", ["503 Busy", "500 Oops"])
def test_while_the_server_is_down_its_last_index_is_used(served: Served, waits: list[float], code: str) -> None:
    path = zoo.fetch("face", served.at("up"))
    served.upstream.plan("index.json", *[status(code)] * 6)
    with pytest.warns(zoo.OldIndexWarning, match=rf"{served.at('up')}/index\.json: .*{code[:3]}.*its index of 20"):
        assert zoo.fetch("face", served.at("up")) == path
    with pytest.warns(zoo.OldIndexWarning), pytest.raises(zoo.UnknownEntryError):
        zoo.fetch("other", served.at("up"))


def test_a_server_that_has_gone_is_not_a_registry_without_entries(served: Served, waits: list[float]) -> None:
    zoo.fetch("face", served.at("up"))
    served.upstream.plan("index.json", status("404 Not Found"))
    with pytest.raises(zoo.MissingFileError):
        zoo.fetch("face", served.at("up"))


def test_nobody_listens(waits: list[float]) -> None:
    with pytest.raises(zoo.UnreachableError, match="refused") as caught:
        zoo.fetch("face", "http://127.0.0.1:9/registry")
    refused(caught.value, "http://127.0.0.1:9/registry/index.json")
    with pytest.raises(zoo.UnreachableError, match=r"resolve|resolution|not known") as caught:
        zoo.fetch("face", "http://no-such-host.invalid/registry")
    refused(caught.value, "http://no-such-host.invalid/registry/index.json")


def test_a_remembered_index_is_checked_like_any(served: Served, waits: list[float]) -> None:
    """The cache may be damaged, or written by somebody else."""
    zoo.fetch("face", served.at("plain"))
    (path,) = zoo.cache_folder().glob("zoo/registries/*/index.json")
    document = json.loads(path.read_text())
    document["entries"][0]["files"][0]["name"] = "../../../x"
    path.write_text(json.dumps(document))
    with pytest.raises(zoo.RegistryError, match=r"index\.json"):
        zoo.fetch("face", served.at("plain"), offline=True)
    assert zoo.fetch("face", served.at("plain")).read_bytes() == served.weights
    zoo.fetch("face", served.at("plain"), offline=True)
