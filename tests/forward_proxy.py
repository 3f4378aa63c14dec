"""A forward proxy: plain requests by their whole address, https by CONNECT, and a list of what it was asked for."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from serving import serving


class Proxy(socketserver.ThreadingTCPServer):
    """The proxy: its address, and the first lines of the requests it got.

    With ``password`` (base64 of ``user:password``) it serves nobody else.
    """

    daemon_threads = True

    def __init__(self, password: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.asked: list[str] = []
        self.password = password

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Connection(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        lines = list(iter(lambda: self.rfile.readline(65536).rstrip(b"\r\n"), b""))
        if not lines:
            return
        self.server.asked.append(lines[0].decode("latin-1"))
        method, address, version = lines[0].decode("latin-1").split(" ")
        password = self.server.password
        if password and f"proxy-authorization: basic {password}".lower() not in [
            line.decode("latin-1").lower() for line in lines
        ]:
            self.wfile.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        tunnel = method == "CONNECT"
        parts = urlsplit(f"//{address}" if tunnel else address)
        assert parts.hostname is not None
        with socket.create_connection((parts.hostname, parts.port or 80), 10) as onward:
            if tunnel:
                self.wfile.write(b"HTTP/1.1 200 Go on\r\n\r\n")
                back = threading.Thread(target=_pump, args=(onward, self.connection))
                back.start()
                _pump(self.connection, onward)
                back.join()
            else:
                kept = [line for line in lines[1:] if not line.lower().startswith((b"proxy-", b"connection:"))]
                head = [f"{method} {parts.path} {version}".encode(), *kept, b"Connection: close", b"", b""]
                onward.sendall(b"\r\n".join(head))
                _pump(onward, self.connection)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # either has gone
        pass


@contextmanager
def forward_proxy(password: str | None = None) -> Iterator[Proxy]:
    """Start a proxy, and stop it."""
    with serving(Proxy(password)) as proxy:
        yield proxy
