"""The same bytes whatever builds them: workers, threads or processes, a cluster, one go or many, other settings around.

``test_killed.py`` and ``test_faults.py`` compare digests too.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import CONFIG, SHARD_FACES
from crashing import crasher, run_tasks_here
from soundness import check_finished
from threadpoolctl import threadpool_info, threadpool_limits

from pipelines import prep
from pipelines.prep import run_prep

KINDS: dict[str, dict[str, Any]] = {
    "crops": {},
    "mirrored": {"mirror": True},
    "faces": {"layout": "faces", "mirror": True},
}


@pytest.fixture(scope="module")
def processes() -> Iterator[str]:
    """A scheduler with two worker processes."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def build(source: Path, synthetic: Path, tmp_path: Path) -> Any:
    """``run_prep`` of the many shards; gives the digest."""

    def run(name: str, **options: Any) -> str:
        model = str(synthetic / "model.safetensors")
        config = replace(CONFIG, **options.pop("config", {}))
        return run_prep([str(source)], tmp_path / name, morphable=model, config=config, **options).digest

    return run


def test_four_workers_give_the_bytes_of_one(build: Any, digest: str) -> None:
    assert build("S.zarr", workers=4) == digest


@pytest.mark.parametrize("kind", KINDS)
def test_threads_and_processes_of_a_cluster_give_the_same_bytes(
    build: Any, threads: str, processes: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"config": KINDS[kind], "limit": 4 * SHARD_FACES}
    by_threads = build("threads.zarr", scheduler=threads, **options)
    by_processes = build("processes.zarr", scheduler=processes, **options)
    run_tasks_here(monkeypatch)
    assert by_threads == by_processes == build("here.zarr", **options)


def test_killed_five_times_in_another_folder_with_more_blas_threads(
    source: Path, options: list[str], digest: str, tmp_path: Path
) -> None:
    rng = random.Random(3)
    (tmp_path / "place").mkdir()
    (tmp_path / "other").mkdir()
    store = tmp_path / "place" / "S.zarr"
    with crasher(tmp_path / "other", OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2") as crash:
        command = ("prep", source, *options, "--store", store, "--resume")
        for _ in range(5):
            killed = crash.run(*command, within=store.parent, kill=rng.randint(100, 300))
            assert killed.status == -9
        done = crash.run(*command, within=store.parent)
        assert done.status == 0, done.output
    check_finished(store, digest)


def set_blas_threads(count: int) -> None:
    """For good; a thread that lives on would keep others from changing it again."""
    setter = threading.Thread(target=threadpool_limits, args=(count, "blas"))
    setter.start()
    setter.join()


def test_workers_that_are_threads_do_not_lend_each_other_blas_threads(
    build: Any, digest: str, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit for the time of a fit would: the fit that ends first lifts it for the other, whose bytes then differ."""
    found = set()

    def build_rows(*arguments: Any) -> Any:
        found.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return original(*arguments)

    original = prep.build_rows
    monkeypatch.setattr(prep, "build_rows", build_rows)
    set_blas_threads(2)
    try:
        assert build("S.zarr", scheduler=threads) == digest
        assert found == {1}
    finally:
        set_blas_threads(1)
