"""Tasks on the machine's cores or on a running Dask cluster, submitted in windows."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pifa_data.errors import StoreError

log = logging.getLogger("pifa.prep")

PACKAGES = ("python", "dask", "distributed", "numpy", "zarr", "cv2")
"""What workers must have in the same version, to understand the tasks and to give the same bytes."""

CONNECT_SECONDS = 15.0
"""After which a scheduler that does not answer is given up; a cluster that starts beside this run has it up by then."""


@contextmanager
def connected(workers: int, scheduler: str | None) -> Iterator[Any]:
    """A Dask client of ``scheduler``, or of so many local processes that end with it.

    Raises:
        StoreError: no scheduler answers there, or its workers have other versions of what decides the bytes.
    """
    from distributed import Client, LocalCluster

    verbose = log.isEnabledFor(logging.DEBUG)
    if not verbose:  # its life-cycle messages, and tracebacks of what is reported here in one line, are for -v
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"--scheduler {scheduler}: no Dask scheduler answers there ({error}); start one with `dask scheduler`"
            ) from error
        with client:
            _check_versions(client)
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR if verbose else logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        log.info("Dask dashboard: %s", cluster.dashboard_link)
        yield client


def _check_versions(client: Any) -> None:
    """Refuse workers with other versions: Dask only warns, and they fail in odd ways or give other bytes."""
    versions = client.get_versions(packages=["numpy", "zarr", "cv2"])
    expected = versions["client"]["packages"]
    for worker, found in versions["workers"].items():
        for package in PACKAGES:
            if found["packages"].get(package) != expected.get(package):
                raise StoreError(
                    f"--scheduler: worker {worker} has {package} {found['packages'].get(package)}, here is "
                    f"{expected.get(package)}; install the same versions on both"
                )


WINDOW = 4
"""Tasks a worker that are submitted ahead. A quarter of the window is submitted at a time: one by one, a task cost the
scheduler and this process half as much again (``benchmarks/prep.py --only scheduler``)."""


def run_tasks(client: Any, function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Call a function on the workers with each task's arguments; results come as they are done.

    A window of tasks, not all at once: neither the scheduler nor this process ever holds more than a few a worker.

    Raises:
        What a task raises three times over; ``KilledWorker`` for one whose workers die four times.
    """
    from distributed import as_completed

    queue = iter(tasks)
    workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))

    def submit(count: int) -> list[Any]:
        part = list(itertools.islice(queue, count))
        return client.map(function, *map(list, zip(*part, strict=True)), pure=False, retries=2) if part else []

    pending = as_completed(submit(WINDOW * workers))
    done = 0
    for future in pending:
        yield future.result()
        done += 1
        if done == workers:
            pending.update(submit(done))
            done = 0
