"""A real Dask scheduler and real workers, each a process of its own on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds that anything here is waited for: it takes two or three, and many times that on a machine in use."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something to come true."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, f"{what}: not within {PATIENCE:.0f} s"
        time.sleep(0.02)


class Cluster:
    """A scheduler and its workers; ``close`` kills whatever is left of them. ``log`` has what all of them write."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "cluster.log"
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.workers: list[subprocess.Popen[bytes]] = []
        where = ("--host", "127.0.0.1", "--port", str(self.port), "--dashboard-address", "127.0.0.1:0")
        self.scheduler = self._start("scheduler", *where)
        try:
            wait_until(self._answers, f"{self.address}: the scheduler ({self.log})")
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        assert self.alive, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        # A folder and a configuration of its own: a worker knows of the store's place only what its task says.
        folder = self.log.parent
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DASK_CONFIG": str(folder)}
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    @property
    def alive(self) -> bool:
        return self.scheduler.poll() is None

    def start_worker(self) -> None:
        """One more worker process; it is not waited for. It ends itself if the tests end without ending it."""
        arguments = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "20")
        self.workers.append(self._start("worker", self.address, *arguments))

    def kill_worker(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        worker = self.workers.pop(0)
        worker.kill()
        worker.wait()

    def have_workers(self, count: int) -> None:
        """So many workers, whatever an earlier test has left."""
        while len(self.workers) > count:
            self.kill_worker()
        while len(self.workers) < count:
            self.start_worker()

    def kill_scheduler(self) -> None:
        self.scheduler.kill()
        self.scheduler.wait()

    def close(self) -> None:
        self.kill_scheduler()
        self.have_workers(0)
