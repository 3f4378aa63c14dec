"""Starting the server."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pifa_data.errors import ConfigError

if TYPE_CHECKING:
    import uvicorn

    from pipelines.serve.work import Worker

PORT = 8000


def check_installed() -> None:
    """Raises ``ConfigError``, which says what to install, unless the server's packages are there."""
    from importlib.util import find_spec

    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"pifa serve needs {' and '.join(missing)}: pip install 'pifa[serve]'")


def run_serve(
    checkpoint: str,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    detector: str | None = None,
    morphable: str | None = None,
    registry: str | None = None,
    device: str = "auto",
    runtime: str = "torch",
    name: Sequence[str] = (),
    max_bytes: int | None = None,
    max_pixels: int | None = None,
    timeout: float | None = None,
    concurrency: int | None = None,
    waiting: int | None = None,
    say: Callable[[str], None],
) -> None:
    """Serve a checkpoint until the process is told to stop.

    Args:
        checkpoint: run, file or zoo name.
        host, port: where to listen; port 0 is any that is free.
        detector: see ``open_detector``; None is ``haar``.
        morphable, registry, device, runtime: see ``load_aligner``.
        name: hosts' names that requests may use, besides this machine's own; see ``Guard``.
        max_bytes, max_pixels, timeout, concurrency, waiting: see ``Limits``; None are its defaults.
        say: takes the lines for the user: the address, and a warning.

    Raises:
        PifaError, ZooError: packages are missing; the checkpoint or the detector can't be used; the port is taken.
    """
    check_installed()
    check_names(name)
    import uvicorn

    from pifa_data.detection import open_detector
    from pipelines.checkpoints import load_aligner
    from pipelines.serve.guard import is_loopback
    from pipelines.serve.limits import Limits
    from pipelines.serve.work import Worker

    given = {"bytes": max_bytes, "pixels": max_pixels, "seconds": timeout}
    given |= {"concurrency": concurrency, "waiting": waiting}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    with listen(host, port) as listening:
        finder = open_detector(detector or "haar")
        aligner, file = load_aligner(checkpoint, morphable=morphable, registry=registry, device=device, runtime=runtime)
        # A run's or a file's name, without the way there.
        worker = Worker(aligner, finder, limits, Path(checkpoint).name or file.name, aligner.least_score)
        if not is_loopback(host):
            say(f"warning: {host} is no address of this machine alone; whoever reaches it can use this server")
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{listening.getsockname()[1]}/ serves {worker.checkpoint}; Ctrl+C stops it")
        uvicorn.Server(configured(worker, host, name)).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ConfigError: no such address here, or the port is taken.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: can't listen there ({error.strerror}); name another, or --port 0"
        ) from error


def check_names(names: Sequence[str]) -> None:
    """Raises ``ConfigError`` for one that is no host's name alone."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:]{2,45}", name):
            raise ConfigError(
                f"--name {name[:80]!r}: expected a host's name, as face.example, without http:// and port"
            )


def configured(worker: Worker, host: str, names: Sequence[str] = ()) -> uvicorn.Config:
    """The web server's settings."""
    import uvicorn

    from pipelines.serve.app import make_app
    from pipelines.serve.connection import Connection
    from pipelines.serve.guard import is_loopback

    return uvicorn.Config(
        make_app(worker, local=is_loopback(host), names=names),
        http=Connection,
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=5,
    )
