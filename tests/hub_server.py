"""A stand-in for a model hub on this machine: as much of its HTTP interface as huggingface_hub uses to read and commit.

Large files are served by another host name, as a hub's are by its CDN: ``localhost`` where the hub is ``127.0.0.1``.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from serving import serving

READER, WRITER = "hf_reader", "hf_writer"
"""Tokens with the right to read every repository, and to change it too."""

LARGE = ("*.safetensors", "*.png")


@dataclass
class Repo:
    """A repository: its branches' commits, the oldest first, each the files by their paths."""

    private: bool = False
    branches: dict[str, list[str]] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str = "initial commit") -> str:
        content = repr((branch, len(self.commits), sorted(files))).encode()
        sha = hashlib.sha1(content).hexdigest()
        self.commits[sha] = files
        self.branches.setdefault(branch, []).append(sha)
        self.messages.append(message)
        return sha

    def at(self, revision: str) -> str | None:
        if revision in self.branches:
            return self.branches[revision][-1]
        return revision if revision in self.commits else None

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.branches["main"][-1]]


@dataclass(frozen=True)
class Request:
    method: str
    host: str
    path: str
    token: str | None
    range: str | None


class Hub:
    """What the server has, and what it was asked."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.cut: int | None = None
        """Bytes of the next large file after which its connection breaks."""
        self.before_commit: list[Any] = []
        """Called once each, one before each commit: others who are faster."""
        self.loses_answer = False
        """Whether the next commit is made and its answer is lost."""
        self.replies: dict[str, tuple[int, dict[str, str], bytes]] = {}
        """Other replies than its own, by the beginning of the path."""

    def create(self, repo: str, *, private: bool = False, files: dict[str, bytes] | None = None) -> Repo:
        made = self.repos[repo] = Repo(private)
        made.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n", **(files or {})})
        return made

    def asked(self, method: str, part: str) -> list[Request]:
        return [request for request in self.requests if request.method == method and part in request.path]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two packets, of which the second would wait for 40 ms
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client that was killed
            super().handle()

    def do_GET(self) -> None:
        self._route()

    do_HEAD = do_POST = do_PUT = do_GET

    def _route(self) -> None:
        hub, path = self.server.hub, urlsplit(self.path).path
        self.body = self._read()
        hub.requests.append(Request(self.command, self.headers["Host"], path, self._token(), self.headers["Range"]))
        for start, (status, headers, body) in hub.replies.items():
            if path.startswith(start):
                self._send(status, body, **headers)
                return
        for pattern, method in _ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                getattr(self, method)(**{name: unquote(value) for name, value in match.groupdict().items()})
                return
        self._refuse(404, "", "no such route")

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    # What the interface says, in the order in which a publication uses it.

    def info(self, repo: str, revision: str = "main") -> None:
        if found := self._find(repo, revision):
            names = [{"rfilename": path} for path in found[0].commits[found[1]]]
            self._json({"id": repo, "modelId": repo, "sha": found[1], "private": found[0].private, "siblings": names})

    def paths(self, repo: str, revision: str) -> None:
        if found := self._find(repo, revision):
            files = found[0].commits[found[1]]
            asked = parse_qs(self.body.decode())["paths"]
            self._json([_described(path, files[path]) for path in asked if path in files])

    def preupload(self, repo: str, revision: str) -> None:
        if found := self._find(repo, revision, write=True):
            files = found[0].commits[found[1]]
            ignored = files.get(".gitignore", b"").decode().split()
            answers = []
            for file in json.loads(self.body)["files"]:
                path, large = file["path"], _is_large(file["path"])
                answers.append(
                    {
                        "path": path,
                        "uploadMode": "lfs" if large else "regular",
                        "shouldIgnore": any(fnmatch(path, pattern) for pattern in ignored),
                        "oid": (_sha256 if large else _git_hash)(files[path]) if path in files else None,
                    }
                )
            self._json({"files": answers})

    def batch(self, repo: str) -> None:
        if self._find(repo, "main", write=True):
            answers: list[dict[str, Any]] = []
            for wanted in json.loads(self.body)["objects"]:
                answer = {"oid": wanted["oid"], "size": wanted["size"]}
                if wanted["oid"] not in self.server.hub.objects:
                    port = self.server.server_port
                    upload = {"href": f"http://localhost:{port}/store/{wanted['oid']}", "header": {}}
                    verify = {"href": f"http://127.0.0.1:{port}/{repo}/verify"}
                    answer["actions"] = {"upload": upload, "verify": verify}
                answers.append(answer)
            self._json({"transfer": "basic", "objects": answers})

    def store(self, oid: str) -> None:
        if _sha256(self.body) != oid:
            self._refuse(400, "", "wrong SHA-256")
            return
        self.server.hub.objects[oid] = self.body
        self._send(200, b"")

    def verify(self, repo: str) -> None:
        wanted = json.loads(self.body)
        stored = self.server.hub.objects.get(wanted["oid"])
        self._send(200 if stored is not None and len(stored) == wanted["size"] else 404, b"")

    def commit(self, repo: str, revision: str) -> None:
        hub = self.server.hub
        with hub.lock:
            if hub.before_commit:
                hub.before_commit.pop(0)()
            found = self._find(repo, revision, write=True)
            if not found:
                return
            lines = [json.loads(line) for line in self.body.splitlines()]
            header = lines[0]["value"]
            if header.get("parentCommit", found[1]) != found[1]:
                self._refuse(412, "", "A commit has happened since. Please refresh and try again.")
                return
            files = dict(found[0].commits[found[1]])
            for line in lines[1:]:
                value = line["value"]
                if line["key"] == "lfsFile":
                    files[value["path"]] = hub.objects[value["oid"]]
                else:
                    files[value["path"]] = base64.b64decode(value["content"])
            sha = found[0].commit(revision, files, header["summary"])
            if hub.loses_answer:
                hub.loses_answer, self.close_connection = False, True
                return
        self._json({"commitUrl": f"/{repo}/commit/{sha}", "commitOid": sha, "hookOutput": "", "success": True})

    def resolve(self, repo: str, revision: str, path: str) -> None:
        if found := self._find(repo, revision):
            data = found[0].commits[found[1]].get(path)
            if data is None:
                self._refuse(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": found[1]})
            elif _is_large(path):
                self.server.hub.objects[_sha256(data)] = data
                self._send(302, b"", Location=f"http://localhost:{self.server.server_port}/cdn/{_sha256(data)}")
            else:
                self._send(307, b"", Location=f"/api/resolve-cache/models/{repo}/{found[1]}/{path}")

    def cached(self, repo: str, revision: str, path: str) -> None:
        if found := self._find(repo, revision):
            self._serve(found[0].commits[found[1]][path])

    def cdn(self, oid: str) -> None:
        self._serve(self.server.hub.objects[oid])

    def _find(self, repo: str, revision: str, *, write: bool = False) -> tuple[Repo, str] | None:
        """The repository and the commit; None where that is refused, which is then said."""
        token, found = self._token(), self.server.hub.repos.get(repo)
        if token not in (None, READER, WRITER):
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif found is None or (token is None and (found.private or write)):
            # What it does not have and what it does not show look the same.
            self._refuse(401 if token is None else 404, "RepoNotFound", "Repository not found")
        elif write and token != WRITER:
            self._refuse(403, "", "Forbidden: you must use a write token to upload to a repository.")
        elif (commit := found.at(revision)) is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return found, commit
        return None

    def _serve(self, data: bytes) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None:
            self._send(200, data)
        elif int(match[1]) >= len(data):
            self._send(416, b"", **{"Content-Range": f"bytes */{len(data)}"})
        else:
            start = int(match[1])
            self._send(206, data[start:], **{"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        named = {"X-Error-Code": code, "X-Error-Message": message}
        body = json.dumps({"error": message}).encode()
        self._send(
            status, body, **{"Content-Type": "application/json"}, **headers, **{k: v for k, v in named.items() if v}
        )

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        hub = self.server.hub
        if hub.cut is not None and self.path.startswith("/cdn/"):
            body, hub.cut, self.close_connection = body[: hub.cut], None, True
        if self.command != "HEAD":
            self.wfile.write(body)


_REPO, _REVISION = "(?P<repo>[^/]+/[^/]+)", "(?P<revision>[^/]+)"
_ROUTES = [
    (rf"GET /api/models/{_REPO}", "info"),
    (rf"GET /api/models/{_REPO}/revision/{_REVISION}", "info"),
    (rf"POST /api/models/{_REPO}/paths-info/{_REVISION}", "paths"),
    (rf"POST /api/models/{_REPO}/preupload/{_REVISION}", "preupload"),
    (rf"POST /{_REPO}\.git/info/lfs/objects/batch", "batch"),
    (r"PUT /store/(?P<oid>[0-9a-f]{64})", "store"),
    (rf"POST /{_REPO}/verify", "verify"),
    (rf"POST /api/models/{_REPO}/commit/{_REVISION}", "commit"),
    (rf"(?:GET|HEAD) /api/resolve-cache/models/{_REPO}/{_REVISION}/(?P<path>.+)", "cached"),
    (rf"(?:GET|HEAD) /{_REPO}/resolve/{_REVISION}/(?P<path>.+)", "resolve"),
    (r"(?:GET|HEAD) /cdn/(?P<oid>[0-9a-f]{64})", "cdn"),
]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub = hub


def _described(path: str, data: bytes) -> dict[str, Any]:
    if not _is_large(path):
        return {"type": "file", "path": path, "size": len(data), "oid": _git_hash(data)}
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
        _sha256(data).encode(),
        len(data),
    )
    lfs = {"oid": _sha256(data), "size": len(data), "pointerSize": len(pointer)}
    return {"type": "file", "path": path, "size": len(data), "oid": _git_hash(pointer), "lfs": lfs}


def _is_large(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in LARGE)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def hub_server(patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Start a hub on a free port, and point huggingface_hub in this process to it, with the right to write."""
    import huggingface_hub
    from huggingface_hub import constants

    hub = Hub()
    with serving(Server(hub)) as server:
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        patch.setenv("HF_TOKEN", WRITER)
        # What it reads from the environment once, when it is imported.
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        patch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_TOKEN_PATH", os.devnull)
        try:
            yield hub
        finally:
            huggingface_hub.close_session()
