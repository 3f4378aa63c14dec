"""Stages and how long they take: the best of a few, as what else runs on a machine only makes them slower."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.doctor.rows import error_text

Work = Callable[[], object]

SECONDS = 0.25
"""A stage is repeated for so long, but at least REPEATS times, and once where that takes over a second."""
REPEATS = 2


@dataclass(frozen=True)
class Stage:
    """Something to be timed.

    Attributes:
        name: what.
        device: ``cpu`` or ``cuda``.
        items, unit: how many of what a call does, as 32 ``faces``.
        make: prepares it, which is not timed, and gives the work, which returns when it is done.
    """

    name: str
    device: str
    items: int
    unit: str
    make: Callable[[], Work]


@dataclass(frozen=True)
class Timing:
    """How long a stage took.

    Attributes:
        stage, device, items, unit: as in ``Stage``.
        seconds: of one call; None where it failed.
        error: why it did.
    """

    stage: str
    device: str
    items: int
    unit: str
    seconds: float | None
    error: str = ""

    @property
    def per_second(self) -> float | None:
        """Items a second."""
        return None if self.seconds is None else self.items / max(self.seconds, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """The timing as a JSON object."""
        values = asdict(self) | {"per_second": self.per_second, "error": self.error or None}
        return values


def time_stages(stages: Iterable[Stage], advance: Callable[[str], None], seconds: float = SECONDS) -> list[Timing]:
    """Time each stage; one that fails gives its error, and the next is begun.

    Args:
        advance: told of each stage's name before it begins.
        seconds: see SECONDS.
    """
    found = []
    for stage in stages:
        advance(stage.name)
        taken, error = None, ""
        try:
            taken = best_of(stage.make(), seconds)
        except Exception as raised:  # what fails here fails in the user's work too: it is told, not thrown
            error = error_text(raised)
        found.append(Timing(stage.name, stage.device, stage.items, stage.unit, taken, error))
    return found


def best_of(work: Work, seconds: float = SECONDS, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of the fastest of a few calls, after one that does not count."""
    work()
    best, total, calls = float("inf"), 0.0, 0
    while calls == 0 or total < seconds or (calls < REPEATS and total < 1):
        start = clock()
        work()
        taken = clock() - start
        best, total, calls = min(best, taken), total + taken, calls + 1
    return best
