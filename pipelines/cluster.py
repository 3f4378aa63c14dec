"""Tasks on the machine's cores or on a running Dask cluster, submitted in windows."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import logging
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from pifa_data.errors import StoreError
from pifa_data.version import VERSION

log = logging.getLogger("pifa.prep")

WINDOW = 4
"""Messages a worker that are submitted ahead, a quarter of them at a time."""

BUNDLE, AHEAD = 8, 2048
"""Tasks in one message where there are many for the workers, and tasks that are submitted ahead in all. A message
costs the scheduler and this process 5 to 9 ms however small it is (``benchmarks/prep.py --only scheduler``). What a
bundle has finished stays finished if its worker dies: each shard is marked by itself."""

CONNECT_SECONDS = 5.0
"""After which a scheduler that does not answer is given up; one on the same network answers within milliseconds."""

LOOK_SECONDS = 2.0
"""How often the workers are counted: more of them get more tasks, and their absence is told."""

WORKERS_SECONDS = 600.0
"""After which a cluster without workers is given up, unless Dask's own ``distributed.scheduler.no-workers-timeout`` is
set: a queueing system takes minutes to start the first."""

MEMORY = {"MALLOC_TRIM_THRESHOLD_": 2**29, "MALLOC_MMAP_THRESHOLD_": 2**25}
"""For glibc in the workers. Dask has memory given back to the system whenever 64 KB of it are free, which a shard's
megabytes then get from it again, page by page: a third of all time. A worker's next shard needs what the last one
needed. The same names in the user's environment come first."""


@contextmanager
def connected(workers: int, scheduler: str | None) -> Iterator[Any]:
    """A Dask client of ``scheduler``, or of so many local processes that end with it.

    Raises:
        StoreError: no scheduler answers there, it has no workers for too long, or they have other versions of what
            decides the bytes.
        ConnectionError: the scheduler is lost while the client is used.
        ChildProcessError: several workers died of the same task.
    """
    with _quiet(), _in_plain_words(), _local(workers) if scheduler is None else _remote(scheduler) as client:
        # Without Bokeh the address answers, but with a page that asks for it.
        needs = "" if importlib.util.find_spec("bokeh") else " (needs Bokeh: pip install 'pifa[dashboard]')"
        log.info("Dask dashboard: %s%s", client.dashboard_link, needs)
        yield client


def reach(scheduler: str) -> None:
    """Make sure that a cluster is there and fit for the work, before anything is begun for it.

    Raises:
        StoreError: see ``connected``.
    """
    with _quiet(), _in_plain_words(), _remote(scheduler):
        pass


@contextmanager
def _local(workers: int) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    with (
        # Dask's profiler asks for all threads' frames a hundred times a second, at which Python 3.11 can hang for ever:
        # a collection of garbage may begin within, which waits for the lock that is held (CPython issue 106883).
        dask.config.set({"distributed.worker.profile.enabled": False}),
        dask.config.set({f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in MEMORY.items()}),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=_level()
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _remote(scheduler: str) -> Iterator[Any]:
    from distributed import Client

    _check_answers(scheduler)
    with Client(scheduler) as client:
        _wait_for_workers(client, scheduler)
        _check_versions(client, scheduler)
        yield client


def _level() -> int:
    """Of Dask's loggers: what they tell of lost connections is told here in one line."""
    return logging.ERROR if log.isEnabledFor(logging.DEBUG) else logging.CRITICAL


def _check_answers(scheduler: str) -> None:
    """Make sure that a scheduler answers: ``Client`` waits for ever where something else takes the connection."""
    import asyncio

    from distributed.core import rpc
    from distributed.security import Security

    async def ask() -> Any:
        async with rpc(scheduler, connection_args=Security().get_connection_args("client")) as there:
            return await there.identity()

    async def ask_in_time() -> Any:
        return await asyncio.wait_for(ask(), CONNECT_SECONDS)

    try:
        found = asyncio.run(ask_in_time())["type"]
        why = "" if found == "Scheduler" else f"it is a {found}"
    except TimeoutError:
        why = f"no answer within {CONNECT_SECONDS:g} s"
    except (OSError, TypeError, ValueError) as error:  # Dask's words for addresses that are none
        why = str(error)
    if why:
        raise StoreError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({why}); expected the address that "
            "`dask scheduler` prints, as tcp://host:8786"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    import distributed  # noqa: F401 - which makes the loggers

    # Dask sets the levels of several loggers, which then don't heed that of their parent.
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(_level())
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _patience() -> float:
    """Seconds that a cluster may be without workers."""
    import dask
    from dask.utils import parse_timedelta

    limit = parse_timedelta(dask.config.get("distributed.scheduler.no-workers-timeout", None))
    return WORKERS_SECONDS if limit is None else float(limit)


def _workers(client: Any) -> int:
    return int(client.scheduler_info(n_workers=0)["n_workers"])


def _wait_for_workers(client: Any, scheduler: str) -> None:
    if _workers(client):
        return
    _tell_waiting(scheduler)
    try:
        client.wait_for_workers(1, timeout=_patience())
    except TimeoutError:
        raise StoreError(f"--scheduler {scheduler}: {_no_worker()}") from None


def _tell_waiting(scheduler: str) -> None:
    log.warning("%s has no workers; waiting for one, as `dask worker %s` starts", scheduler, scheduler)


def _no_worker() -> str:
    return (
        f"no worker for {_patience():g} s (DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT=1h waits an hour); start "
        "some with `dask worker`"
    )


@functools.cache
def _versions() -> dict[str, str]:
    """Versions, where this runs, of what tasks need to be understood and of what decides the bytes."""
    import cv2
    import dask
    import distributed
    import numpy
    import scipy
    import zarr

    modules: tuple[Any, ...] = (dask, distributed, numpy, scipy, cv2, zarr)
    own = {"pifa": VERSION, "python": platform.python_version()}
    return own | {module.__name__: module.__version__ for module in modules}


def _difference(expected: dict[str, str], found: dict[str, str]) -> str:
    other = [name for name in expected if found.get(name) != expected[name]]
    return ", ".join(f"has {name} {found.get(name)} (here {expected[name]})" for name in other)


def _check_versions(client: Any, scheduler: str) -> None:
    """Refuse workers with other versions: Dask only warns, and they fail in odd ways or give other bytes."""
    for worker, found in client.run(_versions, on_error="return").items():
        what = f"can't do the work: {found}" if isinstance(found, Exception) else _difference(_versions(), found)
        if what:
            raise StoreError(f"--scheduler {scheduler}: worker {worker} {what}; install the same versions on both")


def _call(expected: dict[str, str], function: Callable[..., Any], bundle: list[tuple[Any, ...]]) -> list[Any]:
    """Some tasks. Workers that join later have not been asked for their versions."""
    from distributed import get_worker

    if what := _difference(expected, _versions()):
        raise StoreError(f"worker {get_worker().address} {what}; install the same versions on both")
    return [function(*arguments) for arguments in bundle]


@contextmanager
def _in_plain_words() -> Iterator[None]:
    """Dask's errors as those of the system, which say what happened and are told in one line."""
    from concurrent.futures import CancelledError

    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker, NoWorkerError

    try:
        yield
    except (CancelledError, CommClosedError) as error:
        raise ConnectionError("the Dask scheduler was lost") from error
    except NoWorkerError as error:
        raise TimeoutError(_no_worker()) from error
    except KilledWorker as error:
        last = error.last_worker.address
        died = error.allowed_failures + 1
        raise ChildProcessError(f"{died} workers died of the same task, the last one {last}") from error


def _bundle(count: int, workers: int) -> int:
    """How many of ``count`` tasks go to a worker in one message."""
    window = WINDOW * workers
    return max(1, min(BUNDLE, AHEAD // window, count // (2 * window)))


def run_tasks(
    client: Any, function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]], count: int = 0
) -> Iterator[Any]:
    """Call a function on the workers with each task's arguments; results come as they are done.

    Args:
        count: how many tasks there are; where they are many for the workers, several go in one message.

    A window of tasks, not all at once: neither the scheduler nor this process ever holds more than a few a worker.
    What dead workers had is done by others, and by those that join later.

    Raises:
        TimeoutError: the cluster has no workers for too long.
        What a task raises three times over.
    """
    call = functools.partial(_call, _versions(), function)
    queue, done, pending = iter(tasks), SimpleQueue[Any](), set[Any]()
    workers, look, alone = 0, 0.0, None
    while True:
        now = time.monotonic()
        if now >= look:
            workers, look = _workers(client), now + LOOK_SECONDS
            if workers:
                alone = None
            elif alone is None:
                alone = now
                _tell_waiting(client.scheduler.address)
            elif now - alone > _patience():
                raise TimeoutError(_no_worker())
        room = WINDOW * max(1, workers) - len(pending)
        if room >= max(1, workers):
            size = _bundle(count, max(1, workers))
            bundles = [part for _ in range(room) if (part := list(itertools.islice(queue, size)))]
            count -= sum(map(len, bundles))
            for future in client.map(call, bundles, pure=False, retries=2) if bundles else ():
                pending.add(future)  # Dask forgets a task that nobody holds on to
                future.add_done_callback(done.put)
        if not pending:
            return
        try:
            future = done.get(timeout=LOOK_SECONDS)
        except Empty:
            continue
        try:
            result = future.result(timeout=LOOK_SECONDS)
        except TimeoutError:
            if future.status == "error":  # the task's own
                raise
            # It was done, but the worker that had the result is lost: it is done again, by whoever comes.
            future.add_done_callback(done.put)
            continue
        pending.discard(future)
        yield from result
