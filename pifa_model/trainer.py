"""Training with Lightning. The only module that imports it, and only when training (the import takes seconds).

A *round* is a fixed number of optimiser steps and stands for Lightning's epoch: after each one the network is
validated and a checkpoint is written, so a killed run loses at most one round, whatever the size of the store. What a
step sees is a function of (seed, step), and the random numbers of dropout are seeded anew each round, so a resumed
run goes on exactly.
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

from pifa_data.errors import PifaError
from pifa_model.batches import TrainingStream
from pifa_model.config import Config
from pifa_model.crops import cut_crops
from pifa_model.losses import AlignmentLoss, relative_error
from pifa_model.network import Network
from pifa_model.shape import Landmarks
from pifa_model.store_rows import Batch, StoreRows

LIGHTNING_PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


class NotFiniteError(PifaError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class RoundReport:
    """What one round gave: step reached, mean training loss, validation NME in percent a block, seconds."""

    step: int
    epoch: float
    learning_rate: float
    train_loss: float
    val_nme: list[float]
    seconds: float


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
        self._val_rows = val_rows
        self._val_pictures = data.read_pictures(val_rows) if len(val_rows) else None
        self.total_steps = stream.total_steps(config.training.epochs)
        self._sum, self._count, self._started = 0.0, 0, time.perf_counter()

    @property
    def step(self) -> int:
        """Optimiser steps since the beginning of the run, earlier sessions included."""
        return self._first + self.global_step

    @property
    def rounds_left(self) -> int:
        """Rounds still to go; the last may be shorter."""
        return math.ceil((self.total_steps - self.step) / self.config.training.round_steps)

    def train_dataloader(self) -> Any:
        """The batches of the round that begins at the current step."""
        return _Round(self._stream, self.step, min(self.config.training.round_steps, self.total_steps - self.step))

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(self.config.training.seed * 1_000_003 + self.step)
        self._sum, self._count, self._started = 0.0, 0, time.perf_counter()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Any:
        """Arrays to tensors on the device."""
        return self._move(batch) | {"rows": batch.rows}

    def training_step(self, tensors: dict[str, Any], index: int) -> Tensor:
        """Loss of one batch."""
        images = _colour(tensors["images"].float(), self.config)
        outputs = self.network(images).params
        loss = self.loss(
            outputs,
            tensors["params"],
            tensors["landmarks"],
            tensors["visibility"],
            tensors["marching"],
            self.landmarks,
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

    def on_train_epoch_end(self) -> None:
        """Validate, report, and save what is needed to go on.

        In this order: a run killed in between repeats the round, and what it reported is replaced.
        """
        self._report(
            RoundReport(
                step=self.step,
                epoch=self.step / self._stream.steps_per_epoch,
                learning_rate=self.trainer.optimizers[0].param_groups[0]["lr"],
                train_loss=self._sum / max(self._count, 1),
                val_nme=self.validate_blocks(),
                seconds=time.perf_counter() - self._started,
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

    @torch.no_grad()
    def validate_blocks(self, batch_size: int = 64) -> list[float]:
        """Mean error on the validation crops after each block, percent of the tight box; empty without any."""
        if self._val_pictures is None:
            return []
        self.network.eval()
        errors: list[Tensor] = []
        for start in range(0, len(self._val_rows), batch_size):
            rows = self._val_rows[start : start + batch_size]
            batch = self._data.batch(rows, self._val_pictures[start : start + batch_size], np.zeros(len(rows), bool))
            tensors = self._move(batch)
            outputs = self.network(tensors["images"]).params
            landmarks, visibility = tensors["landmarks"], tensors["visibility"]
            found = [self.landmarks(p, tensors["marching"]) for p in outputs]
            errors.append(torch.stack([relative_error(points, landmarks, visibility) for points in found]))
        self.network.train()
        return [float(value) for value in torch.cat(errors, dim=1).nanmean(1)]

    def configure_optimizers(self) -> Any:
        config = self.config.optimizer
        decay: list[Tensor] = []
        free: list[Tensor] = []
        for parameter in self.network.parameters():
            # Biases and batch norm's factors are not shrunk.
            (decay if parameter.ndim > 1 else free).append(parameter)
        groups = [
            {"params": decay, "weight_decay": config.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]
        optimizer: torch.optim.Optimizer
        if config.name == "sgd":
            optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
        else:
            optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        factor = learning_rate_factor(self.config, self.total_steps, self._stream.steps_per_epoch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        if self._restored:
            optimizer.load_state_dict(self._restored["optimizer"])
            schedule.load_state_dict(self._restored["schedule"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _move(self, batch: Batch) -> dict[str, Tensor]:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, non_blocking=True)

        tensors = {name: tensor(getattr(batch, name)) for name in ("params", "landmarks", "visibility", "marching")}
        # Crops arrive channels last, the order that convolutions are fast in.
        images = tensor(batch.images).permute(0, 3, 1, 2)
        if batch.windows is not None:
            images = cut_crops(images, tensor(batch.windows), self._data.size)
        return tensors | {"images": images.contiguous(memory_format=torch.channels_last)}


class _Round:
    """A round's batches as Lightning wants a loader: iterable, with a length."""

    def __init__(self, stream: TrainingStream, first: int, steps: int) -> None:
        self._stream, self._first, self._steps = stream, first, steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Batch]:
        return self._stream.read(self._first, self._steps)


def learning_rate_factor(config: Config, total: int, per_epoch: int) -> Callable[[int], float]:
    """The learning rate at a step, as a factor on ``optimizer.learning_rate``."""
    optimizer = config.optimizer

    def factor(step: int) -> float:
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
    if not module.rounds_left:
        return
    # Its hints about hardware and products are not this program's to print.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    accelerator = {"cuda": "gpu"}.get(device, device)
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=LIGHTNING_PRECISION[module.config.training.precision],
        max_epochs=module.rounds_left,
        gradient_clip_val=module.config.training.clip,
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module)
