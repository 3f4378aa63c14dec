"""``pifa eval``: measure a checkpoint on a store's crops or on the faces of a source."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pifa_data.errors import AnnotationError, StoreError
from pifa_data.readers import FORMATS, Format, parse_source
from pifa_data.schemes import SCHEMES, get_scheme, union_name
from pifa_data.store import Store
from pifa_data.urls import is_url
from pifa_model.checkpoint import Header, people_of
from pifa_model.inference import Aligner
from pifa_model.network import Network
from pifa_model.store_rows import StoreRows
from pipelines.checkpoints import load_aligner
from pipelines.eval_collect import Collected, collect_faces, collect_store
from pipelines.eval_measure import Measurement, measure
from pipelines.fits import check_free, is_page
from pipelines.sources import load_faces
from pipelines.train import validation_rows


@dataclass(frozen=True)
class EvalResult:
    """The JSON of ``pifa eval`` and one line that says whose faces were measured."""

    values: dict[str, Any]
    note: str


@dataclass(frozen=True)
class Evaluation:
    """One measured checkpoint, with all that a page about it draws: ``values`` and ``note`` as ``EvalResult``."""

    aligner: Aligner
    collected: Collected
    measurement: Measurement
    values: dict[str, Any]
    note: str


def run_eval(
    checkpoint: str, target: str, *, report: Path | None = None, overwrite: bool = False, **options: Any
) -> EvalResult:
    """Measure a checkpoint, and write a page about it where ``report`` is given; ``options`` as of ``evaluate``.

    Raises:
        PifaError, ZooError: checkpoint, target or subset can't be used; a file in the page's way.
    """
    if report is not None:
        check_free(report, overwrite, is_page, "an HTML page")
    found = evaluate(checkpoint, target, **options)
    if report is not None:
        from pipelines.report import write_eval_page

        write_eval_page(report, found)
    return EvalResult(found.values, found.note)


def evaluate(
    checkpoint: str,
    target: str | Sequence[str],
    *,
    boxes: str | None = None,
    subset: str | None = None,
    normaliser: str = "tight",
    landmarks: str | None = None,
    morphable: str | None = None,
    registry: str | None = None,
    device: str = "auto",
    batch_size: int = 32,
    split: str | None = None,
    limit: int | None = None,
    where: str | None = None,
    one_crop: bool = False,
) -> Evaluation:
    """Measure a checkpoint.

    Args:
        checkpoint: run, file or zoo name.
        target: a store, of which crops of faces as they were photographed are measured, several, or a source.
        boxes: ``tight``, ``dataset``, ``jittered`` (tight ones) or ``detector`` (one draw of what a face detector
            gives) input boxes; None is the checkpoint's own. Not for stores.
        subset: ``val``, ``train`` or ``all``; None measures only people that the checkpoint did not train on.
        normaliser: of every NME whose name has none.
        split, limit, where: which faces of a source. Not for stores.
        one_crop: of a store, one jittered crop a face, as training validates on.

    Raises:
        PifaError, ZooError: checkpoint, target or subset can't be used.
    """
    aligner, file = load_aligner(checkpoint, morphable=morphable, registry=registry, device=device)
    header = aligner.header
    collected = Collected()
    targets = [target] if isinstance(target, str) else list(target)
    target = " and ".join(targets)
    is_store = all(is_url(one) or (Path(one) / "zarr.json").is_file() for one in targets)
    if is_store:
        given = {"boxes": boxes, "split": split, "limit": limit, "where": where}
        if names := [f"--{name}" for name, value in given.items() if value is not None]:
            raise StoreError(f"{target}: a store's crops are taken as they are: no {', '.join(names)}")
        data = [StoreRows(Store(one)) for one in targets]
        aligner = aligner.with_scheme(data[0].store.attributes["scheme"])
        parts, note = _rows(data, header, subset, one_crop)
        for part, rows in zip(data, parts, strict=True):
            collect_store(aligner, part, rows, landmarks, batch_size, collected)
        skipped = [face for part in data for face in part.store.skipped()]
    else:
        boxes = boxes or header.boxes
        faces, bad = load_faces([target], split=split, limit=limit, where=where, fittable=False)
        keep, note = subset_mask([face.subject for face in faces], header, subset, target)
        chosen = [face for face, kept in zip(faces, keep, strict=True) if kept]
        # Measured at the points that the faces are labelled with: the morphable model has those of every scheme.
        aligner = aligner.with_scheme(union_name({face.scheme for face in chosen}, list(SCHEMES)))
        skipped = bad + collect_faces(aligner, chosen, boxes, landmarks, batch_size, collected)
    if aligner.scheme != header.scheme:
        note += f", at the landmarks of {aligner.scheme} (trained with {header.scheme})"
    if not is_store:
        if boxes == "detector":
            note += ", boxes drawn as a face detector's (the same in every run)"
        note += _as_papers_do(parse_source(target, FORMATS).format, normaliser)
    if not collected.predicted:
        first = f"; the first: {skipped[0].id}: {skipped[0].reason}" if skipped else ""
        raise AnnotationError(f"{target}: no face could be measured ({len(skipped)} skipped{first})")
    measurement = measure(collected, normaliser, aligner.scheme, header.calibration)
    values = measurement.values | {
        "scheme": aligner.scheme,
        "skipped": len(skipped),
        "skipped_faces": [{"face": face.id, "reason": face.reason} for face in skipped],
        "boxes": "store" if is_store else boxes,
        "subset": subset or "held-out",
        "source": " and ".join(Path(one.split(":", 1)[-1]).name for one in targets),
        "landmarks": " and ".join(sorted(set(collected.kinds))),
        "checkpoint_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "network": _describe(aligner, file, checkpoint),
    }
    return Evaluation(aligner, collected, measurement, values, note)


def _describe(aligner: Aligner, file: Path, checkpoint: str) -> dict[str, Any]:
    """What a table of networks says of one; its name is that of the run's folder, of the file, or the zoo's."""
    header = aligner.header
    with torch.device("meta"):  # the aligner's own has its batch norm folded into the convolutions
        network = Network(header.network, aligner.model, header.input_size, len(get_scheme(header.scheme)))
    name = file.resolve().parent.name if file.stem in ("best", "last", "weights") else file.stem
    return {
        "name": name if Path(checkpoint).exists() else checkpoint,
        "preset": header.preset,
        "weights": sum(weight.numel() for weight in network.parameters()),
        "bytes": file.stat().st_size,
        "blocks": len(header.network.filters),
        "morphable": aligner.model.name,
        "step": header.training.get("step"),
        "config": header.config.model_dump(mode="json"),
    }


def _rows(
    data: Sequence[StoreRows], header: Header, subset: str | None, one_crop: bool
) -> tuple[list[np.ndarray], str]:
    """The rows to measure on of each store, and a line about them."""
    for part in data:
        if part.size != header.input_size:
            raise StoreError(f"{part.store.location}: expected crops of {header.input_size} pixels, found {part.size}")
    usable = [np.flatnonzero(part.store.read("faces/valid") & ~part.is_view) for part in data]
    subjects = [part.subjects[face] for part, faces in zip(data, usable, strict=True) for face in faces]
    where = " and ".join(str(part.store.location) for part in data)
    keep, note = subset_mask(subjects, header, subset, where)
    rows, left_out = [], False
    kept = np.split(keep, np.cumsum([len(faces) for faces in usable])[:-1])
    for part, faces, own in zip(data, usable, kept, strict=True):
        chosen = np.isin(np.arange(len(part.subjects)), faces[own])
        crops = part.rows_of(chosen)
        # Labels of a turned view are a fit's, and its picture is ours; a mirrored crop is the same face once more.
        photographed = part.as_photographed(crops)
        left_out |= len(photographed) < len(crops) or bool(part.is_view.any())
        rows.append(validation_rows(part, chosen) if one_crop else photographed)
    note += f", {sum(map(len, rows))} crops"
    if left_out:
        note += " as photographed: no mirrored ones, no turned views"
    boxes, grow = data[0].store.attributes["config"]["boxes"], data[0].grow
    if (boxes, grow) != (header.boxes, header.grow):
        note += f", boxes {boxes} grown by {grow:g} (trained on {header.boxes} grown by {header.grow:g})"
    return rows, note


def subset_mask(subjects: list[str], header: Header, subset: str | None, target: str) -> tuple[np.ndarray, str]:
    """Which faces belong to the subset, ``(F,)`` bool, and a line that says whose they are."""
    train, val = people_of(header, "train_subjects"), people_of(header, "val_subjects")
    everyone = np.array(subjects)
    masks = {
        "all": np.ones(len(everyone), bool),
        "train": np.isin(everyone, sorted(train)),
        "val": np.isin(everyone, sorted(val)),
        "held-out": ~np.isin(everyone, sorted(train)),
    }
    keep = masks[subset or "held-out"]
    if not keep.any():
        raise AnnotationError(
            f"{target}: no face belongs to the subset {subset or 'of people not trained on'}; "
            "give --subset all to measure every face"
        )
    seen = int((keep & masks["train"]).sum())
    note = f"{int(keep.sum())} of {len(keep)} faces"
    if subset is None:
        note += ", only people that the checkpoint did not train on"
    elif seen:
        note += f", {seen} of them of people that it trained on"
    return keep, note


def _as_papers_do(fmt: Format, normaliser: str) -> str:
    """A hint where the papers that use a data set measure otherwise, so that numbers are not compared across."""
    if fmt.normaliser in ("", normaliser):
        return ""
    how = "mape" if fmt.normaliser == "mape" else f"--normaliser {fmt.normaliser}"
    return f"; papers measure {fmt.name} by {how}"
