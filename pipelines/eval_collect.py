"""Aligning what ``pifa eval`` measures: a store's crops, or the faces of a source."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pifa_data.boxes import BOXES, Square, box_size, detector_box, face_rng, jitter_box, square_of
from pifa_data.camera import pose_angles
from pifa_data.errors import AnnotationError, ImageError
from pifa_data.faces import Face, Skipped, refusal
from pifa_data.fitting import Fitters
from pifa_data.images import crop_image, read_image
from pifa_data.labels import check_inside, fit_faces, tight_boxes
from pifa_data.schemes import leading_scheme, to_scheme
from pifa_model.inference import Aligner
from pifa_model.store_rows import StoreRows
from pipelines.progress import progress

JITTER_SEED = 114
"""Seed of ``--boxes jittered`` and ``detector``, the same for everyone who compares numbers."""

UNKNOWN = np.full(3, np.nan)
"""The pose of a face of which nobody knows it."""


@dataclass
class Collected:
    """Results as they come, crop by crop: landmarks of every stage and labels, source-image pixels.

    Attributes:
        ids, subjects: of the face that a crop is of.
        predicted, visible, angles: landmarks ``(stages, L, 2)``, visibility ``(L,)`` and pose ``(3,)`` radians.
        landmarks, visibility, boxes: labels, and the data set's own box or NaN.
        fit_pose, own_pose: ``(3,)`` radians, of the fit of the labels and of the data set; NaN where there is none.
        mean_squares: mean of p².
        scores: how sure the aligner is, 0 to 1.
        squares: where in its image the crop is cut.
        cut: each gives its crop again, ``(S, S, 3)`` uint8.
        faces: faces that the crops are of.
        seconds: spent in the network.
    """

    ids: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    predicted: list[np.ndarray] = field(default_factory=list)
    visible: list[np.ndarray] = field(default_factory=list)
    angles: list[np.ndarray] = field(default_factory=list)
    landmarks: list[np.ndarray] = field(default_factory=list)
    visibility: list[np.ndarray] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    fit_pose: list[np.ndarray] = field(default_factory=list)
    own_pose: list[np.ndarray] = field(default_factory=list)
    schemes: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    mean_squares: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    squares: list[Square] = field(default_factory=list)
    cut: list[Callable[[], np.ndarray]] = field(default_factory=list)
    faces: int = 0
    seconds: float = 0.0


def collect_store(
    aligner: Aligner, data: StoreRows, rows: np.ndarray, kind: str | None, batch_size: int, out: Collected
) -> None:
    """Align rows of a store, in their order."""
    fit_pose, own_pose = data.store.read("faces/pose"), data.store.read("faces/dataset_pose")
    dataset_boxes = data.store.read("faces/dataset_box")
    schemes, ids = data.store.text("scheme"), data.store.text("id")
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
                out.fit_pose.append(fit_pose[source])
                out.own_pose.append(own_pose[source])
                out.ids.append(ids[source])
                out.subjects.append(data.subjects[source])
            out.cut.extend(partial(_row_again, data, row) for row in part)
            advance(len(part))
    out.faces += len(np.unique(data.source[rows]))


def collect_faces(
    aligner: Aligner, faces: list[Face], boxes: str, kind: str | None, batch_size: int, out: Collected
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
                    box = input_box(face, boxes, fits.get(i), leading_scheme(aligner.header.scheme), fitters)
                    square = square_of(box, aligner.header.grow, aligner.header.input_size)
                    image = read_image(face.image)
                    check_inside(face, image.shape)
                    crops.append(crop_image(image, square))
                except (ImageError, AnnotationError) as error:
                    failed.append(Skipped(face.id, str(error)))
                    continue
                part.append(face)
                squares.append(square)
                out.fit_pose.append(_pose(fits.get(i)))
            if part:
                _align(aligner, np.stack(crops), squares, [kind or face.kind for face in part], out)
                out.faces += len(part)
                out.cut.extend(partial(_face_again, *of) for of in zip(part, squares, strict=True))
                for face in part:
                    points, seen = to_scheme(face.landmarks, face.visibility, face.scheme, aligner.scheme)
                    out.landmarks.append(points)
                    out.visibility.append(seen)
                    out.schemes.append(face.scheme)
                    out.boxes.append(np.full(4, np.nan) if face.box is None else face.box)
                    out.own_pose.append(UNKNOWN if face.pose is None else face.pose)
                    out.ids.append(face.id)
                    out.subjects.append(face.subject)
            advance(len(batch))
    return failed


def _row_again(data: StoreRows, row: int) -> np.ndarray:
    return data.read_images(np.array([row]))[0]


def _face_again(face: Face, square: Square) -> np.ndarray:
    return crop_image(read_image(face.image), square)


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


def _pose(fit: np.ndarray | None) -> np.ndarray:
    return UNKNOWN if fit is None else pose_angles(fit[:8].reshape(2, 4))


def input_box(face: Face, boxes: str, fit: np.ndarray | None, scheme: str, fitters: Fitters) -> np.ndarray:
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
    if boxes == "jittered":
        return jittered_box(tight, face.id)
    yaw = bin_yaw(_pose(fit), UNKNOWN if face.pose is None else face.pose)
    if not np.isfinite(yaw):
        raise AnnotationError("too few labels to tell which way the face looks; use --boxes tight")
    how = BOXES[boxes]
    return jitter_box(detector_box(tight, np.array(yaw)), face_rng(JITTER_SEED, face.id, 0), how.shift, how.scale)


def jittered_box(tight: np.ndarray, face_id: str) -> np.ndarray:
    """The box of ``--boxes jittered``, of a face's tight one."""
    return jitter_box(tight, face_rng(JITTER_SEED, face_id, 0))


def _align(aligner: Aligner, crops: np.ndarray, squares: list[Square], kinds: list[str], out: Collected) -> None:
    start = time.perf_counter()
    result = aligner.align_crops(crops, kinds)
    out.seconds += time.perf_counter() - start
    out.kinds.extend(kinds)
    out.mean_squares.extend((result.params[-1, :, 8:] ** 2).mean(1).tolist())
    out.scores.extend(aligner.scores(result).tolist())
    out.squares.extend(squares)
    # Cutting out and scaling a square turns nothing: the crop's pose is the image's.
    out.angles.extend(pose_angles(result.params[-1, :, :8].astype(np.float64).reshape(-1, 2, 4)))
    for i, square in enumerate(squares):
        out.predicted.append(square.to_image(result.landmarks[:, i].astype(np.float64)))
        out.visible.append(result.visibility[i])


def bin_yaw(fit_pose: np.ndarray, own_pose: np.ndarray) -> float:
    """The labels' yaw, radians, that says which bin a face is in: the fit's, else the data set's, else NaN (none)."""
    return float(fit_pose[0] if np.isfinite(fit_pose[0]) else own_pose[0])
