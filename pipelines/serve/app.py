"""The ASGI application of ``pifa serve``."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request, Response

from pifa_data.image_header import KNOWN
from pifa_data.version import VERSION
from pipelines.serve.answers import Aligned, AlignQuery, Health, MeshQuery, Served
from pipelines.serve.guard import Guard
from pipelines.serve.limits import Queue
from pipelines.serve.problems import Refusal, answer_problems, described
from pipelines.serve.work import Worker

T = TypeVar("T")

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
KINDS[".svg"] = "image/svg+xml"

MESHES = {"ply": "application/octet-stream", "obj": "text/plain; charset=us-ascii"}

_PHOTOS = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/octet-stream")
_PHOTO: dict[str, Any] = {
    "required": True,
    "description": f"The bytes of the photo's file, as they are: {', '.join(KNOWN)}.",
    "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _PHOTOS},
}
_ANY = (403, 421)
"""What every address may reply."""


def make_app(worker: Worker, *, local: bool = True, names: Sequence[str] = ()) -> FastAPI:
    """The application.

    Args:
        worker: does the work.
        local: it listens to this machine alone, so other names in the Host header are refused.
        names: that are taken besides.
    """
    queue = Queue(worker.limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        queue.warm(worker.warm)
        yield
        queue.close()

    app = FastAPI(
        title="pifa serve",
        summary="Faces of a photo: landmarks, visibility, pose, mesh.",
        version=VERSION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # those pages come from other servers
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    answer_problems(app)
    app.add_middleware(Guard, local=local, names=names)
    _add_pages(app)
    served = worker.served()

    async def on_photo(request: Request, work: Callable[[bytes], T]) -> T:
        _check_kind(request)
        async with queue.place() as place:
            data = await place.body(request)
            return await place.run(lambda: work(data))

    photo_problems = described(400, 408, 413, 415, 422, 500, 503, 504, *_ANY)

    @app.post("/api/align", responses=photo_problems, openapi_extra={"requestBody": _PHOTO})
    async def align(request: Request, query: Annotated[AlignQuery, Query()]) -> Aligned:
        """Align the faces of a photo."""
        return await on_photo(request, lambda data: worker.align(data, query))

    mesh_content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MESHES.values()}
    mesh_replies: dict[int | str, dict[str, Any]] = {200: {"description": "The file.", "content": mesh_content}}

    @app.post(
        "/api/mesh",
        responses=mesh_replies | photo_problems,
        response_class=Response,
        openapi_extra={"requestBody": _PHOTO},
    )
    async def mesh(request: Request, query: Annotated[MeshQuery, Query()]) -> Response:
        """The dense face in a box as a file for 3D programs, coloured from the photo."""
        content = await on_photo(request, lambda data: worker.mesh(data, query.box, query.format))
        named = {"Content-Disposition": f'attachment; filename="face.{query.format}"'}
        return Response(content, media_type=MESHES[query.format], headers=named)

    _add_document(app, "/api/model", served.model_dump_json().encode(), Served, "What is served.")

    @app.get("/api/health", responses=described(*_ANY))
    async def health() -> Health:
        """Whether the server is up."""
        return Health(version=VERSION)

    return app


def _check_kind(request: Request) -> None:
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind != "application/octet-stream":
        raise Refusal(415, "Content-Type: expected image/… or application/octet-stream and the file as the body")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "Content-Encoding: expected none; send the file as it is")


def _add_document(app: FastAPI, path: str, content: bytes, model: type, summary: str) -> None:
    """A JSON document that stays the same, and so need be sent once."""
    tag = _tag(content)
    replies: dict[int | str, dict[str, Any]] = {
        200: {"headers": {"ETag": {"schema": {"type": "string"}}}},
        304: {"description": "Unchanged since it had the ETag of If-None-Match."},
    }

    @app.get(path, response_model=model, responses=replies | described(*_ANY), summary=summary)
    async def _(request: Request) -> Response:
        return _cached(request, content, tag, "application/json")


def _add_pages(app: FastAPI) -> None:
    folder = files("pipelines") / "serve" / "page"
    for entry in folder.iterdir():
        kind = KINDS.get("." + entry.name.rpartition(".")[2])
        if kind:
            path = "/" if entry.name == "index.html" else f"/{entry.name}"
            _add_page(app, path, entry.read_bytes(), kind)


def _add_page(app: FastAPI, path: str, content: bytes, kind: str) -> None:
    tag = _tag(content)

    @app.get(path, include_in_schema=False)
    async def _(request: Request) -> Response:
        return _cached(request, content, tag, kind)


def _tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _cached(request: Request, content: bytes, tag: str, kind: str) -> Response:
    """The content, or 304 where the client has it."""
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    known = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    if tag in known or known == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
