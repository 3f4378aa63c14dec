"""Fetching from a real web server (`tests/nginx.py`): whole or not at all, going on where it stopped."""

import itertools
from collections.abc import Iterator

import pytest
from served import WEIGHTS, Served, cached, part, refused
from upstream import Reply, as_bytes, cut, ok, status

import zoo
from zoo import transfer


@pytest.mark.parametrize("place", ["plain", "noranges", "redirect", "up"])
def test_a_fetch_asks_for_the_weights_once(served: Served, place: str) -> None:
    path = zoo.fetch("face", served.at(place))
    assert path.read_bytes() == served.weights
    assert zoo.fetch("face@1.0.0", served.at(place)) == path
    final = "plain" if place == "redirect" else place
    assert [asked.sent for asked in served.nginx.asked(f"/{final}/registry/face/1.0.0/{WEIGHTS}")] == [
        len(served.weights)
    ]
    assert not [asked for name in ("card", "config", "picture") for asked in served.nginx.asked(name)]
    assert zoo.verify(None, served.at(place)) == []


@pytest.mark.parametrize("size", [0, 1, 999, 2**20, 2**20 + 1, -1])
def test_a_broken_download_goes_on(served: Served, waits: list[float], size: int) -> None:
    size = size if size >= 0 else len(served.weights) + size
    served.upstream.plan(WEIGHTS, cut(size))
    assert zoo.fetch("face", served.at("up")).read_bytes() == served.weights
    first, second = served.nginx.asked(WEIGHTS)
    assert (first.range, first.sent) == ("-", size)
    assert (second.range, second.sent) == (f"bytes={size}-" if size else "-", len(served.weights) - size)
    assert len(waits) == 1


def test_the_next_run_asks_only_for_the_rest(served: Served, waits: list[float]) -> None:
    served.upstream.plan(WEIGHTS, cut(1000), cut(0), cut(0), cut(0))
    with pytest.raises(zoo.UnreachableError, match="the same command goes on there") as caught:
        zoo.fetch("face", served.at("up"))
    refused(caught.value, f"{served.at('up')}/face/1.0.0/{WEIGHTS}")
    assert cached() == part(served, 1000)
    assert len(waits) == len(transfer.PAUSES)
    assert all(pause * 0.5 <= wait <= pause * 1.5 for pause, wait in zip(transfer.PAUSES, waits, strict=True))
    served.nginx.forget()
    assert zoo.fetch("face", served.at("up")).read_bytes() == served.weights
    assert [(asked.range, asked.sent) for asked in served.nginx.asked(WEIGHTS)] == [
        ("bytes=1000-", len(served.weights) - 1000)
    ]


def test_many_breaks_with_progress_are_no_reason_to_give_up(
    served: Served, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LEAST_PROGRESS", 100_000)
    served.upstream.plan(WEIGHTS, *[cut(200_000)] * 10)
    assert zoo.fetch("face", served.at("up")).read_bytes() == served.weights
    assert len(waits) == 10


def test_without_ranges_it_begins_anew(served: Served, waits: list[float]) -> None:
    served.upstream.plan(WEIGHTS, cut(1000), status("403 Forbidden"))
    with pytest.raises(zoo.RegistryError, match="403"):
        zoo.fetch("face", served.at("up"))
    assert cached() == part(served, 1000)
    assert zoo.fetch("face", served.at("noranges")).read_bytes() == served.weights
    (asked,) = served.nginx.asked(f"noranges/registry/face/1.0.0/{WEIGHTS}")
    assert (asked.range, asked.status, asked.sent) == ("bytes=1000-", "200", len(served.weights))


@pytest.mark.parametrize("junk", ["other", "longer", "whole but other", "whole"])
def test_a_part_of_something_else(served: Served, waits: list[float], junk: str) -> None:
    served.upstream.plan(WEIGHTS, status("403 Forbidden"))
    with pytest.raises(zoo.RegistryError, match="403"):
        zoo.fetch("face", served.at("up"))
    size = len(served.weights)
    (folder,) = (path for path in zoo.cache_folder().glob("zoo/*") if path.name != "registries")
    data = {"other": b"x" * 1000, "longer": b"x" * (size + 1), "whole but other": b"x" * size, "whole": served.weights}
    (folder / next(iter(part(served, 0)))).write_bytes(data[junk])
    served.nginx.forget()
    assert zoo.fetch("face", served.at("plain")).read_bytes() == served.weights
    asked = {"other": ["bytes=1000-", "-"], "longer": ["-"], "whole but other": ["-"], "whole": []}
    assert [asked.range for asked in served.nginx.asked(WEIGHTS)] == asked[junk]


def test_a_file_replaced_between_two_attempts(served: Served, waits: list[float]) -> None:
    """The part is of another file: it is fetched once more from the beginning."""
    other = bytes(len(served.weights))
    length = f"Content-Length: {len(other)}"
    served.upstream.plan(WEIGHTS, ok(length, body=[other[:2000]]))
    assert zoo.fetch("face", served.at("up")).read_bytes() == served.weights
    assert [asked.range for asked in served.nginx.asked(WEIGHTS)] == ["-", "bytes=2000-", "-"]


@pytest.mark.parametrize("code", ["408 Late", "429 Busy", "500 Oops", "502 Bad", "503 Busy", "504 Late"])
def test_what_may_pass_is_asked_again(served: Served, waits: list[float], code: str) -> None:
    served.upstream.plan("index.json", status(code), status(code))
    served.upstream.plan(WEIGHTS, status(code), status(code), status(code))
    assert zoo.fetch("face", served.at("up")).read_bytes() == served.weights
    assert len(waits) == 5


@pytest.mark.parametrize(("header", "least", "most"), [("7", 7, 7), ("999999999", 120, 120), ("soon", 0, 12)])
def test_the_server_says_when_to_ask_again(
    served: Served, waits: list[float], header: str, least: float, most: float
) -> None:
    served.upstream.plan(WEIGHTS, status("503 Busy", f"Retry-After: {header}"))
    zoo.fetch("face", served.at("up"))
    assert least <= waits[0] <= most


def test_a_refusal_for_a_while_is_no_refusal(served: Served, waits: list[float]) -> None:
    served.upstream.plan(WEIGHTS, status("403 Slow down", "Retry-After: 9"))
    assert zoo.fetch("face", served.at("up")).read_bytes() == served.weights
    assert waits == [9]


PLACES = {
    "gone": (zoo.MissingFileError, "404"),
    "busy": (zoo.UnreachableError, "503"),
    "down": (zoo.UnreachableError, "502"),
    "empty": (zoo.UnreachableError, "closed connection"),
    "secret": (zoo.RegistryError, "401.*may read"),
    "loop": (zoo.RegistryError, "more than 5 redirects"),
    "to-file": (zoo.RegistryError, "a redirect to file:///etc/passwd"),
    "gzip": (zoo.RegistryError, "compressed by gzip"),
}


@pytest.mark.parametrize("place", PLACES)
def test_places_that_give_no_registry(served: Served, waits: list[float], place: str) -> None:
    kind, found = PLACES[place]
    with pytest.raises(kind, match=found) as caught:
        zoo.fetch("face", served.at(place))
    refused(caught.value, f"{served.at(place)}/index.json")
    assert isinstance(caught.value, zoo.UnreachableError) == bool(waits)
    assert not zoo.cache_folder().exists()


def endless() -> Iterator[bytes]:
    while True:
        yield b"\0" * 65536


BODY: dict[str, tuple[Reply, type[zoo.ZooError], str | None]] = {
    "missing": (status("404 Not Found"), zoo.MissingFileError, "404"),
    "gone": (status("410 Gone"), zoo.MissingFileError, "410"),
    "forbidden": (status("403 Forbidden"), zoo.RegistryError, "403.*may read"),
    "no content": (status("204 No Content"), zoo.RegistryError, "204"),
    "part unasked": (status("206 Partial", "Content-Range: bytes 0-4/5", body=b"hello"), zoo.RegistryError, "206"),
    "teapot": (status("418 \x1b[2J"), zoo.RegistryError, r"418 I'm a Teapot"),
    "too short": (status("200 OK", body=b"hello"), zoo.ZooError, None),
    "no length": (ok(body=[b"hello"]), zoo.ZooError, None),
    "huge length": (ok(f"Content-Length: {10**15}", body=[b"hello"]), zoo.ZooError, None),
    "endless": (ok(body=endless()), zoo.ZooError, None),
    "endless chunks": (
        ok("Transfer-Encoding: chunked", body=(b"10000\r\n" + piece + b"\r\n" for piece in endless())),
        zoo.ZooError,
        None,
    ),
    "a bomb": (status("200 OK", "Content-Encoding: gzip", body=b"\x1f\x8b"), zoo.RegistryError, "compressed by gzip"),
    "br": (status("200 OK", "Content-Encoding: \x1b[2J", body=b"x"), zoo.RegistryError, r"compressed by �"),
}


@pytest.mark.parametrize("file", ["index.json", WEIGHTS])
@pytest.mark.parametrize("fault", BODY)
def test_replies_that_are_refused(served: Served, waits: list[float], fault: str, file: str) -> None:
    reply, kind, found = BODY[fault]
    served.upstream.plan(file, *[reply] * 4)
    before = cached()
    with pytest.raises(kind, match=found) as caught:
        zoo.fetch("face", f"{served.upstream.url}/registry")
    refused(caught.value, f"{served.upstream.url}/registry")
    assert file in str(caught.value)
    assert cached() == before
    served.upstream.forget()


REDIRECTS = ["http://[", "http://[::1", "https://:99999/x", "http:///x", "ftp://x/y", "data:,x", "javascript:x"]


@pytest.mark.parametrize("target", [*REDIRECTS, "http://\x1b[2J/", "http://x y/"])
def test_redirects_that_lead_nowhere(served: Served, waits: list[float], target: str) -> None:
    served.upstream.plan("index.json", *[status("302 Found", f"Location: {target}")] * 3)
    with pytest.raises(zoo.RegistryError) as caught:
        zoo.fetch("face", f"{served.upstream.url}/registry")
    refused(caught.value, f"{served.upstream.url}/registry/index.json")
    served.upstream.forget()


@pytest.mark.parametrize("line", ["302 Found", "404 Not Found", "403 Forbidden"])
def test_bodies_that_nobody_wants_are_not_read(served: Served, line: str) -> None:
    reached: list[bool] = []

    def body() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(2**20)
        reached.append(True)

    head = f"HTTP/1.1 {line}\r\nLocation: /registry/other\r\n\r\n".encode()
    served.upstream.plan("index.json", lambda _, __: itertools.chain([head], body()))
    with pytest.raises(zoo.RegistryError):
        zoo.fetch("face", f"{served.upstream.url}/registry")
    assert not reached


RAW = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "a long line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000 + b"\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    "a negative chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
    "a huge chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "a colon missing": b"HTTP/1.1 200 OK\r\nno header\r\n\r\nhello",
    "nothing": b"",
    "zeros": b"\0" * 1000,
}


@pytest.mark.parametrize("file", ["index.json", WEIGHTS])
@pytest.mark.parametrize("fault", RAW)
def test_what_is_no_http(served: Served, waits: list[float], fault: str, file: str) -> None:
    served.upstream.plan(file, *[as_bytes(RAW[fault])] * 4)
    with pytest.raises(zoo.ZooError) as caught:
        zoo.fetch("face", f"{served.upstream.url}/registry")
    refused(caught.value, f"{served.upstream.url}/registry")
    assert WEIGHTS not in cached()
    served.upstream.forget()
    assert zoo.fetch("face", f"{served.upstream.url}/registry").read_bytes() == served.weights


def chunks(data: bytes) -> Iterator[bytes]:
    """A body in chunks of different sizes, as a server sends what it does not know the length of."""
    for begin, end in itertools.pairwise((0, 1, 1000, 2**20, len(data))):
        yield f"{end - begin:x}\r\n".encode() + data[begin:end] + b"\r\n"
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("kind", ["chunked", "until it is closed"])
def test_a_right_reply_of_no_length(served: Served, kind: str) -> None:
    data = served.weights
    reply = ok("Transfer-Encoding: chunked", body=chunks(data)) if kind == "chunked" else ok(body=[data])
    served.upstream.plan(WEIGHTS, reply)
    assert zoo.fetch("face", served.at("up")).read_bytes() == data
    assert len(served.nginx.asked(WEIGHTS)) == 1


LIES = {
    "another part": "bytes 500-2500000/{size}",
    "no part": "nothing",
    "from the beginning": "bytes 0-{last}/{size}",
    "of a longer file": "bytes 1000-{last}/99999999",
    "of unknown length": "bytes 1000-{last}/*",
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_about_the_part(served: Served, waits: list[float], lie: str) -> None:
    """Whatever a server says that it sends, the file is right or there is none."""
    size = len(served.weights)
    line = f"Content-Range: {LIES[lie].format(size=size, last=size - 1)}"
    served.upstream.plan(WEIGHTS, cut(1000), status("206 Partial Content", line, body=served.weights[1000:]))
    try:
        path = zoo.fetch("face", f"{served.upstream.url}/registry")
    except zoo.HashError:
        assert lie == "of a longer file"
        assert cached() == part(served, 1000)
        path = zoo.fetch("face", f"{served.upstream.url}/registry")
    assert path.read_bytes() == served.weights
