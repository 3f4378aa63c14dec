"""Trainings of variants on the same crops, measured on the same people: what ``pifa paper`` and benchmarks are made of.

A run is a variant of a preset, trained on a budget of crops with a seed. Its results are one JSON file,
``NAME-SEED.json``; what is done is not done again, and what was interrupted goes on, so that a set of runs can be
finished over days. The run folders stand beside them in ``runs/``. The last checkpoint is measured, not the best one,
which was chosen by the people measured on; those held out are the same for every variant and seed.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pifa_data.boxes import square_of
from pifa_data.errors import PifaError
from pifa_data.schemes import get_scheme
from pifa_data.store import Store
from pifa_data.version import VERSION
from pifa_model.breakdowns import at_points
from pifa_model.checkpoint import load_checkpoint
from pifa_model.config import Config, load_config
from pifa_model.metrics import Truth, face_errors, mean_of_each, point_errors
from pifa_model.network import Network
from pifa_model.shape import Landmarks
from pifa_model.store_rows import StoreRows
from pifa_model.validation import HeldOut
from pipelines.checkpoints import pick_device
from pipelines.fits import write_whole
from pipelines.probes import cost, filter_means, probe
from pipelines.train import run_training, split_of, validation_rows
from pipelines.variants import TIMES, settings_of

DIGITS = 3
"""Decimals that are kept of a face's error in percent."""


@dataclass(frozen=True)
class Plan:
    """What all runs of a set share.

    Attributes:
        store: to train and measure on.
        out: folder of the results.
        preset: which network is varied.
        settings: over the preset and over every variant.
        budget: crops a run of most variants.
        each_block: also disturb V in one block at a time.
        device: as ``pifa train`` takes it.
    """

    store: str
    out: Path
    preset: str
    settings: tuple[str, ...]
    budget: int
    each_block: bool
    device: str

    def asked(self, name: str, seed: int, digest: str) -> dict[str, Any]:
        """What a run's results depend on."""
        return {
            "preset": self.preset,
            "settings": [*settings_of(name, self.preset), *self.settings],
            "budget": round(TIMES.get(name, 1.0) * self.budget),
            "seed": seed,
            "each_block": self.each_block,
            "store": digest,
        }


def run_variant(name: str, seed: int, plan: Plan) -> dict[str, Any]:
    """Train and measure a variant, unless that is done; its results.

    Raises:
        PifaError: it was done with other settings, or training failed.
        OSError: no space, or no right to write.
    """
    file = plan.out / f"{name}-{seed}.json"
    store = Store(plan.store)
    asked = plan.asked(name, seed, store.attributes["digest"])
    if file.exists():
        document = read_results(file)
        if document["asked"] != asked:
            changed = [key for key in asked if document["asked"].get(key) != asked[key]]
            raise PifaError(
                f"{file}: was made with another {', '.join(changed)}: {[document['asked'].get(k) for k in changed]}, "
                f"asked is {[asked[k] for k in changed]}; give another --out or move it"
            )
        return document
    _check_settings(name, plan)
    data = StoreRows(store)
    settings = (*asked["settings"], f"training.seed={seed}", "training.split_seed=0")
    config = within_budget(plan.preset, settings, asked["budget"], data)
    if len(split_of(data, config).val_subjects) < 2:
        raise PifaError(f"{plan.store}: at least two people have to be held out; more training.val_fraction or people")
    folder = plan.out / "runs" / f"{name}-{seed}"
    if (folder / "metrics.csv").exists() and not (folder / "state").exists():
        shutil.rmtree(folder)  # a finished run whose results were moved away
    run_training(plan.store, folder, config, device=plan.device, resume=True)
    document = {"asked": asked, "made": made(pick_device(plan.device)), **measure(folder, data, config, plan)}
    write_whole(file, lambda opened: opened.write(json.dumps(document, separators=(",", ":")).encode()))
    shutil.rmtree(folder / "state", ignore_errors=True)  # only for going on
    return document


def _check_settings(name: str, plan: Plan) -> None:
    """Refuse settings over all runs that would undo what a variant is, or what differs between seeds."""
    own = {setting.split("=", 1)[0] for setting in settings_of(name, plan.preset)}
    taken = {setting.split("=", 1)[0] for setting in plan.settings} & (own | {"training.seed", "training.split_seed"})
    if taken:
        raise PifaError(f"--set {sorted(taken)[0]}: is what the runs of {name} differ in; leave it out")


def read_results(file: Path) -> dict[str, Any]:
    """A run's results.

    Raises:
        PifaError: not such a file.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PifaError(f"{file}: can't be read ({error}); move it away and the run is made again") from error
    if not isinstance(document, dict) or not {"asked", "errors", "people", "rows"} <= document.keys():
        raise PifaError(f"{file}: not the results of a run; move it away and the run is made again")
    return document


def within_budget(preset: str, settings: tuple[str, ...], budget: int, data: StoreRows) -> Config:
    """The configuration whose steps see ``budget`` crops, with at least a dozen validations."""
    config = load_config(preset, settings)
    crops, batch = len(data.rows_of(split_of(data, config).train)), config.training.batch_size
    steps = max(1, budget // batch)
    epochs = steps / max(1, crops // batch)
    rounds = min(config.training.round_steps, max(1, steps // 12))
    return load_config(preset, (*settings, f"training.epochs={epochs}", f"training.round_steps={rounds}"))


def made(device: str) -> dict[str, Any]:
    """When, by what, and on what kind of machine."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "pifa": VERSION,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": device,
        "processor": torch.cuda.get_device_name() if device == "cuda" else processor(),
    }


def processor() -> str:
    """The processor's kind, and how many there are."""
    name = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{os.cpu_count()} x {name}"


def measure(folder: Path, data: StoreRows, config: Config, plan: Plan) -> dict[str, Any]:
    """What a trained run does on the people held out."""
    device, model = pick_device(plan.device), data.store.model
    checkpoint = load_checkpoint(folder / "last.safetensors", model, device)
    rows = validation_rows(data, split_of(data, config).val)
    # Mixed, so that a face's neighbour in a batch is another person's.
    rows = np.random.default_rng(0).permutation(rows)
    _, people = np.unique(np.array(data.subjects)[data.source[rows]], return_inverse=True)
    landmarks = Landmarks(model, data.store.attributes["scheme"]).to(device)
    held_out = HeldOut(data, rows)
    found = probe(checkpoint.network, landmarks, held_out, each_block=plan.each_block)
    prior = found.pop("prior")
    found |= last_errors(checkpoint.network, landmarks, data, held_out)
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rounds = list(csv.DictReader(file))
    return {
        **{key: rounded(value) for key, value in found.items()},
        "people": people.tolist(),
        "rows": rows.tolist(),
        "prior": prior,
        "curve": curve_of(rounds),
        "steps": int(rounds[-1]["step"]),
        "seconds": sum(float(row["seconds"]) for row in rounds),
        "cpu_seconds": sum(float(row["cpu_seconds"]) for row in rounds),
        "filters": filter_means(checkpoint.network),
        **cost(checkpoint.network),
    }


def curve_of(rounds: list[dict[str, str]]) -> dict[str, list[float]]:
    """Validation error of the last block that is trained by then, with the steps and times of training it took."""
    errors = [[value for key, value in row.items() if key.startswith("val_nme_block") and value] for row in rounds]
    return {
        "step": [float(row["step"]) for row in rounds],
        "seconds": np.cumsum([float(row["seconds"]) for row in rounds]).round(1).tolist(),
        "cpu_seconds": np.cumsum([float(row["cpu_seconds"]) for row in rounds]).round(1).tolist(),
        "nme": [float(row[-1]) for row in errors],
    }


@torch.no_grad()
def last_errors(network: Network, landmarks: Landmarks, data: StoreRows, held_out: HeldOut) -> dict[str, np.ndarray]:
    """Errors of each face that other measures than NME (tight) are made of.

    Returns:
        ``initial``: NME (tight) of P⁰, percent. Of the last block ``interocular`` and, of schemes that have ibug51's
        points, ``interocular_51``, percent; ``pixels``: mean error of the visible points in the source image, pixels.
        Each ``(N,)``.
    """
    scheme = get_scheme(data.store.attributes["scheme"])
    rows = held_out.rows
    labels = data.labels(rows)
    last, initial = [], []
    for tensors in held_out.batches(network.initial.device):
        params, marching = network(tensors["images"]).params[-1], tensors["marching"]
        last.append(landmarks(params, marching).cpu().numpy())
        initial.append(landmarks(network.initial.expand_as(params), marching).cpu().numpy())
    unknown = {"boxes": np.full((len(rows), 4), np.nan), "yaw": np.full(len(rows), np.nan)}
    truth = Truth(labels.landmarks, labels.visibility, **unknown)
    predicted = np.concatenate(last)
    sides = np.array([square_of(box, data.grow, data.size).side for box in data.boxes[rows].astype(np.float64)])
    found = {
        "initial": face_errors(np.concatenate(initial), truth, "tight", scheme),
        "interocular": face_errors(predicted, truth, "interocular", scheme),
        "pixels": mean_of_each(point_errors(predicted, truth)) * sides / data.size,
    }
    if (inner := at_points(predicted, truth, scheme, "ibug51")) is not None:
        found["interocular_51"] = inner
    return found


def rounded(value: Any) -> Any:
    """Numbers, or arrays of them, with as many decimals as are kept; None for NaN, which JSON does not have."""
    values = np.asarray(value, np.float64)
    kept = values.round(DIGITS).astype(object)
    kept[np.logical_not(np.isfinite(values))] = None
    return kept.tolist()
