"""``pifa prep`` as a user runs it, killed with SIGKILL at random moments and taken up again, by one run at a time.

``PIFA_KILLS`` says how many times (``make faults``: 60).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import pifa
from conftest import SHARDS
from processes import PATIENCE, ROOT, wait_until
from soundness import check_finished, check_never_wrong

from pifa_data.store.location import LOCK

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")

KILLS = int(os.environ.get("PIFA_KILLS", "3"))
LINGER = 10.0
"""Seconds within which the workers of a killed run have to end. Dask's notice it at once, or when they have started."""


class Build:
    """A ``pifa`` command in a process group of its own, workers and all."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "cli.py", *map(str, arguments)],
            cwd=ROOT,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill(self, *, whole: bool) -> None:
        """Kill the main process, or its workers too, as when a machine goes down."""
        if whole:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    def alive(self) -> list[str]:
        """The command lines of what lives of it."""
        lines = []
        for folder in Path("/proc").iterdir():
            try:
                state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
                line = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:  # no process, or none any more
                continue
            if int(group) == self.process.pid and state != "Z":
                lines.append(line)
        return lines

    def finish(self) -> str:
        """Wait for a good end; gives the output."""
        output, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, output
        return output


@pytest.fixture
def start() -> Iterator[Callable[..., Build]]:
    """Start a build; nothing of any lives on long."""
    builds: list[Build] = []

    def start(*arguments: object) -> Build:
        builds.append(Build(*arguments))
        return builds[-1]

    try:
        yield start
        limit = time.monotonic() + LINGER
        while alive := [line for build in builds for line in build.alive()]:
            assert time.monotonic() < limit, alive
            time.sleep(0.05)
    finally:
        for build in builds:
            if build.alive():
                build.kill(whole=True)
            build.process.communicate()


@pytest.fixture(scope="module")
def command(source: Path, options: list[str]) -> list[str]:
    """``pifa prep``; the store is to be added."""
    return ["prep", str(source), *options, "--workers", "2" if KILLS > 3 else "1", "--store"]


def entries(store: Path) -> int:
    return len(list(store.glob("manifest/*.json")))


def wait_for(running: Build, store: Path, shards: int) -> None:
    """Until so many shards are finished, or the run is."""
    wait_until(lambda: entries(store) >= shards or running.process.poll() is not None, f"{shards} shards")


def test_killed_at_random_moments_it_goes_on_to_the_same_store(
    start: Callable[..., Build], command: list[str], digest: str, tmp_path: Path
) -> None:
    rng = random.Random(5)
    seconds = 5.0  # that a run takes; better known once one came to its end
    kills, hit = 0, Counter[str]()
    stores = iter(tmp_path / f"{number}.zarr" for number in range(KILLS + 1))
    store = next(stores)
    while True:
        finished, begun = entries(store), time.monotonic()
        build = start(*command, store, "--resume")
        if kills == KILLS:
            build.finish()
        elif kills % 2:  # while shards are written
            wait_for(build, store, rng.randint(finished, SHARDS))
            time.sleep(rng.uniform(0, 0.1))
        else:  # at any time
            time.sleep(rng.uniform(0, seconds))
        if build.process.poll() is None:
            # The next run begins at once, beside workers that may not have noticed yet.
            build.kill(whole=bool(rng.getrandbits(1)))
            kills += 1
            left = check_never_wrong(store, digest)
            hit[left] += 1
            if left == "finished":
                store = next(stores)
        else:
            build.finish()
            seconds = time.monotonic() - begun
            check_finished(store, digest)
            if kills == KILLS:
                break
            store = next(stores)
    print(f"{kills} kills; what was there afterwards: {dict(hit)}")
    assert hit.total() == KILLS


def test_a_second_run_is_told_of_the_first_and_does_not_disturb_it(
    start: Callable[..., Build], command: list[str], digest: str, tmp_path: Path
) -> None:
    store = tmp_path / "S.zarr"
    first = start(*command, store)
    wait_for(first, store, 1)
    os.killpg(first.process.pid, signal.SIGSTOP)  # it can't come to its end meanwhile
    try:
        before = {p: p.stat().st_mtime_ns for p in store.rglob("*") if p.name != LOCK}
        for second in ([*command, store, "--resume"], [*command, store, "--overwrite"], ["store", "repair", store]):
            result = pifa(*second)
            assert result.exit_code == 1
            assert result.output.count("\n") == 1
            assert f"{store}: another `pifa prep` or `pifa store repair` is at work on it" in result.output
        assert {p: p.stat().st_mtime_ns for p in before} == before
    finally:
        os.killpg(first.process.pid, signal.SIGCONT)
    first.finish()
    check_finished(store, digest)
