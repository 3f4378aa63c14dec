"""A real nginx on this machine: a folder served well and badly, over http and https, with a log of what was asked.

Below its address: ``/plain`` (with ranges), ``/noranges``, ``/slow`` (16 KiB/s), ``/up`` (what `upstream` says),
``/gone`` 404, ``/busy`` 503 with Retry-After, ``/redirect`` to ``/plain``, ``/loop``, ``/to-file``, ``/to-http``,
``/down`` 502, ``/empty`` (closes without an answer), ``/gzip`` (says that it is compressed), ``/secret`` 401.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from certificates import Certificates

BINARY = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")

CONFIG = """
daemon off;
{user}worker_processes 1;
pid {work}/pid;
error_log {work}/error.log;
events {{ worker_connections 512; }}
http {{
  log_format tests "$server_port\\t$request_method\\t$request_uri\\t$http_range\\t$status\\t$body_bytes_sent";
  access_log {work}/access.log tests;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location /plain/ {{ alias {folder}/; }}
    location /noranges/ {{ alias {folder}/; max_ranges 0; }}
    location /slow/ {{ alias {folder}/; limit_rate 16k; }}
    location /up/ {{ proxy_pass http://127.0.0.1:{upstream}/; proxy_set_header Range $http_range; }}
    location /gone/ {{ return 404; }}
    location /busy/ {{ add_header Retry-After 7 always; return 503; }}
    location /redirect/ {{ rewrite ^/redirect(/.*)$ /plain$1 redirect; }}
    location /loop/ {{ return 302 $request_uri; }}
    location /to-file/ {{ return 302 file:///etc/passwd; }}
    location /to-http/ {{ rewrite ^/to-http(/.*)$ http://127.0.0.1:{port}/plain$1 redirect; }}
    location /down/ {{ proxy_pass http://127.0.0.1:9; }}
    location /empty/ {{ return 444; }}
    location /gzip/ {{ alias {folder}/; add_header Content-Encoding gzip; }}
    location /secret/ {{ return 401; }}
    location /seen/ {{ return 204; }}
  }}
}}
"""


@dataclass(frozen=True)
class Asked:
    """A request as the server logged it: its path, the Range header ('-' for none), status and bytes of the body."""

    port: str
    method: str
    path: str
    range: str
    status: str
    sent: int


@dataclass(frozen=True)
class Nginx:
    """A running server: addresses, and the log."""

    url: str
    secure: str
    log: Path

    def asked(self, text: str = "") -> list[Asked]:
        """The requests so far for a path with ``text`` in it."""
        # One process serves all in turn: when this is in the log, so is all that was answered before.
        mark = f"/seen/{time.monotonic_ns()}"
        with socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), 10) as connection:
            connection.sendall(f"GET {mark} HTTP/1.0\r\n\r\n".encode())
            while connection.recv(4096):
                pass
        limit = time.monotonic() + 10
        while mark not in (log := self.log.read_text()):
            assert time.monotonic() < limit, "nginx writes no log"
            time.sleep(0.005)
        lines = [line.split("\t") for line in log.splitlines()]
        found = [Asked(*fields[:5], sent=int(fields[5])) for fields in lines]
        return [asked for asked in found if text in asked.path and "/seen/" not in asked.path]

    def forget(self) -> None:
        """Empty the log."""
        self.asked()  # until what was answered before is written
        os.truncate(self.log, 0)


@contextmanager
def nginx(folder: Path, work: Path, certificates: Certificates, upstream: int) -> Iterator[Nginx]:
    """Start a server.

    Args:
        folder: what it serves.
        work: an empty folder for its own files.
        certificates: of https.
        upstream: port of the server behind ``/up``.
    """
    if BINARY is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=128) for _ in range(2)]
    port, tls_port = (each.getsockname()[1] for each in sockets)
    (work / "nginx.conf").write_text(
        CONFIG.format(
            user="user root; " if os.geteuid() == 0 else "",  # or its worker could not read what is root's alone
            work=work,
            folder=folder,
            port=port,
            tls_port=tls_port,
            certificate=certificates.certificate,
            key=certificates.key,
            upstream=upstream,
        )
    )
    # nginx takes over sockets that are open already, as it does when it is replaced while it runs: nobody else can
    # take the ports, and no request comes too early.
    numbers = [each.fileno() for each in sockets]
    server = subprocess.Popen(
        [BINARY, "-p", str(work), "-e", str(work / "error.log"), "-c", str(work / "nginx.conf")],
        env={**os.environ, "NGINX": "".join(f"{number};" for number in numbers)},
        pass_fds=numbers,
        stderr=subprocess.DEVNULL,
    )
    for each in sockets:
        each.close()
    try:
        yield Nginx(f"http://127.0.0.1:{port}", f"https://localhost:{tls_port}", work / "access.log")
    finally:
        server.terminate()
        server.wait(20)
