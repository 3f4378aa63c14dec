"""Training with Lightning. The only module that imports it, and only when training (the import takes seconds).

A *round* is a fixed number of optimiser steps and stands for Lightning's epoch: after each one the network is
validated and a checkpoint is written, so a killed run loses at most one round, whatever the size of the store. What a
step sees is a function of (seed, step), and the random numbers of dropout are seeded anew each round, so a resumed
run goes on exactly. Stages, of which a cascade has several, are trained one after another (``stages.py``).

Several processes share each batch (``ranks.py``). They see the same losses, and the first one writes; what it decides
or fails at after a round, all of them learn.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from pifa_data.errors import ConfigError, PifaError
from pifa_model.augmentation import augment
from pifa_model.averaging import Average
from pifa_model.batches import TrainingStream
from pifa_model.config import Config
from pifa_model.losses import AlignmentLoss
from pifa_model.network import Network
from pifa_model.optimizer import make_optimizer
from pifa_model.ranks import Ranks, equalise, gather, mean_of_ranks
from pifa_model.rows import Rows
from pifa_model.run_state import read_state, write_state
from pifa_model.shape import Landmarks
from pifa_model.stages import Stage, learning_rate_factor, stages_of
from pifa_model.transfer import on_device
from pifa_model.validation import HeldOut

LIGHTNING_PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


CURE = "the checkpoints of the round before are kept; try a smaller optimizer.learning_rate"


class NotFiniteError(PifaError):
    """The loss is no longer a number."""


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
        data: Rows,
        held_out: tuple[Rows, np.ndarray],
        report: Callable[[RoundReport, Network], bool],
        advance: Callable[[int, str], None],
        state: Path,
        resume: bool,
    ) -> None:
        """Everything a run needs.

        Args:
            config: the run's.
            network, landmarks, loss: what is trained, f(P), and by what.
            stream: the batches of all ranks.
            data: what they are of.
            held_out: what is validated on, and which of its rows; none for no validation.
            report: called by the first rank after each round with the network to keep; whether the stage is over.
            advance: called with steps done and a note.
            state: written by the first rank each round, and with ``resume`` read first: network, average, optimiser,
                schedule and step.
            resume: go on where ``state`` was written.
        """
        super().__init__()
        self._state_file = state
        self._restored = read_state(state) if resume else None
        self._first = int(self._restored["step"]) if self._restored else 0
        self.average = Average(network, config.training.ema) if config.training.ema else None
        if self._restored:
            try:
                network.load_state_dict(self._restored["network"])
                if self.average is not None:
                    self.average.load_state_dict(self._restored["average"])
            except RuntimeError as error:
                raise PifaError(f"{state}: is of another network ({error}); --overwrite trains anew") from error
        if config.training.compile:
            network.compile(dynamic=False)
        self.config, self.network, self.landmarks, self.loss = config, network, landmarks, loss
        self._stream, self._data, self._report, self._advance = stream, data, report, advance
        self._to_hold_out = held_out
        self._held_out: HeldOut | None = None
        self._total = stream.total_steps(config.training.epochs)
        self.stages = stages_of(config, self._total)
        self._stage = self.stages[0]
        self._feed: Generator[dict[str, Any]] | None = None
        self._begin_round()

    @property
    def state_folder(self) -> Path:
        """Of the state that is gone on with."""
        return self._state_file.parent

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

    def setup(self, stage: str) -> None:
        """Each rank takes its part of what is held out.

        Raises:
            ConfigError: the ranks don't begin at the same step.
        """
        steps = gather(self._first)
        if len(set(steps)) > 1:
            raise ConfigError(
                f"{self._state_file}: processes found different states (steps {sorted(set(steps))}); --resume needs "
                "the run's folder on a disk that all machines share"
            )
        data, rows = self._to_hold_out
        if self._held_out is None and len(rows):
            self._held_out = HeldOut(data, rows[self.global_rank :: self.trainer.world_size])

    def train_dataloader(self) -> Any:
        """The batches of the round that begins at the current step; the last of a stage may be shorter."""
        left = self._stage.stop - self.step
        if self._feed is None:  # one for a whole stage: each that begins reads a group of chunks first
            stream = self._stream.of_rank(self.global_rank, self.trainer.world_size)
            self._feed = on_device(stream.read(self.step, left), self.device)
        return _Round(self._feed, min(self.config.training.round_steps, left))

    def end(self) -> None:
        """End the stage: nothing is read ahead any more."""
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    def on_train_epoch_start(self) -> None:
        self.network.train()
        if self._stage.block is not None:
            for block in self.network.blocks[: self._stage.block]:
                block.eval()  # frozen as they are used: no statistics of batch norm are taken, no dropout
        # Apart by more than a run has steps, and a rank's by more than a seed's.
        seed = self.config.training.seed * 1_000_003 + self.step
        torch.manual_seed((seed + self.global_rank * 1_000_000_000_039) % 2**63)
        self._begin_round()

    def _begin_round(self) -> None:
        self._sum, self._count, self._started = 0.0, 0, (time.perf_counter(), time.process_time())
        self._pending: tuple[Tensor, np.ndarray, int] | None = None

    def transfer_batch_to_device(self, batch: dict[str, Any], device: torch.device, dataloader_idx: int) -> Any:
        """Batches come on the device (``on_device``)."""
        return batch

    def training_step(self, tensors: dict[str, Any], index: int) -> Tensor:
        """Loss of one batch."""
        self._look()
        rows = tensors.pop("rows")
        tensors = augment(tensors, self.config, self._data.size)
        outputs = self.network(tensors["images"], blocks=self._stage.blocks)
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
        self._pending = mean_of_ranks(loss), rows, self.step
        return loss

    def _look(self) -> None:
        """Look at the loss of the step before: by now a GPU has it, and is not kept waiting for the next one.

        Raises:
            NotFiniteError: on every rank alike.
        """
        if self._pending is None:
            return
        (loss, rows, step), self._pending = self._pending, None
        value = float(loss)
        if not math.isfinite(value):
            where = self._data.describe(np.concatenate(gather(rows)))
            raise NotFiniteError(f"the loss is {value} at step {step}, {where}; {CURE}")
        self._sum, self._count = self._sum + value, self._count + 1
        self._advance(1, f"loss {self._sum / self._count:.3f}")

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, *_: Any, **__: Any) -> None:
        """The layers that tell the spread are clipped apart: they must not shorten the steps of all others."""
        for spread in (False, True):
            part = [p for name, p in self.network.named_parameters() if (".spread." in name) == spread]
            torch.nn.utils.clip_grad_norm_(part, gradient_clip_val)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.average is not None:
            self.average.update(self.network, self.step - 1)

    def on_train_epoch_end(self) -> None:
        """Validate, report, and save what is needed to go on.

        In this order: a run killed in between repeats the round, and what it reported is replaced.
        """
        self._look()
        seconds, cpu_seconds = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
        kept = self.network if self.average is None else self.average.network
        self._check_weights(kept)
        report = RoundReport(
            stage=self._stage.number,
            step=self.step,
            epoch=self.step / self._stream.steps_per_epoch,
            learning_rate=self.trainer.optimizers[0].param_groups[0]["lr"],
            train_loss=self._sum / max(self._count, 1),
            val_nme=self.validate_blocks(kept),
            seconds=seconds,
            cpu_seconds=cpu_seconds,
        )
        over, failure = False, None
        if self.global_rank == 0:
            try:
                over = self._report(report, kept)
                write_state(self._state_file, self._state(self._stage.stop if over else self.step))
            except Exception as error:  # the other ranks must not wait for one that is gone
                failure = error
        over, failed = gather((over, failure is not None))[0]
        if failure is not None:
            raise failure
        if failed:
            raise PifaError("stopped, as the first process of this training was")
        if over:
            self.trainer.should_stop = True

    def _check_weights(self, kept: Network) -> None:
        """Refuse weights that the last step of a round has spoilt: no loss has told of them yet.

        Raises:
            NotFiniteError: on every rank alike.
        """
        tensors = [*self.network.state_dict().values(), *kept.state_dict().values()]
        if not all(gather(all(bool(torch.isfinite(tensor).all()) for tensor in tensors))):
            raise NotFiniteError(f"weights are no numbers any more after step {self.step}; {CURE}")

    def _state(self, step: int) -> dict[str, Any]:
        """What a run that goes on at a step begins with."""
        scaler = self._scaler()
        return {
            "step": step,
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "schedule": self.trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def _scaler(self) -> Any:
        """What keeps float16's gradients in range; None of other arithmetic."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def validate_blocks(self, network: Network) -> list[float]:
        """Mean error on the validation crops after each block, percent of the tight box; empty without any."""
        if self._held_out is None:
            return []
        # Statistics of batch norm are each rank's own; those that are saved are the first one's.
        equalise(list(network.buffers()))
        errors = self._held_out.errors(network.eval(), self.landmarks, self._stage.blocks)
        return [float(value) for value in np.nanmean(np.concatenate(gather(errors), axis=1), axis=1)]

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.config.optimizer, self.network.parameters())
        speed = self._total / (self._stage.stop - self._stage.first)
        factor = learning_rate_factor(self.config, self._total, self._stream.steps_per_epoch, speed)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        if self._restored:
            optimizer.load_state_dict(self._restored["optimizer"])
            schedule.load_state_dict(self._restored["schedule"])
            if self._restored["scaler"]:
                self._scaler().load_state_dict(self._restored["scaler"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Round:
    """A round's batches as Lightning wants a loader: iterable, with a length."""

    def __init__(self, feed: Iterator[dict[str, Any]], steps: int) -> None:
        self._feed, self._steps = feed, steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return islice(self._feed, self._steps)


def launcher_of(ranks: Ranks) -> list[Any]:
    """Who starts the processes, told to Lightning: in a SLURM job of one task it would expect SLURM to."""
    if ranks.launcher == "SLURM":
        # No checkpoint of Lightning's own when SLURM asks for one: a round is what is lost.
        return [SLURMEnvironment(auto_requeue=False)]
    return [] if ranks.launcher == "torchrun" else [LightningEnvironment()]


def fit(module: AlignmentModule, *, device: str, ranks: Ranks) -> None:
    """Run the training to its end.

    Lightning's own resume is not used: it restarts its loops in the middle of a round that was finished, and loses a
    batch. The module restores what there is to restore, and a new trainer does the rounds that are left.

    Raises:
        NotFiniteError: the loss became NaN or infinite.
        PifaError: a checkpoint or the state can't be written.
    """
    # Its hints about hardware and products are not this program's to print.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for stage in module.stages:
        rounds = module.begin(stage)
        if rounds:
            trainer = lightning.Trainer(
                accelerator={"cuda": "gpu"}.get(device, device),
                devices=ranks.devices,
                num_nodes=ranks.nodes,
                strategy="ddp" if ranks.world > 1 else "auto",
                # With its own statistics a rank's batch norm would see a fraction of the batch; CPUs have no other.
                sync_batchnorm=ranks.world > 1 and device == "cuda",
                precision=LIGHTNING_PRECISION[module.config.training.precision],
                max_epochs=rounds,
                gradient_clip_val=module.config.training.clip,
                reload_dataloaders_every_n_epochs=1,
                logger=False,
                # Where Lightning would look for a checkpoint of its own that SLURM made it write.
                default_root_dir=module.state_folder,
                plugins=launcher_of(ranks),
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            if trainer.world_size != ranks.world:
                raise ConfigError(f"--devices: expected {ranks.world} processes in all, found {trainer.world_size}")
            try:
                trainer.fit(module)
            except SIGTERMException as error:  # that is an exit without an error
                raise PifaError("stopped by SIGTERM; what was finished is kept: go on with --resume") from error
            finally:
                module.end()
    if ranks.world > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()  # a process that leaves early makes the others' last words fail
        torch.distributed.destroy_process_group()
