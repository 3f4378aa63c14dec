"""Training with Lightning. The only module that imports it, and only when training (the import takes seconds).

A *round* is a fixed number of optimiser steps and stands for Lightning's epoch: after each one the network is
validated and a checkpoint is written, so a killed run loses at most one round, whatever the size of the store. What a
step sees is a function of (seed, step), and the random numbers of dropout are seeded anew each round, so a resumed
run goes on exactly.

A *stage* is a stretch of steps with an optimiser and a schedule of its own. End to end, there is one. As a cascade
(``training.cascade``, what the paper compares with) there is one a block, of equal length, and only that block is
trained, by its own loss: the blocks before it are frozen, batch norm and dropout as in use, and those after it are not
run. The inputs are the same as end to end, so a block still sees the features of the frozen one before it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from pifa_data.errors import ConfigError, PifaError
from pifa_model.batches import TrainingStream, to_tensors
from pifa_model.config import Config
from pifa_model.losses import AlignmentLoss
from pifa_model.network import Network
from pifa_model.optimizer import make_optimizer
from pifa_model.shape import Landmarks
from pifa_model.store_rows import Batch, StoreRows
from pifa_model.validation import HeldOut

LIGHTNING_PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


class NotFiniteError(PifaError):
    """The loss is no longer a number."""


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


@dataclass(frozen=True)
class RoundReport:
    """What one round gave: step reached, mean training loss, validation NME in percent a block, seconds of its steps.

    ``cpu_seconds`` are of the processor, all threads together: what they took however busy the machine was.

    Of a cascade the blocks are those that were run.
    """

    stage: int
    step: int
    epoch: float
    learning_rate: float
    train_loss: float
    val_nme: list[float]
    seconds: float
    cpu_seconds: float


class AlignmentModule(lightning.LightningModule):
    """Network, losses, optimiser and schedule."""

    def __init__(
        self,
        config: Config,
        network: Network,
        landmarks: Landmarks,
        loss: AlignmentLoss,
        stream: TrainingStream,
        data: StoreRows,
        val_rows: np.ndarray,
        report: Callable[[RoundReport, Network], None],
        advance: Callable[[int, str], None],
        state: Path,
        resume: bool,
    ) -> None:
        """Everything a run needs.

        ``report`` and ``advance`` are called as it goes; ``state`` is written each round, and with ``resume`` read
        first: network, optimiser, schedule and step.
        """
        super().__init__()
        self._state_file = state
        # Plain tensors and numbers only: a run folder from somebody else can't bring code along.
        self._restored = torch.load(state, map_location="cpu", weights_only=True) if resume else None
        self._first = int(self._restored["step"]) if self._restored else 0
        if self._restored:
            network.load_state_dict(self._restored["network"])
        self.config, self.network, self.landmarks, self.loss = config, network, landmarks, loss
        self._stream, self._data, self._report, self._advance = stream, data, report, advance
        self._held_out = HeldOut(data, val_rows) if len(val_rows) else None
        self._total = stream.total_steps(config.training.epochs)
        self.stages = stages_of(config, self._total)
        self._stage = self.stages[0]
        self._sum, self._count, self._started = 0.0, 0, (time.perf_counter(), time.process_time())

    @property
    def step(self) -> int:
        """Optimiser steps since the beginning of the run, earlier sessions included."""
        return self._first + self.global_step

    def begin(self, stage: Stage) -> int:
        """Go on with a stage, where it was left if it was: train its blocks only; returns its rounds still to go."""
        self._stage = stage
        reached = int(self._restored["step"]) if self._restored else 0
        self._first = max(stage.first, min(reached, stage.stop))
        if reached <= stage.first:
            self._restored = None  # its optimiser is that of the stage before
        self.network.requires_grad_(stage.block is None)
        if stage.block is not None:
            self.network.blocks[stage.block].requires_grad_(True)
        return math.ceil((stage.stop - self._first) / self.config.training.round_steps)

    def train_dataloader(self) -> Any:
        """The batches of the round that begins at the current step; the last of a stage may be shorter."""
        return _Round(self._stream, self.step, min(self.config.training.round_steps, self._stage.stop - self.step))

    def on_train_epoch_start(self) -> None:
        self.network.train()
        if self._stage.block is not None:
            for block in self.network.blocks[: self._stage.block]:
                block.eval()  # frozen as they are used: no statistics of batch norm are taken, no dropout
        torch.manual_seed(self.config.training.seed * 1_000_003 + self.step)
        self._sum, self._count, self._started = 0.0, 0, (time.perf_counter(), time.process_time())

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Any:
        """Arrays to tensors on the device."""
        return to_tensors(batch, self._data.size, device) | {"rows": batch.rows}

    def training_step(self, tensors: dict[str, Any], index: int) -> Tensor:
        """Loss of one batch."""
        images = _colour(tensors["images"].float(), self.config)
        outputs = self.network(images, blocks=self._stage.blocks)
        loss = self.loss(
            outputs.params,
            tensors["params"],
            tensors["landmarks"],
            tensors["visibility"],
            tensors["marching"],
            self.landmarks,
            spread=outputs.spread,
            block=self._stage.block,
        )
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFiniteError(
                f"the loss is {value} at step {self.step}, rows {tensors['rows'].tolist()}; the checkpoints "
                "of the round before are kept; try a smaller optimizer.learning_rate"
            )
        self._sum, self._count = self._sum + value, self._count + 1
        self._advance(1, f"loss {self._sum / self._count:.3f}")
        return loss

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, *_: Any, **__: Any) -> None:
        """The layers that tell the spread are clipped apart: they must not shorten the steps of all others."""
        for spread in (False, True):
            part = [p for name, p in self.network.named_parameters() if (".spread." in name) == spread]
            torch.nn.utils.clip_grad_norm_(part, gradient_clip_val)

    def on_train_epoch_end(self) -> None:
        """Validate, report, and save what is needed to go on.

        In this order: a run killed in between repeats the round, and what it reported is replaced.
        """
        seconds, cpu_seconds = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
        self._report(
            RoundReport(
                stage=self._stage.number,
                step=self.step,
                epoch=self.step / self._stream.steps_per_epoch,
                learning_rate=self.trainer.optimizers[0].param_groups[0]["lr"],
                train_loss=self._sum / max(self._count, 1),
                val_nme=self.validate_blocks(),
                seconds=seconds,
                cpu_seconds=cpu_seconds,
            ),
            self.network,
        )
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._state_file.with_suffix(".partial")
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "schedule": self.trainer.lr_scheduler_configs[0].scheduler.state_dict(),
        }
        torch.save(state, temporary)
        temporary.replace(self._state_file)

    def validate_blocks(self) -> list[float]:
        """Mean error on the validation crops after each block, percent of the tight box; empty without any."""
        if self._held_out is None:
            return []
        errors = self._held_out.errors(self.network.eval(), self.landmarks, self._stage.blocks)
        return [float(value) for value in np.nanmean(errors, axis=1)]

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.config.optimizer, self.network.parameters())
        speed = self._total / (self._stage.stop - self._stage.first)
        factor = learning_rate_factor(self.config, self._total, self._stream.steps_per_epoch, speed)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        if self._restored:
            optimizer.load_state_dict(self._restored["optimizer"])
            schedule.load_state_dict(self._restored["schedule"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Round:
    """A round's batches as Lightning wants a loader: iterable, with a length."""

    def __init__(self, stream: TrainingStream, first: int, steps: int) -> None:
        self._stream, self._first, self._steps = stream, first, steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Batch]:
        return self._stream.read(self._first, self._steps)


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


def _colour(images: Tensor, config: Config) -> Tensor:
    """Random brightness and contrast a crop, values 0-255."""
    training = config.training
    if not (training.brightness or training.contrast):
        return images
    draws = torch.rand(2, len(images), 1, 1, 1, device=images.device) * 2 - 1
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    changed = (images - middle) * (1 + draws[0] * training.contrast) + middle + draws[1] * training.brightness * 255
    return changed.clamp(0, 255)


def fit(module: AlignmentModule, *, device: str) -> None:
    """Run the training to its end.

    Lightning's own resume is not used: it restarts its loops in the middle of a round that was finished, and loses a
    batch. The module restores what there is to restore, and a new trainer does the rounds that are left.

    Raises:
        NotFiniteError: the loss became NaN or infinite.
        OSError: the state can't be written.
    """
    # Its hints about hardware and products are not this program's to print.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for stage in module.stages:
        rounds = module.begin(stage)
        if rounds:
            trainer = lightning.Trainer(
                accelerator={"cuda": "gpu"}.get(device, device),
                devices=1,
                precision=LIGHTNING_PRECISION[module.config.training.precision],
                max_epochs=rounds,
                gradient_clip_val=module.config.training.clip,
                reload_dataloaders_every_n_epochs=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            trainer.fit(module)
