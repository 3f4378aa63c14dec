"""Whether packages can be imported, tried in another process: some broken ones end the process that imports them."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipelines.doctor.rows import one_line

CHILD = Path(__file__).with_name("importing_child.py")
SECONDS = 300.0
"""Until one import is given up. Lightning alone takes 5 to 10 s; a network disk that sleeps takes longer."""


@dataclass(frozen=True)
class Failure:
    """Why a module can't be imported.

    Attributes:
        error: kind and first line.
        fatal: it is no exception: the import ends the process, or never ends.
    """

    error: str
    fatal: bool = False


def broken_imports(modules: Sequence[str], seconds: float = SECONDS) -> dict[str, Failure]:
    """Those of the modules that can't be imported.

    Args:
        seconds: until an import is given up.
    """
    broken: dict[str, Failure] = {}
    left = list(modules)
    while left:
        told, end = _import(left, seconds)
        broken |= {name: Failure(one_line(error)) for name, error in told.items() if error}
        left = left[len(told) :]
        if left:  # it ended while it imported this one
            broken[left.pop(0)] = Failure(end, fatal=True)
    return broken


def _import(modules: Sequence[str], seconds: float) -> tuple[dict[str, str], str]:
    """What a process tells of its imports, in their order, and how it ended."""
    # -P: no file of the working folder is taken for a package.
    command = [sys.executable, "-P", str(CHILD), *modules]
    nothing = subprocess.DEVNULL
    told: dict[str, str] = {}
    with subprocess.Popen(command, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing) as process:
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=_pass_on, args=(process.stdout, lines), daemon=True).start()
        try:
            while line := lines.get(timeout=seconds):  # of each import anew
                told.update(json.loads(line))
        except queue.Empty:
            process.kill()
            return told, f"the import did not end within {seconds:g} s"
    return told, _ending(process.returncode)


def _pass_on(output: IO[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    """Lines as they come, then an empty one."""
    for line in output:
        lines.put(line)
    lines.put(b"")


def _ending(status: int) -> str:
    if status < 0:
        try:
            return f"the import ended the process ({signal.Signals(-status).name})"
        except ValueError:
            pass
    return f"the import ended the process (status {status})"
