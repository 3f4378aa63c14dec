"""``pifa eval``: measure a checkpoint on a store's crops or on the faces of a source."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.boxes import Square, face_rng, jitter_box, square_of, tight_box
from pifa_data.build import check_inside, face_box, fit_faces
from pifa_data.camera import pose_angles
from pifa_data.errors import AnnotationError, ImageError, StoreError
from pifa_data.faces import Face, Skipped
from pifa_data.fitting import LandmarkFitter
from pifa_data.images import crop_image, read_image
from pifa_data.schemes import get_scheme
from pifa_data.store import Store
from pifa_model.batches import StoreRows
from pifa_model.checkpoint import Header
from pifa_model.inference import Aligner
from pifa_model.metrics import (
    Truth,
    area_under_curve,
    by_yaw,
    face_errors,
    failure_rate,
    mean_of,
    point_errors,
    visibility_accuracy,
)
from pipelines.checkpoints import load_aligner
from pipelines.progress import progress
from pipelines.sources import load_faces

JITTER_SEED = 114
"""Seed of ``--boxes jittered``, the same for everyone who compares numbers."""


@dataclass
class _Collected:
    """Results as they come: landmarks of every stage and labels, source-image pixels."""

    predicted: list[np.ndarray] = field(default_factory=list)
    visible: list[np.ndarray] = field(default_factory=list)
    landmarks: list[np.ndarray] = field(default_factory=list)
    visibility: list[np.ndarray] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    yaw: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)
    faces: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class EvalResult:
    """The JSON of ``pifa eval`` and one line that says whose faces were measured."""

    values: dict[str, Any]
    note: str


def run_eval(
    checkpoint: str,
    target: str,
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
) -> EvalResult:
    """Measure a checkpoint.

    Args:
        checkpoint: run, file or zoo name.
        target: a store, or a source.
        boxes: ``tight``, ``dataset`` or ``jittered`` input boxes; None is the checkpoint's own. Not for stores.
        subset: ``val``, ``train`` or ``all``; None measures only people that the checkpoint did not train on.
        normaliser: of ``nme``, ``nme_per_block``, ``nme_initial`` and ``nme_by_yaw``.

    Raises:
        PifaError, ZooError: checkpoint, target or subset can't be used.
    """
    aligner, file = load_aligner(checkpoint, morphable=morphable, registry=registry, device=device)
    header = aligner.header
    collected = _Collected()
    is_store = (Path(target) / "zarr.json").is_file()
    if is_store:
        if boxes is not None:
            raise StoreError(f"{target}: a store's crops are taken as they are; --boxes is for sources")
        data = StoreRows(Store(Path(target)))
        note, skipped = _eval_store(aligner, data, subset, landmarks, batch_size, collected)
    else:
        boxes = boxes or header.boxes
        faces, bad = load_faces([target], split=split, limit=limit)
        keep, note = _subset_mask([face.subject for face in faces], header, subset, target)
        chosen = [face for face, kept in zip(faces, keep, strict=True) if kept]
        skipped = bad + _eval_faces(aligner, chosen, boxes, landmarks, batch_size, collected)
    if not collected.predicted:
        first = f"; the first: {skipped[0].id}: {skipped[0].reason}" if skipped else ""
        raise AnnotationError(f"{target}: no face could be measured ({len(skipped)} skipped{first})")
    values = _measure(collected, normaliser, header, aligner)
    values |= {
        "skipped": len(skipped),
        "skipped_faces": [{"face": face.id, "reason": face.reason} for face in skipped],
        "boxes": "store" if is_store else boxes,
        "subset": subset or "held-out",
        "source": Path(target.split(":", 1)[-1]).name,
        "landmarks": landmarks or header.landmark_kind,
        "checkpoint_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    return EvalResult(values, note)


def _subset_mask(subjects: list[str], header: Header, subset: str | None, target: str) -> tuple[np.ndarray, str]:
    """Which faces belong to the subset, ``(F,)`` bool, and a line that says whose they are."""
    train = set(header.training.get("train_subjects", ()))
    val = set(header.training.get("val_subjects", ()))
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


def _eval_store(
    aligner: Aligner, data: StoreRows, subset: str | None, kind: str | None, batch_size: int, out: _Collected
) -> tuple[str, list[Skipped]]:
    if data.store.attributes["scheme"] != aligner.header.scheme or data.size != aligner.header.input_size:
        raise StoreError(
            f"{data.store.path}: expected crops of {aligner.header.input_size} pixels with the scheme "
            f"{aligner.header.scheme}, found {data.size} and {data.store.attributes['scheme']}"
        )
    keep, note = _subset_mask(data.subjects, aligner.header, subset, str(data.store.path))
    rows = data.rows_of(keep)
    pose = data.store.read("faces/pose")
    dataset_boxes = data.store.read("faces/box")
    is_dataset = data.store.attributes["config"]["boxes"] == "dataset"
    with progress("measuring", len(rows), "crops") as advance:
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            squares = [square_of(box, data.grow, data.size) for box in data.boxes[part].astype(np.float64)]
            kinds = [kind or ("2d" if data.marching[face] else "3d") for face in data.source[part]]
            _align(aligner, data.read_images(part), squares, kinds, out)
            for row, square in zip(part, squares, strict=True):
                out.landmarks.append(square.to_image(data.landmarks[row].astype(np.float64)))
                out.visibility.append(data.visibility[row])
                source = data.source[row]
                out.boxes.append(dataset_boxes[source] if is_dataset else np.full(4, np.nan))
                out.yaw.append(float(pose[source, 0]))
            advance(len(part))
    out.faces = len(np.unique(data.source[rows]))
    skipped = [Skipped(item["face"], item["reason"]) for item in data.store.attributes["skipped"]]
    return note + f", {len(rows)} crops", skipped


def _eval_faces(
    aligner: Aligner, faces: list[Face], boxes: str, kind: str | None, batch_size: int, out: _Collected
) -> list[Skipped]:
    """Align the faces of a source batch by batch; returns those that could not be."""
    fitter = LandmarkFitter(aligner.model, aligner.header.scheme)
    failed: list[Skipped] = []
    with progress("measuring", len(faces), "faces") as advance:
        for start in range(0, len(faces), batch_size):
            part, crops, squares = [], [], []
            for face in faces[start : start + batch_size]:
                try:
                    if face.scheme != aligner.header.scheme:
                        raise AnnotationError(f"expected the scheme {aligner.header.scheme}, found {face.scheme}")
                    square = square_of(_input_box(face, boxes), aligner.header.grow, aligner.header.input_size)
                    image = read_image(face.image)
                    check_inside(face, image.shape)
                    crops.append(crop_image(image, square))
                except (ImageError, AnnotationError) as error:
                    failed.append(Skipped(face.id, str(error)))
                    continue
                part.append(face)
                squares.append(square)
            if part:
                _align(aligner, np.stack(crops), squares, [kind or face.kind for face in part], out)
                out.faces += len(part)
                for face in part:
                    out.landmarks.append(face.landmarks)
                    out.visibility.append(face.visibility)
                    out.boxes.append(np.full(4, np.nan) if face.box is None else face.box)
                # The labels' own pose, for the bins by yaw.
                fits = fit_faces(part, fitter)
                out.yaw.extend(pose_angles(fits.cameras)[:, 0].tolist())
            advance(batch_size)
    return failed


def _input_box(face: Face, boxes: str) -> np.ndarray:
    if boxes == "jittered":
        tight = tight_box(face.landmarks, face.visibility)
        return jitter_box(tight, face_rng(JITTER_SEED, face.id, 0))
    box = face_box(face, boxes)
    if box is None:
        raise AnnotationError("the data set gives no box for this face; use --boxes tight")
    return box


def _align(aligner: Aligner, crops: np.ndarray, squares: list[Square], kinds: list[str], out: _Collected) -> None:
    start = time.perf_counter()
    result = aligner.align_crops(crops, kinds)
    out.seconds += time.perf_counter() - start
    out.squares.extend((result.params[-1, :, 8:] ** 2).mean(1).tolist())
    for i, square in enumerate(squares):
        out.predicted.append(square.to_image(result.landmarks[:, i].astype(np.float64)))
        out.visible.append(result.visibility[i])


def _measure(out: _Collected, normaliser: str, header: Header, aligner: Aligner) -> dict[str, Any]:
    scheme = get_scheme(header.scheme)
    truth = Truth(np.stack(out.landmarks), np.stack(out.visibility), np.stack(out.boxes), np.array(out.yaw))
    predicted = np.stack(out.predicted, axis=1)  # (stages, N, L, 2)
    stages = [face_errors(stage, truth, normaliser, scheme) for stage in predicted]
    if not np.isfinite(stages[-1]).any():
        raise AnnotationError(f"--normaliser {normaliser}: the faces have none (no boxes, or no labelled eye corners)")
    interocular = face_errors(predicted[-1], truth, "interocular", scheme)
    pixels = mean_of(point_errors(predicted[-1], truth))
    return {
        "faces": out.faces,
        "crops": len(stages[-1]),
        "normaliser": normaliser,
        "nme": mean_of(stages[-1]),
        "nme_per_block": [mean_of(errors) for errors in stages[1:]],
        "nme_initial": mean_of(stages[0]),
        "nme_interocular": mean_of(interocular),
        "failure_rate_8": failure_rate(interocular),
        "auc_8": area_under_curve(interocular),
        "mape": pixels,
        "nme_by_yaw": by_yaw(stages[-1], truth.yaw),
        "visibility_accuracy": visibility_accuracy(np.stack(out.visible), truth),
        # Mean of p² over coefficients and faces: 1 under the model's prior, more for shapes that no face has.
        "mean_square_coefficient": float(np.mean(out.squares)),
        "ms_per_face": 1e3 * out.seconds / len(stages[-1]),
    }
