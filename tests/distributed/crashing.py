"""``pifa`` commands that end, or find the disk full, at a chosen change of a store's files.

A process of its own (this file run as a script) imports everything once and forks a child for each command, which then
takes half a second. The tasks of a build run in the child itself, so that whatever changes a file can be hit.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

CHANGES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
"""Audit events of Python that announce a change of files, before it is made."""


@dataclass(frozen=True)
class Run:
    """What became of a command.

    Attributes:
        status: its exit status; negative: the signal.
        output: what it wrote.
        changes: how many changes of files it began.
        last_made: number of the last one that needs space; what follows only moves or removes.
    """

    status: int
    output: str
    changes: int
    last_made: int


class Crasher:
    """The process that runs commands, in a folder and with an environment; ``close`` ends it."""

    def __init__(self, folder: Path = ROOT, **environment: str) -> None:
        environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(Path(__file__).resolve())]
        self._process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, *arguments: Any, within: Path, kill: int = 0, full: int = 0) -> Run:
        """Run a ``pifa`` command.

        Args:
            within: folder whose changes count.
            kill: number of the change at which SIGKILL comes, from 1; 0 for never.
            full: number of the change from which on nothing can be made any more: no space.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        texts = [str(argument) for argument in arguments]
        asked = {"arguments": texts, "within": str(within), "kill": kill, "full": full}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return Run(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.__exit__(None, None, None)  # closes its stdin, at which it ends


def run_tasks_here(patch: pytest.MonkeyPatch) -> None:
    """Let builds run their tasks in this process, one after the other."""
    patch.setattr("pipelines.prep.connected", lambda *_: contextlib.nullcontext())
    patch.setattr("pipelines.prep.run_tasks", lambda _, function, tasks, __: itertools.starmap(function, tasks))


def serve() -> None:
    """Run the commands that come on stdin, one a line, each in a child."""
    import distributed  # noqa: F401 (imported here, so that no child has to)

    import cli
    from pipelines import repair, store  # noqa: F401

    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as count:
            child = os.fork()
            if child == 0:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                status = 99
                try:
                    status = _command(cli, asked, count)
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(status)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            output.seek(0)
            count.seek(0)
            changes = count.read()
            answer = {"status": status, "output": output.read(), "changes": len(changes)}
            answer["last_made"] = changes.rfind("+") + 1
        print(json.dumps(answer), flush=True)


def _command(cli: types.ModuleType, asked: dict[str, Any], count: Any) -> int:
    run_tasks_here(pytest.MonkeyPatch())
    numbers = itertools.count(1)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or not _changes(event, arguments, asked["within"]):
            return
        makes = event in ("open", "os.mkdir")
        os.write(count.fileno(), b"+" if makes else b".")
        number = next(numbers)
        if number == asked["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if asked["full"] and number >= asked["full"] and makes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

    sys.addaudithook(hook)
    try:
        cli.main(asked["arguments"])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _changes(event: str, arguments: tuple[Any, ...], within: str) -> bool:
    if event == "open":
        path, _, flags = arguments
        if not isinstance(path, (str, Path)) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return False
    elif event in ("os.remove", "os.rmdir") and arguments[1] != -1:
        return True  # told from a folder that is open, as shutil.rmtree does
    return str(arguments[0]).startswith(within)


@contextlib.contextmanager
def crasher(folder: Path = ROOT, **environment: str) -> Iterator[Crasher]:
    """A ``Crasher`` that is closed at the end."""
    process = Crasher(folder, **environment)
    try:
        yield process
    finally:
        process.close()


if __name__ == "__main__":
    serve()
