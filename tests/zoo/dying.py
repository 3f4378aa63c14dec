"""Operations of the zoo that end at a chosen change of the disk, or at a chosen byte, as when the machine goes down.

A process of its own (this file run as a script) imports everything once and forks a child for each operation.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KILLED = 9
CHANGES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.utime", "os.symlink", "os.link"}
"""Audit events of Python that announce a change of files; writes and flushes are announced by the files made here."""


@dataclass(frozen=True)
class Run:
    """What became of an operation: its exit status, its errors, and the changes that it began, as (kind, path, …)."""

    status: int
    output: str
    changes: list[list[str]] = field(default_factory=list)


class Mortal:
    """The process that runs operations."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        )

    def run(self, work: str, *arguments: Any, kill: int = 0, size: int = -1, full: bool = False, **options: Any) -> Run:
        """Call a function of the zoo.

        Args:
            work: its name.
            kill: number of the change at which it ends, from 1; 0 for never. A write that is hit is half done.
            size: bytes beyond which no file grows: it ends there; -1 for any.
            full: it does not end there, but is told that the file cannot grow.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"work": work, "arguments": arguments, "options": options, "kill": kill, "size": size, "full": full}
        print(json.dumps(asked, default=str), file=self._process.stdin, flush=True)
        return Run(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.__exit__(None, None, None)  # closes its stdin, at which it ends


@contextmanager
def mortal() -> Iterator[Mortal]:
    """A ``Mortal`` that is closed at the end."""
    process = Mortal()
    try:
        yield process
    finally:
        process.close()


def serve() -> None:
    """Run the operations that come on stdin, one a line, each in a child."""
    import zoo
    import zoo.backends.web

    _import_all()
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as changes:
            child = os.fork()
            if child == 0:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                status = 1
                try:
                    _watch(changes.fileno(), asked["kill"], asked["size"], asked["full"])
                    getattr(zoo, asked["work"])(*asked["arguments"], **asked["options"])
                    status = 0
                except Exception as error:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                    print(f"{type(error).__name__}: {error}", flush=True)
                finally:
                    os._exit(status)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            output.seek(0)
            changes.seek(0)
            found = [change.split("\t") for change in changes.read().splitlines()]
            answer = {"status": status, "output": output.read(), "changes": found}
        print(json.dumps(answer), flush=True)


def _import_all() -> None:
    """Do what is to be done once, so that no child has to import anything."""
    import numpy as np
    import requests  # noqa: F401
    from zoo_checkpoint import write_checkpoint

    import zoo

    with tempfile.TemporaryDirectory() as folder:
        weights = write_checkpoint(Path(folder) / "model.safetensors", np.zeros(3, np.float32))
        zoo.publish(f"{folder}/registry", weights=weights, name="face", version="1.0.0")
        zoo.fetch("face", f"{folder}/registry", f"{folder}/cache")


def _watch(log: int, kill: int, size: int, full: bool) -> None:
    """Count the changes of this process and end it before one of them."""
    count = 0

    def change(kind: str, *paths: object, half: Callable[[], object] = lambda: None) -> None:
        nonlocal count
        count += 1
        if size < 0:  # or the log would be hit first
            os.write(log, ("\t".join([kind, *map(str, paths)]) + "\n").encode())
        if count == kill:
            half()
            os._exit(KILLED)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, Path)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                change("open", path)
        elif event in CHANGES:
            change(event, *arguments[:2])

    class File:
        """A file that announces what is written to it."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> File:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def truncate(self, size: int) -> None:
            change("truncate", self._file.name)
            self._file.truncate(size)

        def write(self, data: bytes) -> int:
            def half() -> None:
                self._file.write(data[: len(data) // 2])
                self._file.flush()

            change("write", self._file.name, half=half)
            return int(self._file.write(data))

    plain_open, plain_fsync = io.open, os.fsync

    def opened(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = plain_open(path, mode, *arguments, **options)
        return File(file) if set(mode) & set("wxa+") else file

    def fsync(number: int) -> None:
        change("fsync", Path(f"/proc/self/fd/{number}").readlink())
        plain_fsync(number)

    if size >= 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN if full else signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    builtins.open = io.open = opened
    os.fsync = fsync
    sys.addaudithook(hook)


if __name__ == "__main__":
    serve()
