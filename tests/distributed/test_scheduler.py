"""``pifa prep --scheduler``: a real scheduler and real workers, which are lost one after the other."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import distributed  # noqa: F401 - its defaults have to be there before a test changes one
import pytest
from command_line import good, pifa
from processes import PATIENCE, ROOT, Cluster, free_port, wait_until

from pifa_data.errors import StoreError
from pifa_data.store import Store
from pifa_data.version import VERSION
from pipelines import cluster as pipeline

NO_WORKERS = "distributed.scheduler.no-workers-timeout"
"""Dask's own setting: in the environment DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT."""


@contextmanager
def meanwhile(*steps: Callable[[], Any]) -> Iterator[None]:
    """Take steps one after the other while the block runs; their errors fail the test."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for step in steps:
                step()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not errors, errors


def after(shards: int, store: Path) -> Callable[[], None]:
    """A step that waits until so many shards are done."""
    return lambda: wait_until(lambda: len(list(store.glob("manifest/*.json"))) >= shards, f"{shards} shards")


def unfinished(store: Path) -> Callable[[], None]:
    """A step that fails if the build is over: what was done to it came too late."""

    def check() -> None:
        assert not Store(store, unfinished=True).attributes["complete"]

    return check


def digest_of(store: Path) -> str:
    assert list(Store(store).verify()) == []
    return str(Store(store).attributes["digest"])


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A test whose workers don't come fails, in less than ten minutes."""
    with dask.config.set({NO_WORKERS: f"{PATIENCE}s"}):
        yield


def test_without_workers_it_waits_and_gives_up(
    cluster: Cluster, command: list[str], store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.have_workers(0)
    with dask.config.set({NO_WORKERS: "300ms"}):
        result = pifa(*command, "--scheduler", cluster.address)
    assert result.exit_code == 1
    assert f"waiting for one, as `dask worker {cluster.address}` starts" in caplog.text
    [error] = result.stderr.splitlines()
    assert f"--scheduler {cluster.address}: no worker for 0.3 s" in error
    assert not store.exists()


def test_a_cluster_gives_the_bytes_of_one_machine(
    cluster: Cluster, command: list[str], digest: str, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.have_workers(2)  # which are still starting: it waits for the first
    good(*command, "--scheduler", cluster.address)
    assert len(re.findall(r"dashboard: http://127\.0\.0\.1:\d+/status", caplog.text)) == 1
    assert digest_of(store) == digest


def test_a_worker_is_killed_and_another_goes_on(cluster: Cluster, command: list[str], digest: str, store: Path) -> None:
    cluster.have_workers(2)
    with meanwhile(after(1, store), cluster.kill_worker, unfinished(store)):
        good(*command, "--scheduler", cluster.address)
    assert digest_of(store) == digest


def test_all_workers_are_killed_and_a_new_one_joins(
    cluster: Cluster,
    command: list[str],
    digest: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pipeline, "LOOK_SECONDS", 0.1)
    cluster.have_workers(1)

    def kill() -> None:
        caplog.clear()
        cluster.have_workers(0)
        unfinished(store)()
        wait_until(lambda: "has no workers; waiting for one" in caplog.text, "that the loss is told")
        cluster.start_worker()

    with meanwhile(after(2, store), kill):
        good(*command, "--scheduler", cluster.address)
    assert digest_of(store) == digest


@pytest.fixture
def newer_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process has another version than the workers."""
    monkeypatch.setattr(pipeline, "VERSION", "99.0")
    pipeline._versions.cache_clear()
    yield
    pipeline._versions.cache_clear()


@pytest.mark.usefixtures("newer_here")
def test_workers_of_other_versions_are_refused(
    cluster: Cluster, command: list[str], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.have_workers(1)
    before = pifa(*command, "--scheduler", cluster.address)
    assert before.exit_code == 1
    message = rf"worker tcp://\S+ has pifa {re.escape(VERSION)} \(here 99.0\); install the same versions"
    assert re.search(message, before.stderr)
    assert not store.exists()
    # A worker that joins later has not been asked; its first task tells.
    monkeypatch.setattr(pipeline, "_check_versions", lambda *_: None)
    late = pifa(*command, "--scheduler", cluster.address)
    assert late.exit_code == 1
    assert re.search(message, late.stderr)


def test_workers_without_the_program_are_refused() -> None:
    class Client:
        def run(self, function: Any, on_error: str) -> dict[str, Any]:
            return {"tcp://w:1": function(), "tcp://w:2": ModuleNotFoundError("No module named 'pipelines'")}

    with pytest.raises(StoreError, match="worker tcp://w:2 can't do the work"):
        pipeline._check_versions(Client(), "tcp://s:1")


def test_no_scheduler_at_the_address(command: list[str], store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipeline.CONNECT_SECONDS <= 5
    monkeypatch.setattr(pipeline, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reasons = {
            f"tcp://127.0.0.1:{free_port()}": "no answer within 0.3 s",
            f"tcp://127.0.0.1:{silent.getsockname()[1]}": "no answer within 0.3 s",
            "http://127.0.0.1:8787": "unknown address scheme 'http'",
            "nowhere": "missing port number",
            "tls://127.0.0.1:9": "TLS",
        }
        for address, reason in reasons.items():
            result = pifa(*command, "--scheduler", address)
            assert result.exit_code == 1
            [error] = result.stderr.splitlines()
            assert f"--scheduler {address}: no Dask scheduler answers there ({reason}" in error
    assert not store.exists()


def test_a_worker_is_no_scheduler(cluster: Cluster, command: list[str]) -> None:
    cluster.have_workers(1)
    with pipeline.connected(1, cluster.address) as client:
        [address] = client.scheduler_info()["workers"]
    result = pifa(*command, "--scheduler", address)
    assert "it is a Worker" in result.stderr


def test_the_scheduler_is_killed(cluster: Cluster, command: list[str], digest: str, store: Path) -> None:
    cluster.have_workers(1)
    whole = [sys.executable, "-m", "cli", *command, "--scheduler", cluster.address]
    build = subprocess.Popen(whole, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        after(1, store)()
        unfinished(store)()
        cluster.kill_scheduler()
        out, told = build.communicate(timeout=PATIENCE)  # 2 s on a machine at rest
    finally:
        build.kill()
        build.communicate()
    assert build.returncode == 1
    assert out == ""
    [error] = [line for line in told.splitlines() if "dashboard" not in line and "waiting for one" not in line]
    assert f"the build stopped on {cluster.address} (the Dask scheduler was lost)" in error
    assert "--resume" in error
    good(*command, "--resume")
    assert digest_of(store) == digest
