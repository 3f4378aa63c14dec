"""Tasks in windows, on a client that is made up here, and the words for what goes wrong."""

from __future__ import annotations

import os
from concurrent.futures import CancelledError, Future
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker, NoWorkerError

from pipelines import cluster as pipeline


class Client:
    """Of a cluster whose tasks end when the test says so; the first one at once."""

    scheduler = SimpleNamespace(address="tcp://here:1")

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.submitted: list[Future[list[int]]] = []
        self.bundles: list[int] = []

    def scheduler_info(self, n_workers: int) -> dict[str, int]:
        assert n_workers == 0  # no more than their count: there may be thousands
        return {"n_workers": self.workers}

    def map(self, _: Any, bundles: list[Any], **__: Any) -> list[Future[list[int]]]:
        futures: list[Future[list[int]]] = [Future() for _ in bundles]
        if not self.submitted:
            futures[0].set_result([0])
        self.submitted += futures
        self.bundles += [len(bundle) for bundle in bundles]
        return futures

    def end(self, *tasks: int) -> None:
        for task in tasks:
            self.submitted[task].set_result([task])


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are looked at each time."""
    monkeypatch.setattr(pipeline, "LOOK_SECONDS", 0.0)


def test_local_workers_keep_their_memory_unless_the_user_wants_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(pipeline.MEMORY)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(names[0], "123")
    with pipeline.connected(1, None) as client:
        (found,) = client.run(lambda: [os.environ.get(name) for name in names]).values()
    assert found == ["123", str(pipeline.MEMORY[names[1]])]


def test_the_window_follows_the_workers() -> None:
    client = Client(3)
    taken: list[int] = []
    results = pipeline.run_tasks(client, print, ((taken.append(i),) for i in range(1000)))
    assert next(results) == 0
    assert len(taken) == len(client.submitted) == 12
    client.end(1, 2, 3)
    assert sorted(islice(results, 3)) == [1, 2, 3]
    assert len(client.submitted) == 15  # a quarter at a time
    client.workers = 10  # more have joined
    client.end(5)
    assert next(results) == 5
    assert len(taken) == len(client.submitted) == 44  # 40 and the four that were done before
    client.workers = 1  # most are gone: what was given is not taken back, and nothing is added
    client.end(*range(6, 41))
    assert list(islice(results, 35)) == list(range(6, 41))
    assert len(client.submitted) == 44


def test_every_task_is_done_once() -> None:
    client = Client(1)
    results, found = pipeline.run_tasks(client, print, [(i,) for i in range(11)]), []
    for result in results:
        found.append(result)
        client.end(*(i for i, future in enumerate(client.submitted) if not future.done()))
    assert sorted(found) == list(range(11))
    assert list(pipeline.run_tasks(client, print, [])) == []


def test_many_tasks_go_in_bundles_and_the_last_ones_alone() -> None:
    client = Client(2)
    results = pipeline.run_tasks(client, print, ((i,) for i in range(500)), 500)
    next(results)
    for _ in range(500):
        client.end(*(i for i, future in enumerate(client.submitted) if not future.done()))
        if next(results, None) is None:
            break
    assert sum(client.bundles) == 500
    assert client.bundles[0] == pipeline.BUNDLE
    assert client.bundles[-4:] == [1, 1, 1, 1]  # at the end no worker waits for another's bundle
    assert pipeline._bundle(10**6, 1000) == 1  # a large cluster has enough under way


def test_what_goes_wrong_is_told_in_plain_words() -> None:
    last = SimpleNamespace(address="tcp://w:1")
    errors = {
        CancelledError("task-1"): (ConnectionError, "the Dask scheduler was lost"),
        CommClosedError("Stream is closed"): (ConnectionError, "the Dask scheduler was lost"),
        NoWorkerError("task-1", 3.0): (TimeoutError, "no worker for 600 s"),
        KilledWorker("task-1", last, 3): (ChildProcessError, "4 workers died of the same task, the last one tcp://w:1"),
        # A task's own errors stay as they are.
        FileNotFoundError("no image"): (FileNotFoundError, "no image"),
    }
    for error, (kind, message) in errors.items():
        with pytest.raises(kind, match=message), pipeline._in_plain_words():
            raise error
