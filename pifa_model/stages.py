"""Stages of a training and their learning rates.

A *stage* is a stretch of steps with an optimiser and a schedule of its own. End to end, there is one. As a cascade
(``training.cascade``, what the paper compares with) there is one a block, of equal length, and only that block is
trained, by its own loss: the blocks before it are frozen, batch norm and dropout as in use, and those after it are not
run. The inputs are the same as end to end, so a block still sees the features of the frozen one before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pifa_data.errors import ConfigError
from pifa_model.config import Config


@dataclass(frozen=True)
class Stage:
    """Steps ``first`` to ``stop`` of a run, in which all blocks are trained or, of a cascade, the one of that index."""

    number: int
    block: int | None
    first: int
    stop: int

    @property
    def blocks(self) -> int | None:
        """Blocks that are run; None for all."""
        return None if self.block is None else self.block + 1


def stages_of(config: Config, total: int) -> list[Stage]:
    """The stages of a run of so many steps.

    Raises:
        ConfigError: a cascade of more blocks than steps.
    """
    if not config.training.cascade:
        return [Stage(1, None, 0, total)]
    blocks = len(config.network.filters)
    if total < blocks:
        raise ConfigError(f"training.cascade: {blocks} blocks need as many steps, found {total}; more training.epochs")
    bounds = [round(i * total / blocks) for i in range(blocks + 1)]
    return [Stage(i + 1, i, *bounds[i : i + 2]) for i in range(blocks)]


def learning_rate_factor(config: Config, total: int, per_epoch: int, speed: float = 1.0) -> Callable[[int], float]:
    """The learning rate at a step of a stage, as a factor on ``optimizer.learning_rate``.

    A stage runs through the schedule of a whole run of ``total`` steps, warm-up included, ``speed`` times as fast.
    """
    optimizer = config.optimizer

    def factor(step_of_stage: int) -> float:
        step = step_of_stage * speed
        warm = min(1.0, (step + 1) / max(1, optimizer.warmup_steps))
        if optimizer.schedule == "cosine":
            return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0))))
        rate = optimizer.learning_rate
        for epoch, value in optimizer.steps:
            if step >= epoch * per_epoch:
                rate = value
        return warm * rate / optimizer.learning_rate

    return factor
