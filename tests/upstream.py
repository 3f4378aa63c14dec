"""A web server whose replies a test writes byte by byte, one after the other: what breaks off, lies, or never ends.

It serves a folder as it should, with ranges, but for what is planned: ``upstream.plan("weights", cut(9), status(503))``
is what the next two requests for a path with that text in it get.
"""

from __future__ import annotations

import re
import socketserver
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving import serving


@dataclass(frozen=True)
class Request:
    """What a client asks for: the path below the server's root, the first byte wanted, and all header lines."""

    method: str
    path: str
    start: int
    head: str


@dataclass(frozen=True)
class Right:
    """The right reply: its head without the last empty line, and its body."""

    head: bytes
    body: bytes


Reply = Callable[[Request, Right], Iterable[bytes]]
"""The bytes that are sent before the connection is closed."""


def right(_: Request, reply: Right) -> Iterator[bytes]:
    """As it should be."""
    yield reply.head + b"\r\n" + reply.body


def cut(size: int) -> Reply:
    """A right reply that breaks off in its body."""
    return lambda _, reply: [reply.head + b"\r\n" + reply.body[:size]]


def status(line: str, *headers: str, body: bytes = b"") -> Reply:
    """A reply such as ``503 Busy``."""
    lines = [f"HTTP/1.1 {line}", *headers, "Connection: close", f"Content-Length: {len(body)}", "", ""]
    return lambda _, __: ["\r\n".join(lines).encode("latin-1") + body]


def as_bytes(*pieces: bytes) -> Reply:
    """Just these bytes."""
    return lambda _, __: pieces


def ok(*headers: str, body: Iterable[bytes]) -> Reply:
    """Status 200 with headers and a body that need not fit each other."""
    head = "\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *headers, "", ""]).encode("latin-1")
    return lambda _, __: (piece for part in ([head], body) for piece in part)


class Upstream(socketserver.ThreadingTCPServer):
    """The server: its address, and every request it got."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.folder, self.asked = folder, list[Request]()
        self._plans: dict[str, list[Reply]] = defaultdict(list)
        self._turn = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def plan(self, text: str, *replies: Reply) -> None:
        """What the next requests for a path with ``text`` in it get; requests after those get the file."""
        self._plans[text] += replies

    def forget(self) -> None:
        """No plans, and nothing asked yet."""
        self._plans.clear()
        self.asked.clear()

    def left(self) -> int:
        """How many planned replies were not asked for."""
        return sum(len(replies) for replies in self._plans.values())

    def answer(self, request: Request) -> Iterable[bytes]:
        with self._turn:
            self.asked.append(request)
            plan = next((plan for text, plan in self._plans.items() if text in request.path and plan), [right])
            reply = plan.pop(0)
        return reply(request, self._right(request))

    def _right(self, request: Request) -> Right:
        path = self.folder / request.path.lstrip("/")
        if not path.is_file():
            return Right(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n", b"")
        data = path.read_bytes()
        body, line = data[request.start :], "200 OK"
        if request.start:
            line = f"206 Partial Content\r\nContent-Range: bytes {request.start}-{len(data) - 1}/{len(data)}"
        if request.start >= len(data) > 0:
            body, line = b"", f"416 Range Not Satisfiable\r\nContent-Range: bytes */{len(data)}"
        return Right(f"HTTP/1.1 {line}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n".encode(), body)


class _Connection(socketserver.StreamRequestHandler):
    server: Upstream

    def handle(self) -> None:
        lines = list(iter(lambda: self.rfile.readline(65536).decode("latin-1").rstrip("\r\n"), ""))
        if not lines:
            return
        method, path, _ = lines[0].split(" ")
        found = re.search(r"(?im)^range: bytes=(\d+)-$", "\n".join(lines))
        request = Request(method, path, int(found[1]) if found else 0, "\n".join(lines))
        try:
            for piece in self.server.answer(request):
                self.wfile.write(piece)
        except OSError:  # the client has gone, as it may
            pass


@contextmanager
def upstream(folder: Path) -> Iterator[Upstream]:
    """Start a server of a folder's files, and stop it."""
    with serving(Upstream(folder)) as server:
        yield server
