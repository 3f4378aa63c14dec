"""Times of several works on one busy machine: in turns, so that what else runs there slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def in_turns(
    works: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], Any] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Seconds of a clock of each repeat, ``(repeats,)`` a work, after one that does not count.

    A clock may tell several times at once, as an array; each repeat then has as many seconds.

    Ratios are to be taken repeat by repeat, and then their median.
    """
    seconds: dict[str, list[Any]] = {name: [] for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            start = clock()
            work()
            if repeat:
                seconds[name].append(clock() - start)
    return {name: np.array(times) for name, times in seconds.items()}
