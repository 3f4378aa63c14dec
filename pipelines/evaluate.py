"""``pifa eval``: measure a checkpoint on a store's crops or on the faces of a source."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.boxes import BOXES, Square, box_size, detector_box, face_rng, jitter_box, square_of
from pifa_data.camera import pose_angles
from pifa_data.errors import AnnotationError, ImageError, StoreError
from pifa_data.faces import Face, Skipped, refusal
from pifa_data.fitting import Fitters
from pifa_data.images import crop_image, read_image
from pifa_data.labels import check_inside, fit_faces, tight_boxes
from pifa_data.readers import FORMATS, Format, parse_source
from pifa_data.schemes import SCHEMES, Scheme, correspondence, get_scheme, leading_scheme, to_scheme, union_name
from pifa_data.store import Store
from pifa_data.urls import is_url
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
from pifa_model.store_rows import StoreRows
from pipelines.checkpoints import load_aligner
from pipelines.progress import progress
from pipelines.sources import load_faces

JITTER_SEED = 114
"""Seed of ``--boxes jittered`` and ``detector``, the same for everyone who compares numbers."""


@dataclass
class _Collected:
    """Results as they come, face by face: landmarks of every stage and labels, source-image pixels."""

    predicted: list[np.ndarray] = field(default_factory=list)
    visible: list[np.ndarray] = field(default_factory=list)
    landmarks: list[np.ndarray] = field(default_factory=list)
    visibility: list[np.ndarray] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    yaw: list[float] = field(default_factory=list)
    schemes: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
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
    where: str | None = None,
) -> EvalResult:
    """Measure a checkpoint.

    Args:
        checkpoint: run, file or zoo name.
        target: a store, of which crops of faces as they were photographed are measured, or a source.
        boxes: ``tight``, ``dataset``, ``jittered`` (tight ones) or ``detector`` (one draw of what a face detector
            gives) input boxes; None is the checkpoint's own. Not for stores.
        subset: ``val``, ``train`` or ``all``; None measures only people that the checkpoint did not train on.
        split, limit, where: which faces of a source. Not for stores.
        normaliser: of ``nme``, ``nme_per_block``, ``nme_initial`` and ``nme_by_yaw``.

    Raises:
        PifaError, ZooError: checkpoint, target or subset can't be used.
    """
    aligner, file = load_aligner(checkpoint, morphable=morphable, registry=registry, device=device)
    header = aligner.header
    collected = _Collected()
    is_store = is_url(target) or (Path(target) / "zarr.json").is_file()
    if is_store:
        given = {"boxes": boxes, "split": split, "limit": limit, "where": where}
        if names := [f"--{name}" for name, value in given.items() if value is not None]:
            raise StoreError(f"{target}: a store's crops are taken as they are: no {', '.join(names)}")
        data = StoreRows(Store(target))
        aligner = aligner.with_scheme(data.store.attributes["scheme"])
        note, skipped = _eval_store(aligner, data, subset, landmarks, batch_size, collected)
        kind, grow = data.store.attributes["config"]["boxes"], data.grow
        if (kind, grow) != (header.boxes, header.grow):
            note += f", boxes {kind} grown by {grow:g} (trained on {header.boxes} grown by {header.grow:g})"
    else:
        boxes = boxes or header.boxes
        faces, bad = load_faces([target], split=split, limit=limit, where=where, fittable=False)
        keep, note = _subset_mask([face.subject for face in faces], header, subset, target)
        chosen = [face for face, kept in zip(faces, keep, strict=True) if kept]
        # Measured at the points that the faces are labelled with: the morphable model has those of every scheme.
        aligner = aligner.with_scheme(union_name({face.scheme for face in chosen}, list(SCHEMES)))
        skipped = bad + _eval_faces(aligner, chosen, boxes, landmarks, batch_size, collected)
    if aligner.scheme != header.scheme:
        note += f", at the landmarks of {aligner.scheme} (trained with {header.scheme})"
    if not is_store:
        if boxes == "detector":
            note += ", boxes drawn as a face detector's (the same in every run)"
        note += _as_papers_do(parse_source(target, FORMATS).format, normaliser)
    if not collected.predicted:
        first = f"; the first: {skipped[0].id}: {skipped[0].reason}" if skipped else ""
        raise AnnotationError(f"{target}: no face could be measured ({len(skipped)} skipped{first})")
    values = _measure(collected, normaliser, get_scheme(aligner.scheme))
    values |= {
        "scheme": aligner.scheme,
        "skipped": len(skipped),
        "skipped_faces": [{"face": face.id, "reason": face.reason} for face in skipped],
        "boxes": "store" if is_store else boxes,
        "subset": subset or "held-out",
        "source": Path(target.split(":", 1)[-1]).name,
        "landmarks": " and ".join(sorted(collected.kinds)),
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


def _as_papers_do(fmt: Format, normaliser: str) -> str:
    """A hint where the papers that use a data set measure otherwise, so that numbers are not compared across."""
    if fmt.normaliser in ("", normaliser):
        return ""
    how = "mape" if fmt.normaliser == "mape" else f"--normaliser {fmt.normaliser}"
    return f"; papers measure {fmt.name} by {how}"


def _eval_store(
    aligner: Aligner, data: StoreRows, subset: str | None, kind: str | None, batch_size: int, out: _Collected
) -> tuple[str, list[Skipped]]:
    if data.size != aligner.header.input_size:
        raise StoreError(
            f"{data.store.location}: expected crops of {aligner.header.input_size} pixels, found {data.size}"
        )
    usable = np.flatnonzero(data.store.read("faces/valid") & ~data.is_view)
    subjects = [data.subjects[face] for face in usable]
    keep, note = _subset_mask(subjects, aligner.header, subset, str(data.store.location))
    crops = data.rows_of(np.isin(np.arange(len(data.subjects)), usable[keep]))
    # Labels of a turned view are a fit's, and its picture is ours; a mirrored crop is the same face once more.
    rows = data.as_photographed(crops)
    pose = data.store.read("faces/pose")
    dataset_boxes = data.store.read("faces/dataset_box")
    schemes = data.store.text("scheme")
    with progress("measuring", len(rows), "crops") as advance:
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            squares = [square_of(box, data.grow, data.size) for box in data.boxes[part].astype(np.float64)]
            kinds = [kind or ("2d" if data.marching[face] else "3d") for face in data.source[part]]
            _align(aligner, data.read_images(part), squares, kinds, out)
            labels = data.labels(part)
            out.visibility.extend(labels.visibility)
            for points, source, square in zip(labels.landmarks, data.source[part], squares, strict=True):
                out.landmarks.append(square.to_image(points.astype(np.float64)))
                out.schemes.append(schemes[source])
                out.boxes.append(dataset_boxes[source])
                out.yaw.append(float(pose[source, 0]))
            advance(len(part))
    out.faces = len(np.unique(data.source[rows]))
    skipped = data.store.skipped()
    note += f", {len(rows)} crops"
    if len(rows) < len(crops) or data.is_view.any():
        note += " as photographed: no mirrored ones, no turned views"
    return note, skipped


def _eval_faces(
    aligner: Aligner, faces: list[Face], boxes: str, kind: str | None, batch_size: int, out: _Collected
) -> list[Skipped]:
    """Align the faces of a source batch by batch; returns those that could not be."""
    fitters = Fitters(aligner.model)
    failed: list[Skipped] = []
    with progress("measuring", len(faces), "faces") as advance:
        for start in range(0, len(faces), batch_size):
            batch = faces[start : start + batch_size]
            fits = _fits_of(batch, fitters)
            part, crops, squares = [], [], []
            for i, face in enumerate(batch):
                try:
                    box = _input_box(face, boxes, fits.get(i), leading_scheme(aligner.header.scheme), fitters)
                    square = square_of(box, aligner.header.grow, aligner.header.input_size)
                    image = read_image(face.image)
                    check_inside(face, image.shape)
                    crops.append(crop_image(image, square))
                except (ImageError, AnnotationError) as error:
                    failed.append(Skipped(face.id, str(error)))
                    continue
                part.append(face)
                squares.append(square)
                out.yaw.append(_yaw(face, fits.get(i)))
            if part:
                _align(aligner, np.stack(crops), squares, [kind or face.kind for face in part], out)
                out.faces += len(part)
                for face in part:
                    points, seen = to_scheme(face.landmarks, face.visibility, face.scheme, aligner.scheme)
                    out.landmarks.append(points)
                    out.visibility.append(seen)
                    out.schemes.append(face.scheme)
                    out.boxes.append(np.full(4, np.nan) if face.box is None else face.box)
            advance(len(batch))
    return failed


def _fits_of(faces: list[Face], fitters: Fitters) -> dict[int, np.ndarray]:
    """P of the faces that have labels enough to be fitted, each in its own scheme: position → ``(8 + K,)``."""
    found: dict[int, np.ndarray] = {}
    for scheme in sorted({face.scheme for face in faces}):
        at = [
            i
            for i, face in enumerate(faces)
            if face.scheme == scheme and refusal(face.landmarks, face.visibility) is None
        ]
        if at:
            found |= dict(zip(at, fit_faces([faces[i] for i in at], fitters(scheme)).params, strict=True))
    return found


def _yaw(face: Face, fit: np.ndarray | None) -> float:
    """The labels' own yaw, for the bins: the fit's, else the data set's, else NaN (in no bin)."""
    if fit is not None:
        return float(pose_angles(fit[:8].reshape(2, 4))[0])
    return float("nan") if face.pose is None else float(face.pose[0])


def _input_box(face: Face, boxes: str, fit: np.ndarray | None, scheme: str, fitters: Fitters) -> np.ndarray:
    """The box that a crop is made of; all but ``dataset`` mean landmarks of ``scheme``, the checkpoint's."""
    if boxes == "dataset":
        if face.box is None:
            raise AnnotationError("the data set gives no box for this face; use --boxes tight")
        return face.box
    if face.scheme != scheme and fit is None:
        raise AnnotationError("too few labels to tell where the face's box is; use --boxes dataset")
    params = np.zeros((1, 8)) if fit is None else fit[None]
    tight = tight_boxes([face], face.visibility[None], params, scheme, fitters)[0]
    if not box_size(tight) > 0:
        raise AnnotationError("too few labels for a box around them; use --boxes dataset")
    if boxes == "tight":
        return tight
    rng = face_rng(JITTER_SEED, face.id, 0)
    if boxes == "jittered":
        return jitter_box(tight, rng)
    yaw = _yaw(face, fit)
    if not np.isfinite(yaw):
        raise AnnotationError("too few labels to tell which way the face looks; use --boxes tight")
    how = BOXES[boxes]
    return jitter_box(detector_box(tight, np.array(yaw)), rng, how.shift, how.scale)


def _align(aligner: Aligner, crops: np.ndarray, squares: list[Square], kinds: list[str], out: _Collected) -> None:
    start = time.perf_counter()
    result = aligner.align_crops(crops, kinds)
    out.seconds += time.perf_counter() - start
    out.kinds.update(kinds)
    out.squares.extend((result.params[-1, :, 8:] ** 2).mean(1).tolist())
    for i, square in enumerate(squares):
        out.predicted.append(square.to_image(result.landmarks[:, i].astype(np.float64)))
        out.visible.append(result.visibility[i])


def _measure(out: _Collected, normaliser: str, scheme: Scheme) -> dict[str, Any]:
    truth = Truth(np.stack(out.landmarks), np.stack(out.visibility), np.stack(out.boxes), np.array(out.yaw))
    predicted = np.stack(out.predicted, axis=1)  # (stages, N, L, 2)
    stages = [face_errors(stage, truth, normaliser, scheme) for stage in predicted]
    if not np.isfinite(stages[-1]).any():
        raise AnnotationError(f"--normaliser {normaliser}: the faces have none (no boxes, or no labelled eye corners)")
    interocular = face_errors(predicted[-1], truth, "interocular", scheme)
    pixels = mean_of(point_errors(predicted[-1], truth))
    has = {own: np.isin(range(len(scheme)), correspondence(own, scheme.name)) for own in set(out.schemes)}
    known = np.stack([has[own] for own in out.schemes])
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
        "visibility_accuracy": visibility_accuracy(np.stack(out.visible), truth, known),
        # Mean of p² over coefficients and faces: 1 under the model's prior, more for shapes that no face has.
        "mean_square_coefficient": float(np.mean(out.squares)),
        "ms_per_face": 1e3 * out.seconds / len(stages[-1]),
    }
