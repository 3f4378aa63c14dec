"""``pifa train``: stores to a run folder.

What a run folder holds is told by ``run_folder.py``.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from pifa_data.errors import CheckpointError, ConfigError
from pifa_data.schemes import get_scheme
from pifa_data.store import MORPHABLE, Store
from pifa_data.version import VERSION, source_commit
from pifa_data.views import table_rows
from pifa_model.batches import TrainingStream
from pifa_model.beginning import begin_with
from pifa_model.checkpoint import Header, MorphableReference, people_of
from pifa_model.config import Config
from pifa_model.joined_rows import JoinedRows, check_validation
from pifa_model.losses import AlignmentLoss, parameter_weights
from pifa_model.network import Network
from pifa_model.ranks import find_ranks
from pifa_model.rows import Rows
from pifa_model.shape import Landmarks
from pifa_model.statistics import measure_params
from pipelines.checkpoints import checkpoint_file, computes_bf16, model_of, pick_device
from pipelines.progress import progress
from pipelines.run_folder import RunLog, open_run, read_run
from zoo.storage import hash_file

log_people = logging.getLogger("pifa.train")


@dataclass(frozen=True)
class Split:
    """Faces by the side they are on, ``(F,)`` bool, and the subjects of each side."""

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


def split_of(data: Rows, config: Config) -> Split:
    """The split that a run with this configuration makes of its faces."""
    training = config.training
    seed = training.seed if training.split_seed is None else training.split_seed
    return split_subjects(data.subjects, training.val_fraction, seed)


@dataclass(frozen=True)
class Sides:
    """What is trained on and what is validated on.

    Attributes:
        data, rows: the training stores, and which of their rows.
        held_out, held_out_rows: the same of validation; ``data`` itself unless that has stores of its own.
        split: people and faces. With a store to validate on, all of ``data``'s faces are trained on.
    """

    data: Rows
    rows: np.ndarray
    held_out: Rows
    held_out_rows: np.ndarray
    split: Split


def take_sides(stores: Sequence[str | Path], val: str | Path | None, config: Config) -> Sides:
    """Open the stores and split their people.

    Raises:
        StoreError: a store is unfinished or damaged, or two don't fit.
        ConfigError: nobody is left for a side, or people are on both.
    """
    data = JoinedRows([Store(store) for store in stores])
    where = " and ".join(str(store) for store in stores)
    if val is not None:
        held_out: Rows = JoinedRows([Store(val)])
        check_validation(data, held_out)
        everyone = np.ones(len(data.subjects), bool)
        split = Split(everyone, ~everyone, sorted({*data.subjects}), sorted({*held_out.subjects}))
        held_out_rows = validation_rows(held_out, np.ones(len(held_out.subjects), bool))
        if not len(held_out_rows):
            raise ConfigError(f"{val}: has no usable crop to validate on")
    else:
        held_out, split = data, split_of(data, config)
        if config.training.val_fraction > 0 and not split.val_subjects:
            raise ConfigError(
                f"{where}: all faces are of one subject ({split.train_subjects[0]!r}), so nobody can be held out; "
                "give --val-fraction 0 to train without validation, or --val with a store of other people"
            )
        held_out_rows = validation_rows(data, split.val)
    rows = data.rows_of(split.train)
    if not len(rows):
        raise ConfigError(f"{where}: no usable crop is left to train on")
    return Sides(data, rows, held_out, held_out_rows, split)


def run_training(
    stores: str | Path | Sequence[str | Path],
    run: Path,
    config: Config,
    *,
    val: str | Path | None = None,
    init: str | Path | None = None,
    device: str = "auto",
    devices: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> TrainSummary | None:
    """Train a network on a store or on several.

    Args:
        stores: to train on.
        run: the folder to write.
        config: preset and settings.
        val: store to validate on; people of ``stores`` are held out if None.
        init: run, file or zoo name of a checkpoint whose weights to begin with where they fit (``begin_with``); random
            ones if None. Not needed to resume.
        device: ``auto``, ``cpu`` or ``cuda``.
        devices: processes on this machine, each with a device; one if None, or as many as torchrun or SLURM started.
            All but the first are started by calling the program again as it was called, so that a script of one's
            own must do the same each time.
        resume: go on with the run, if it was begun.
        overwrite: replace it.

    Returns:
        The summary; None in all processes but the first.

    Raises:
        PifaError: a store is unfinished, the run exists, or a setting does not fit; or no space is left, and the
            checkpoints of finished rounds stay.
    """
    start = time.perf_counter()
    stores = [stores] if isinstance(stores, (str, Path)) else list(stores)
    ranks = find_ranks(devices)
    device = pick_device(device)
    if device == "cpu" and config.training.precision == "16":
        raise ConfigError("training.precision 16: CPUs have no float16 convolutions; use bf16 or 32")
    if config.training.precision == "auto":  # what was chosen is part of the run, which goes on with it
        training = config.training.model_copy(update={"precision": "bf16" if computes_bf16(device) else "32"})
        config = config.model_copy(update={"training": training})
    sides = take_sides(stores, val, config)
    data, split = sides.data, sides.split
    if ranks.first:
        log_people.info(
            "%d people to train on, %d held out for validation", len(split.train_subjects), len(split.val_subjects)
        )
    network, loss = new_network(config, data, sides.rows)
    state = run / "state" / "last.ckpt"
    going_on = resume and state.is_file()
    begun = (read_run(run) or {}).get("init") if going_on else None
    if init is not None and not going_on:
        begun = _begin(network, config, data, checkpoint_file(str(init)), split, tell=ranks.first)
    elif init is not None and Path(init).is_file() and hash_file(Path(init)).sha256 != (begun or {}).get("sha256"):
        was = f"{begun['path']} (SHA-256 {begun['sha256'][:12]}…)" if begun else "random weights"
        raise ConfigError(f"{run}: was begun with {was}, not with {init}; leave --init out to go on with it")
    training = config.training
    stream = TrainingStream(
        data, sides.rows, training.batch_size, training.seed, training.mirror, training.mirror_shift * data.size
    )
    stream.of_rank(0, ranks.world)  # or a batch has no equal parts

    from pifa_model.trainer import AlignmentModule, RoundReport, fit  # Lightning takes seconds to import

    with ExitStack() as stack:
        log: RunLog | None = None
        if ranks.first:
            # Everything that can be wrong with the settings has been; only now is a folder made or replaced.
            resolved = _resolved(config, sides, begun)
            open_run(run, resolved, data.store.location.read(MORPHABLE), resume=resume, overwrite=overwrite)
            kind: Literal["2d", "3d"] = "2d" if data.marching[split.train].any() else "3d"
            log = RunLog(run, _header(config, sides, resolved, kind), config.training, resume=going_on)
            stack.callback(log.close)
            advance = stack.enter_context(progress("training", stream.total_steps(config.training.epochs), "steps"))
        else:

            def advance(done: int, note: str = "") -> None:
                """The first process shows the bar."""

        def report(done: RoundReport, trained: Network) -> bool:
            assert log is not None  # the first process alone reports
            over = log.add(done, trained)
            advance(0, f"val {done.val_nme[-1]:.2f} %" if done.val_nme else "")
            return over

        module = AlignmentModule(
            config,
            network,
            Landmarks(data.store.model, data.store.attributes["scheme"]),
            loss,
            stream,
            data,
            (sides.held_out, sides.held_out_rows),
            report,
            advance,
            state,
            going_on,
        )
        advance(module.step)  # of a run that goes on
        with warnings.catch_warnings():
            # Lightning's advice on loader workers and logging does not apply to this loop.
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            fit(module, device=device, ranks=ranks)
    if log is None:
        return None
    return TrainSummary(run, log.step, log.best, time.perf_counter() - start)


def new_network(config: Config, data: Rows, rows: np.ndarray) -> tuple[Network, AlignmentLoss]:
    """A network as training begins with it, random by ``training.seed``, and its loss; both are scaled to ``rows``."""
    model = data.store.model
    torch.manual_seed(config.training.seed)
    network = Network(config.network, model, data.size, len(get_scheme(data.store.attributes["scheme"])))
    statistics = measure_params(lambda: data.params_by_blocks(rows))
    network.initial.copy_(torch.from_numpy(statistics.mean))
    network.step.copy_(torch.from_numpy(np.maximum(statistics.std, 1e-4)))
    return network, AlignmentLoss(config.losses, torch.from_numpy(parameter_weights(statistics, model)))


def _begin(
    network: Network, config: Config, data: Rows, file: Path, split: Split, *, tell: bool
) -> dict[str, str | list[str]]:
    """Take over a checkpoint's weights; what a run keeps of it: path, SHA-256, and the people it was trained on."""
    digest = hash_file(file).sha256
    attributes = data.store.attributes
    begun = begin_with(
        network,
        config.network,
        data.store.model,
        file,
        lambda fingerprint: model_of(file, fingerprint),
        scheme=attributes["scheme"],
        grow=data.grow,
    )
    try:
        people = people_of(begun.header, "train_subjects")
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error
    if tell:
        new = sorted({".".join(name.split(".")[:3]) for name in begun.left})
        log_people.info(
            "%s: begins with %d of %d tensors%s",
            file,
            len(begun.taken),
            len(begun.taken) + len(begun.left),
            f"; new: {', '.join(new[:6])}{', …' if len(new) > 6 else ''}" if new else "",
        )
        if seen := sorted(people & {*split.val_subjects}):
            log_people.warning(
                "%s was trained on %d of the people held out for validation (%s): their error will read too low",
                file,
                len(seen),
                ", ".join(seen[:3]) + (", …" if len(seen) > 3 else ""),
            )
    return {"path": str(file), "sha256": digest, "train_subjects": sorted(people)}


def validation_rows(data: Rows, faces: np.ndarray) -> np.ndarray:
    """One jittered crop of each of the faces (the unjittered one where there is only that), as photographed.

    Args:
        data: of the faces.
        faces: ``(F,)`` bool, those to validate on.
    """
    rows = data.as_photographed(data.rows_of(faces))
    return rows[data.copy[rows] == np.minimum(1, data.copies[data.source[rows]] - 1)]


def _resolved(config: Config, sides: Sides, begun: dict[str, Any] | None) -> dict[str, Any]:
    """What is saved as ``config.json``: enough to repeat the run, and its split."""

    def named(rows: Rows) -> list[dict[str, str]]:
        return [{"path": str(store.location), "digest": store.attributes["digest"]} for store in rows.stores]

    return {
        "pifa_version": VERSION,
        "config": config.model_dump(mode="json"),
        "stores": named(sides.data),
        "val_stores": [] if sides.held_out is sides.data else named(sides.held_out),
        "split": {"train": sides.split.train_subjects, "val": sides.split.val_subjects},
        "init": begun,
    }


def _header(config: Config, sides: Sides, resolved: dict[str, Any], kind: Literal["2d", "3d"]) -> Header:
    data, begun = sides.data, resolved["init"] or {}
    # Who was trained on before counts as trained on: `pifa eval` measures on others.
    known = {*resolved["split"]["train"], *begun.get("train_subjects", ())}
    everything = [store.attributes for store in data.stores]
    attributes = everything[0]
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
            "data": [Path(source.split(":", 1)[-1]).name for one in everything for source in one["sources"]],
            "store_digests": [store["digest"] for store in resolved["stores"]],
            "faces": sum(int(one["faces"]) // table_rows(one["config"]["profile"]) for one in everything),
            "source_commit": source_commit(),
            "train_subjects": sorted(known),
            "val_subjects": sorted({*resolved["split"]["val"]} - known),
        }
        | ({"init": begun["sha256"]} if begun else {}),
    )
