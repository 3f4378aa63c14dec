"""``pifa calibrate``: fit a checkpoint's score on faces that it did not train on, and write a copy that has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from pifa_data.boxes import box_size, face_rng, jitter_box, shared_area, tight_box
from pifa_data.errors import AnnotationError, CheckpointError, PifaError, StoreError
from pifa_data.faces import Face
from pifa_data.images import crop_image, read_image
from pifa_data.schemes import SCHEMES, get_scheme, to_scheme, union_name
from pifa_data.urls import is_url
from pifa_model.calibration import ALIGNED, Calibration, features_of, fit
from pifa_model.checkpoint import check_beside, save_calibrated
from pifa_model.inference import Aligner
from pifa_model.metrics import Truth, face_errors
from pipelines.checkpoints import load_aligner
from pipelines.evaluate import subset_mask
from pipelines.progress import progress
from pipelines.sources import load_faces

SEED = 9
SHIFTS = (0.05, 0.05, 0.05, 0.2, 0.5)
"""Boxes of a face, from good to hopeless: deviations of the jitter of a tight box. With the place beside it half of the
crops are as good as a detector's (0.07 in x, 0.04 in y, 0.08 in size), a sixth each bad, hopeless, and without a face:
a probability is one for such a mix, and says less than the truth where every box is good."""

MOST = 400
"""Faces that are aligned, evenly spread: 4,800 crops."""

DRAWS, SMALLEST, SHARED = 20, 0.4, 0.1
"""A crop without a face: tries to place it, its smallest box over the face's, and how much of it the face's box may
cover."""

FEWEST = 40
"""Faces below which no probability is told."""


@dataclass(frozen=True)
class Sample:
    """Crops of faces and of none, as the network sees them.

    Attributes:
        features: ``(N, F)``.
        errors: ``(N,)`` percent of √(w·h) of the tight box, infinite where there is no face.
        faces, people: ``(N,)`` names.
        kind: ``(N,)`` deviation of the box's jitter, NaN of no face.
    """

    features: np.ndarray
    errors: np.ndarray
    faces: np.ndarray
    people: np.ndarray
    kind: np.ndarray


def run_calibrate(
    checkpoint: str,
    source: str,
    out: Path,
    *,
    subset: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    where: str | None = None,
    morphable: str | None = None,
    registry: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> tuple[Calibration, str]:
    """Fit the score on a source's faces and write a copy of the checkpoint with it; returns it and whose faces.

    Raises:
        PifaError, ZooError: checkpoint or source can't be used; too few faces; a file in the way.
    """
    if is_url(source) or (Path(source) / "zarr.json").is_file():
        raise StoreError(f"{source}: a store's crops have no background to learn from; name the source it was made of")
    if out.suffix != ".safetensors":
        raise CheckpointError(f"--out {out}: expected a name that ends in .safetensors")
    if out.exists() and not overwrite:
        raise CheckpointError(f"--out {out}: exists; give another name or --overwrite")
    if Path(checkpoint).suffix == ".onnx":
        raise CheckpointError(f"{checkpoint}: expected a checkpoint, found an exported network; calibrate, then export")
    aligner, file = load_aligner(checkpoint, morphable=morphable, registry=registry, device=device)
    check_beside(file, out)
    faces, _ = load_faces([source], split=split, limit=limit, where=where, fittable=False)
    keep, note = subset_mask([face.subject for face in faces], aligner.header, subset, source)
    chosen = [face for face, kept in zip(faces, keep, strict=True) if kept]
    sample = collect(aligner, [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, MOST).astype(int))])
    found_faces, found_people = len(np.unique(sample.faces)), len(np.unique(sample.people))
    if found_people < 2 or found_faces < FEWEST:
        raise AnnotationError(
            f"{source}: expected {FEWEST} faces of two people or more to fit a score on, "
            f"found {found_faces} of {found_people}; name more"
        )
    aligned = sample.errors < ALIGNED
    try:
        found = fit(sample.features, aligned, sample.people, len(aligner.header.network.filters))
    except ValueError as error:
        raise AnnotationError(
            f"{source}: {int(aligned.sum())} of {len(aligned)} crops have an error below {ALIGNED:g} %: "
            "a score needs some below and some above; train longer, or name more faces"
        ) from error
    save_calibrated(file, out, found)
    return found, note


def collect(aligner: Aligner, faces: Sequence[Face]) -> Sample:
    """Align each face in boxes from good to hopeless, and a place beside it, both twice: the second time in the box
    around the landmarks of the first, as after a detector.

    Raises:
        AnnotationError: no face could be aligned.
    """
    # The score is of the network's own points, the error of those that the faces are labelled with.
    labelled = aligner.with_scheme(union_name({face.scheme for face in faces}, list(SCHEMES)))
    parts: list[Sample] = []
    with progress("aligning", len(faces), "faces") as advance:
        for face in faces:
            advance(1)
            try:
                image = read_image(face.image)
            except PifaError:
                continue  # `pifa eval` lists them
            parts += _samples(aligner, labelled, face, image)
    if not parts:
        raise AnnotationError("no face could be aligned; `pifa eval` tells why")
    known = ~np.isnan(np.concatenate([part.errors for part in parts]))  # without a visible point nobody can tell
    names = [field.name for field in fields(Sample)]
    return Sample(**{name: np.concatenate([getattr(part, name) for part in parts])[known] for name in names})


def _samples(aligner: Aligner, labelled: Aligner, face: Face, image: np.ndarray) -> list[Sample]:
    """Both alignments of one face's crops."""
    points, seen = to_scheme(face.landmarks, face.visibility, face.scheme, labelled.scheme)
    boxes, kind = _boxes(face, points, seen, image.shape)
    n, scheme = len(boxes), get_scheme(labelled.scheme)
    truth = Truth(np.repeat(points[None], n, 0), np.repeat(seen[None], n, 0), np.full((n, 4), np.nan), np.zeros(n))
    to_percent = 100 * aligner.header.grow / aligner.header.input_size
    found = []
    for _ in range(2 if n else 0):
        squares = [aligner.square(box) for box in boxes]
        crops, kinds = np.stack([crop_image(image, square) for square in squares]), [face.kind] * n
        result = aligner.align_crops(crops, kinds)
        there = result if labelled.scheme == aligner.scheme else labelled.align_crops(crops, kinds)
        placed = zip(squares, there.landmarks[-1].astype(np.float64), strict=True)
        error = face_errors(np.stack([square.to_image(p) for square, p in placed]), truth, "tight", scheme)
        names, people = np.array([face.id] * n), np.array([face.subject] * n)
        error = np.where(np.isnan(kind), np.inf, error)
        found.append(Sample(features_of(result, to_percent), error, names, people, kind))
        own = zip(squares, result.landmarks[-1].astype(np.float64), strict=True)
        boxes = [tight_box(square.to_image(p), np.ones(len(p))) for square, p in own]
    return found


def _boxes(
    face: Face, points: np.ndarray, seen: np.ndarray, shape: tuple[int, ...]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Boxes of a face and of a place beside it, and their kinds, see ``Sample``; none of a face with too few labels."""
    if (seen > 0).sum() < 2:
        return [], np.zeros(0)
    tight = tight_box(points, seen)
    size = float(box_size(tight))
    if not size > 0:
        return [], np.zeros(0)
    rng = face_rng(SEED, face.id, 0)
    boxes, kind = [jitter_box(tight, rng, shift, min(shift, 0.3)) for shift in SHIFTS], list(SHIFTS)
    for _ in range(DRAWS):
        side = size * rng.uniform(SMALLEST, 1.0)
        corner = rng.uniform(0, 1, 2) * np.maximum((shape[1] - side, shape[0] - side), 0) - 0.5
        box = np.concatenate([corner, corner + side])
        if shared_area(box, tight) < SHARED * side**2:
            return [*boxes, box], np.array([*kind, np.nan])
    return boxes, np.array(kind)
