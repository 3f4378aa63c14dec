"""From labelled faces to rows of a store: fit, jitter, crop. A row depends on (seed, face, copy) alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from pifa_data.boxes import GROW, JITTER_SCALE, JITTER_SHIFT, box_size, face_rng, jitter_box, square_of, tight_box
from pifa_data.camera import crop_camera, decompose, pose_angles
from pifa_data.errors import AnnotationError, ImageError
from pifa_data.faces import Face
from pifa_data.fitting import Fits, Fitters, LandmarkFitter, landmarks_of
from pifa_data.images import CropSource, read_image
from pifa_data.schemes import get_scheme, leading_scheme, to_scheme

OUTSIDE = 0.5
"""Share of labelled points outside the image beyond which labels and image do not belong together."""

FAR = 0.5
"""How far outside a single point may be, as a share of the image's side; farther is a slip, not a guess."""

SMALLEST_FACE = 4.0
"""Pixels, √(w·h) of the box: a crop of less shows no face, but labels in other units than pixels can be so small."""

WILD = 15.0
"""Distance of a label from its fitted point, in units of the scheme's noise, beyond which it is a slip and not a label:
it would spoil the box, the crop and the loss. It is an eighth of the face; 8 labels of ytf68's 224,536 (of two faces)
and 0.06 % of MERL-RAV's are as far."""

WORST_FIT = 25.0
"""Percent of the tight box. Of ytf68's 3,302 faces all but one fit within 2.5 %, and that one within 8 %; labels of no
face at all give 30 % and more. A single slipped point is let go by the fit and hardly shows here."""


@dataclass(frozen=True)
class PrepConfig:
    """What decides the content of a store, beside the faces and the morphable model.

    Attributes:
        scheme: landmark scheme of the store, a single one or a union (``ibug68+aflw21``); None for that of the faces.
        copies: crops a face; copy 0 is the unjittered box.
        size: side of a crop, pixels.
        seed: of the jitter and of the order of faces and rows.
        boxes: ``tight`` (around the labelled points) or ``dataset`` (the data set's own).
        grow: side of the crop over √(w·h) of the box.
        jitter_shift, jitter_scale: see ``jitter_box``.
        landmarks: ``2d``, ``3d``, or None for what each face's reader says.
    """

    scheme: str | None = None
    copies: int = 20
    size: int = 114
    seed: int = 0
    boxes: str = "tight"
    grow: float = GROW
    jitter_shift: float = JITTER_SHIFT
    jitter_scale: float = JITTER_SCALE
    landmarks: str | None = None

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Rows:
    """Crops and face table of one shard, arrays named as in the store (see ``store.py``)."""

    crops: dict[str, np.ndarray]
    faces: dict[str, np.ndarray]
    failures: dict[int, str]
    """Position of a face that failed, and why; its rows are not valid."""


def fit_faces(faces: list[Face], fitter: LandmarkFitter, mirrored: bool = False) -> Fits:
    """Fit each face by its own landmark kind.

    With ``mirrored``, x is turned over to −x and each label takes its mirror image's number: the labels of the
    flipped image, in the frame where the flip is about x = 0.
    """
    landmarks = np.stack([face.landmarks for face in faces])
    visibility = np.stack([face.visibility for face in faces])
    if mirrored:
        order = get_scheme(faces[0].scheme).mirror
        landmarks, visibility = landmarks[:, order] * [-1.0, 1.0], visibility[:, order]
    kinds = np.array([face.kind for face in faces])
    rows: dict[str, np.ndarray] = {}
    for kind in np.unique(kinds):
        at = np.flatnonzero(kinds == kind)
        fits = fitter.fit(landmarks[at], visibility[at], str(kind))
        for field in fields(Fits):
            part = getattr(fits, field.name)
            rows.setdefault(field.name, np.empty((len(faces), *part.shape[1:]), part.dtype))[at] = part
    return Fits(**rows)


def without_slips(faces: list[Face], fits: Fits, fitter: LandmarkFitter) -> np.ndarray:
    """Visibility ``(F, L)`` uint8 of the labels, 0 for those that lie ``WILD`` from where the fit has them."""
    visibility = np.stack([face.visibility for face in faces])
    away = np.linalg.norm(np.stack([face.landmarks for face in faces]) - fits.landmarks, axis=2)
    return np.where(is_slip(away, fits.cameras, fitter), 0, visibility).astype(np.uint8)


def is_slip(away: np.ndarray, cameras: np.ndarray, fitter: LandmarkFitter) -> np.ndarray:
    """``(F, L)`` bool: labels that lie ``away`` from where the fit has them (pixels) by ``WILD`` and more."""
    scale, _, _ = decompose(cameras)
    # Not "~(away <= …)": a fit that failed (NaN) says nothing of the labels.
    return away > WILD * (fitter.sigma * scale)[:, None]


@dataclass(frozen=True)
class _Fitted:
    """Fits of F faces, and their labels in the store's scheme."""

    params: np.ndarray
    params_mirrored: np.ndarray
    nme: np.ndarray
    nme_mirrored: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    tight: np.ndarray


def _fit(faces: list[Face], scheme: str, fitters: Fitters) -> _Fitted:
    """Fit each face in its own scheme, let go of slips, and bring labels and tight box to the store's ``scheme``."""
    rows: dict[str, np.ndarray] = {}
    for own in sorted({face.scheme for face in faces}):
        at = [f for f, face in enumerate(faces) if face.scheme == own]
        part, fitter = [faces[f] for f in at], fitters(own)
        fits, mirrored = fit_faces(part, fitter), fit_faces(part, fitter, mirrored=True)
        labels = np.stack([face.landmarks for face in part])
        seen = without_slips(part, fits, fitter)
        landmarks, visibility = to_scheme(labels, seen, own, scheme)
        found = {
            "params": fits.params,
            "params_mirrored": mirrored.params,
            "nme": fits.nme,
            "nme_mirrored": mirrored.nme,
            "landmarks": landmarks,
            "visibility": visibility,
            "tight": tight_boxes(part, seen, fits.params, leading_scheme(scheme), fitters),
        }
        for name, array in found.items():
            rows.setdefault(name, np.empty((len(faces), *array.shape[1:]), array.dtype))[at] = array
    return _Fitted(**rows)


def tight_boxes(
    faces: list[Face], visibility: np.ndarray, params: np.ndarray, scheme: str, fitters: Fitters
) -> np.ndarray:
    """The box around each face's landmarks, of faces of one scheme: ``(F, 4)`` float64 pixels.

    Around the labels, where the face has those of ``scheme``; of another scheme's (which may have no jaw, or have ears)
    around the fitted points of ``scheme``, so that a box means the same crop on every face.

    Args:
        visibility: ``(F, L)`` uint8, which labels count.
        params: ``(F, 8 + K)`` fits, image pixels.
    """
    if faces[0].scheme == scheme:
        nothing = np.full(4, np.nan)  # where every label is a slip
        pairs = zip(faces, visibility, strict=True)
        return np.stack([tight_box(face.landmarks, seen) if seen.any() else nothing for face, seen in pairs])
    boxes = np.empty((len(faces), 4))
    for f, face in enumerate(faces):
        points = landmarks_of(fitters.model, scheme, params[f : f + 1], face.kind)[0]
        boxes[f] = tight_box(points, np.ones(len(points)))
    return boxes


def build_rows(faces: list[Face], config: PrepConfig, fitters: Fitters, root: Path = Path()) -> Rows:
    """Everything a store holds of ``faces``: F·copies crop rows, face by face, and F rows of the face table.

    Relative image paths are looked up from ``root``.
    """
    if config.landmarks is not None:
        faces = [replace(face, kind=config.landmarks) for face in faces]
    scheme = config.scheme or faces[0].scheme
    fitted = _fit(faces, scheme, fitters)
    n, copies, size = len(faces), config.copies, config.size
    points, width = fitted.visibility.shape[1], fitted.params.shape[1]
    crops: dict[str, np.ndarray] = {
        "images": np.zeros((n, copies, size, size, 3), np.uint8),
        "params": np.zeros((n, copies, width), np.float32),
        "landmarks": np.zeros((n, copies, points, 2), np.float32),
        "visibility": np.zeros((n, copies, points), np.uint8),
        "boxes": np.zeros((n, copies, 4), np.float32),
        "valid": np.zeros((n, copies), bool),
        "source": np.zeros((n, copies), np.int64),  # position in this shard; the store adds its offset
        "copy": np.broadcast_to(np.arange(copies, dtype=np.int16), (n, copies)).copy(),
    }
    boxes = np.zeros((n, 4), np.float32)
    failures: dict[int, str] = {}
    for f, face in enumerate(faces):
        crops["source"][f] = f
        try:
            box = fitted.tight[f] if config.boxes == "tight" else face.box
            if box is None:
                raise ImageError("the data set gives no box for this face; use --boxes tight")
            if not box_size(box[None])[0] >= SMALLEST_FACE:
                raise AnnotationError(
                    f"the face is smaller than {SMALLEST_FACE:.0f} pixels; expected landmarks in the image's pixels"
                )
            if not fitted.visibility[f].any():
                raise AnnotationError(f"none of the labelled points of {face.scheme} is one of {scheme}'s")
            if not fitted.nme[f] <= WORST_FIT:
                raise AnnotationError(
                    f"the landmarks are no face's: the best fit misses them by {fitted.nme[f]:.0f} % of the tight box"
                )
            image = read_image(root / face.image)
            check_inside(face, image.shape)
        except (ImageError, AnnotationError) as error:
            failures[f] = str(error)
            continue
        boxes[f] = box
        source = CropSource(image, square_of(box, config.grow, size))
        m = fitted.params[f, :8].reshape(2, 4)
        for copy in range(copies):
            rng = face_rng(config.seed, face.id, copy)
            jittered = box if copy == 0 else jitter_box(box, rng, config.jitter_shift, config.jitter_scale)
            square = square_of(jittered, config.grow, size)
            crops["images"][f, copy] = source.crop(square)
            crops["params"][f, copy, :8] = crop_camera(m, square).ravel()
            crops["params"][f, copy, 8:] = fitted.params[f, 8:]
            labelled = fitted.visibility[f, :, None] > 0
            crops["landmarks"][f, copy] = np.where(labelled, square.to_crop(fitted.landmarks[f]), 0)
            crops["visibility"][f, copy] = fitted.visibility[f]
            crops["boxes"][f, copy] = jittered
            crops["valid"][f, copy] = True
    table = {
        "box": boxes,
        "dataset_box": np.stack([np.full(4, np.nan) if f.box is None else f.box for f in faces]).astype(np.float32),
        "dataset_pose": np.stack([np.full(3, np.nan) if f.pose is None else f.pose for f in faces]).astype(np.float32),
        "landmarks": fitted.landmarks.astype(np.float32),
        "visibility": fitted.visibility,
        "params": fitted.params.astype(np.float32),
        "params_mirrored": fitted.params_mirrored.astype(np.float32),
        "fit_nme": fitted.nme.astype(np.float32),
        "fit_nme_mirrored": fitted.nme_mirrored.astype(np.float32),
        "pose": pose_angles(fitted.params[:, :8].reshape(-1, 2, 4)).astype(np.float32),
        "valid": np.array([f not in failures for f in range(n)]),
    }
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in crops.items()}
    return Rows(flat, table, failures)


def mirror_params(params_mirrored: np.ndarray, boxes: np.ndarray, grow: float, size: int) -> np.ndarray:
    """P of the left-right flipped crop, from the fit of the mirrored labels.

    Args:
        params_mirrored: ``(N, 8 + K)`` in the frame flipped about x = 0 (image pixels).
        boxes: ``(N, 4)`` the crops' boxes in the unflipped image.
        grow, size: as the crops were made.

    Returns:
        ``(N, 8 + K)`` float32, crop pixels of the flipped crop.
    """
    # The flipped crop is the crop of the flipped box: x0, x1 → −x1, −x0; scale and middle stay.
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])) * grow
    k = size / sides
    centre = np.stack([-(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2], axis=1)
    out = params_mirrored.copy()
    m = out[:, :8].reshape(-1, 2, 4) * k[:, None, None]
    m[..., 3] += (size - 1) / 2 - k[:, None] * centre
    out[:, :8] = m.reshape(-1, 8)
    return out


def check_inside(face: Face, shape: tuple[int, ...]) -> None:
    """Check that labels and image belong together.

    Raises:
        AnnotationError: most points outside the image of ``shape`` (H, W, …), or one of them far outside.
    """
    points = face.landmarks[face.visibility > 0]
    sides = np.array([shape[1], shape[0]], dtype=np.float64)
    beyond = np.maximum(-0.5 - points, points - (sides - 0.5)) / sides
    outside = (beyond > 0).any(1).mean()
    size = f"the image of {shape[1]}x{shape[0]} pixels"
    if outside > OUTSIDE:
        raise AnnotationError(f"{face.image}: {outside:.0%} of the landmarks lie outside {size}")
    if beyond.max() > FAR:
        raise AnnotationError(f"{face.image}: a landmark lies far outside {size}")
