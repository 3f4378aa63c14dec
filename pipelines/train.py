"""``pifa train``: a store to a run folder.

A run folder holds ``config.json`` (resolved configuration and split), ``best.safetensors`` and ``last.safetensors``,
``metrics.csv`` and ``curves.png`` (learning curves), ``morphable.safetensors`` (the model, so that the folder is
complete) and ``state/last.ckpt`` (for ``--resume``).
"""

from __future__ import annotations

import csv
import json
import logging
import shutil
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from pifa_data.errors import ConfigError, PifaError
from pifa_data.schemes import get_scheme
from pifa_data.store import MORPHABLE, Store
from pifa_data.version import VERSION
from pifa_data.views import table_rows
from pifa_model.batches import TrainingStream
from pifa_model.checkpoint import Header, MorphableReference, save_checkpoint
from pifa_model.config import Config
from pifa_model.losses import AlignmentLoss, parameter_weights
from pifa_model.network import Network
from pifa_model.shape import Landmarks
from pifa_model.statistics import measure_params
from pifa_model.store_rows import StoreRows
from pipelines.checkpoints import computes_bf16, pick_device
from pipelines.progress import progress

log_people = logging.getLogger("pifa.train")


@dataclass(frozen=True)
class Split:
    """Faces of a store by the side they are on, ``(F,)`` bool, and the subjects of each side."""

    train: np.ndarray
    val: np.ndarray
    train_subjects: list[str]
    val_subjects: list[str]


@dataclass(frozen=True)
class TrainSummary:
    """Where the run is, how far it came, and the validation error of its best checkpoint (percent, tight)."""

    run: Path
    steps: int
    best_nme: float | None
    seconds: float


def split_subjects(subjects: list[str], fraction: float, seed: int) -> Split:
    """Hold out whole people: at least one, until ``fraction`` of the people are on the validation side."""
    people = sorted(set(subjects))
    order = np.random.default_rng([seed, len(people)]).permutation(len(people))
    count = min(len(people) - 1, max(1, round(fraction * len(people)))) if fraction > 0 else 0
    held = {people[i] for i in order[:count]}
    val = np.array([subject in held for subject in subjects])
    return Split(~val, val, sorted(set(people) - held), sorted(held))


def split_of(data: StoreRows, config: Config) -> Split:
    """The split that a run with this configuration makes of a store."""
    training = config.training
    seed = training.seed if training.split_seed is None else training.split_seed
    return split_subjects(data.subjects, training.val_fraction, seed)


def run_training(
    store_path: str | Path,
    run: Path,
    config: Config,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> TrainSummary:
    """Train a network on a store.

    Raises:
        PifaError: the store is unfinished, the run exists, or a setting does not fit.
        OSError: no space left; the checkpoints of finished rounds stay.
    """
    start = time.perf_counter()
    device = pick_device(device)
    if device == "cpu" and config.training.precision == "16":
        raise ConfigError("training.precision 16: CPUs have no float16 convolutions; use bf16 or 32")
    if config.training.precision == "auto":  # what was chosen is part of the run, which goes on with it
        training = config.training.model_copy(update={"precision": "bf16" if computes_bf16(device) else "32"})
        config = config.model_copy(update={"training": training})
    data = StoreRows(Store(store_path))
    split = split_of(data, config)
    if config.training.val_fraction > 0 and not split.val_subjects:
        raise ConfigError(
            f"{store_path}: all faces are of one subject ({split.train_subjects[0]!r}), so nobody can be held out; "
            "give --val-fraction 0 to train without validation"
        )
    log_people.info(
        "%d people to train on, %d held out for validation", len(split.train_subjects), len(split.val_subjects)
    )
    train_rows = data.rows_of(split.train)
    if not len(train_rows):
        raise ConfigError(f"{store_path}: no usable crop is left to train on")
    model, scheme = data.store.model, data.store.attributes["scheme"]
    torch.manual_seed(config.training.seed)
    network = Network(config.network, model, data.size, len(get_scheme(scheme)))
    statistics = measure_params(lambda: data.params_by_blocks(train_rows))
    network.initial.copy_(torch.from_numpy(statistics.mean))
    network.step.copy_(torch.from_numpy(np.maximum(statistics.std, 1e-4)))
    loss = AlignmentLoss(config.losses, torch.from_numpy(parameter_weights(statistics, model)))
    stream = TrainingStream(data, train_rows, config.training.batch_size, config.training.seed, config.training.mirror)

    from pifa_model.trainer import AlignmentModule, RoundReport, fit  # Lightning takes seconds to import

    # Everything that can be wrong with the settings has been; only now is a folder made or replaced.
    resolved = _resolved(config, data.store, split)
    _open_run(run, resolved, data.store.location.read(MORPHABLE), resume=resume, overwrite=overwrite)
    kind: Literal["2d", "3d"] = "2d" if data.marching[split.train].any() else "3d"
    state = run / "state" / "last.ckpt"
    going_on = resume and state.is_file()
    log = _Log(run, _header(config, data, resolved, kind), resume=going_on)
    with progress("training", stream.total_steps(config.training.epochs), "steps") as advance:

        def report(done: RoundReport, trained: Network) -> None:
            log.add(done, trained)
            last = f"val {done.val_nme[-1]:.2f} %" if done.val_nme else ""
            advance(0, last)

        module = AlignmentModule(
            config,
            network,
            Landmarks(model, scheme),
            loss,
            stream,
            data,
            validation_rows(data, split),
            report,
            advance,
            state,
            going_on,
        )
        advance(module.step)  # of a run that goes on
        with warnings.catch_warnings():
            # Lightning's advice on loader workers and logging does not apply to this loop.
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            fit(module, device=device)
    return TrainSummary(run, log.step, log.best, time.perf_counter() - start)


def validation_rows(data: StoreRows, split: Split) -> np.ndarray:
    """One jittered crop of each validation face (the unjittered one where there is only that), as photographed."""
    rows = data.as_photographed(data.rows_of(split.val))
    copy = min(1, data.store.attributes["config"]["copies"] - 1)
    return rows[data.copy[rows] == copy]


def _resolved(config: Config, store: Store, split: Split) -> dict[str, Any]:
    """What is saved as ``config.json``: enough to repeat the run, and its split."""
    return {
        "pifa_version": VERSION,
        "config": config.model_dump(mode="json"),
        "store": {"path": str(store.location), "digest": store.attributes["digest"]},
        "split": {"train": split.train_subjects, "val": split.val_subjects},
    }


def _header(config: Config, data: StoreRows, resolved: dict[str, Any], kind: Literal["2d", "3d"]) -> Header:
    attributes = data.store.attributes
    return Header(
        preset=config.preset,
        network=config.network,
        config=config,
        scheme=attributes["scheme"],
        landmark_kind=kind,
        input_size=data.size,
        boxes=attributes["config"]["boxes"],
        grow=data.grow,
        morphable=MorphableReference(**attributes["morphable"]),
        training={
            # Names only: a path would tell strangers where somebody's data lies.
            "data": [Path(source.split(":", 1)[-1]).name for source in attributes["sources"]],
            "store_digest": attributes["digest"],
            "faces": int(attributes["faces"]) // table_rows(attributes["config"]["profile"]),
            "train_subjects": resolved["split"]["train"],
            "val_subjects": resolved["split"]["val"],
        },
    )


def _open_run(run: Path, resolved: dict[str, Any], morphable: bytes, *, resume: bool, overwrite: bool) -> None:
    """Make the run's folder, or check that it is the one to go on with."""
    before = _read_run(run)
    if resume and before is not None:
        for key in ("config", "split"):
            if changed := _changed(before[key], resolved[key], key):
                raise ConfigError(
                    f"{run}: was begun with another {key} ({', '.join(changed)}); resume with the same version of the "
                    "program, preset and settings"
                )
        if before["store"]["digest"] != resolved["store"]["digest"]:
            raise ConfigError(f"{run}: was begun on another store ({before['store']['path']})")
        return
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        if not overwrite:
            raise PifaError(f"{run}: exists already; give --resume to go on with it or --overwrite to replace it")
        if before is None:
            raise PifaError(f"{run}: is not a run folder; it is not overwritten, move it away")
    # Made under another name and moved, so that a run either has its configuration or is not there.
    new = run.with_name(f".{run.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    (new / MORPHABLE).write_bytes(morphable)
    (new / "config.json").write_text(json.dumps(resolved, indent=2), encoding="utf-8")
    if run.exists():
        shutil.rmtree(run)
    new.rename(run)


def _changed(before: object, now: object, name: str) -> list[str]:
    """Keys that are not the same in two JSON documents, as ``config.network.head``."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before.keys() | now.keys())
        return [found for key in keys for found in _changed(before.get(key), now.get(key), f"{name}.{key}")]
    return [] if before == now else [name]


def _read_run(run: Path) -> dict[str, Any] | None:
    """``config.json`` of a run folder; None where it is none of ours."""
    try:
        document = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(document, dict) and {"pifa_version", "config", "store", "split"} <= document.keys()
    return document if ours else None


class _Log:
    """Learning curves and checkpoints of a run."""

    def __init__(self, run: Path, header: Header, *, resume: bool) -> None:
        self._run, self._header = run, header
        self._file = run / "metrics.csv"
        self._rows: list[dict[str, str]] = []
        if resume and self._file.is_file():
            with self._file.open(encoding="utf-8", newline="") as file:
                self._rows = list(csv.DictReader(file))

    @property
    def step(self) -> int:
        return int(self._rows[-1]["step"]) if self._rows else 0

    @property
    def best(self) -> float | None:
        """Smallest error, of a cascade in its last stage: before, its last blocks were not trained."""
        rows = [row for row in self._rows if row["stage"] == self._rows[-1]["stage"]]
        values = [float(row[self._last_block(row)]) for row in rows if self._last_block(row)]
        return min(values) if values else None

    def add(self, report: Any, network: Network) -> None:
        """Keep one round: checkpoints, table, picture."""
        best = self.best if self._rows and self._rows[-1]["stage"] == str(report.stage) else None
        header = self._header.model_copy(
            update={"training": self._header.training | {"step": report.step, "epoch": report.epoch}}
        )
        save_checkpoint(self._run / "last.safetensors", header, network)
        if not report.val_nme or best is None or report.val_nme[-1] < best:
            save_checkpoint(self._run / "best.safetensors", header, network)
        row = {
            "stage": str(report.stage),
            "step": str(report.step),
            "epoch": f"{report.epoch:.4f}",
            "learning_rate": f"{report.learning_rate:.3e}",
            "train_loss": f"{report.train_loss:.5f}",
            "seconds": f"{report.seconds:.1f}",
            "cpu_seconds": f"{report.cpu_seconds:.1f}",
        } | {f"val_nme_block{i + 1}": f"{value:.4f}" for i, value in enumerate(report.val_nme)}
        # A round that was finished but not yet in the saved state is run again.
        self._rows = [old for old in self._rows if int(old["step"]) < report.step] + [row]
        temporary = self._file.with_suffix(".partial")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(self._rows)
        temporary.replace(self._file)
        draw_curves(self._rows, self._run / "curves.png")

    @staticmethod
    def _last_block(row: dict[str, str]) -> str:
        blocks = [key for key, value in row.items() if key.startswith("val_nme_block") and value]
        return blocks[-1] if blocks else ""


def draw_curves(rows: list[dict[str, str]], path: Path) -> None:
    """Training loss and validation error a block over the steps, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, error = figure.subplots(1, 2)
    steps = [int(row["step"]) for row in rows]
    loss.plot(steps, [float(row["train_loss"]) for row in rows])
    loss.set(xlabel="step", ylabel="training loss", yscale="log")
    for key in [key for key in rows[-1] if key.startswith("val_nme_block")]:
        error.plot(steps, [float(row.get(key) or "nan") for row in rows], label=key.removeprefix("val_nme_"))
    error.set(xlabel="step", ylabel="validation NME, % of tight box", yscale="log")
    if error.lines:
        error.legend()
    for axes in (loss, error):
        axes.grid(alpha=0.3, which="both")
    figure.savefig(path.with_suffix(".partial"), format="png", dpi=110)
    path.with_suffix(".partial").replace(path)
