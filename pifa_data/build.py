"""From labelled faces to rows of a store: fit, jitter, crop. A row depends on (seed, face, copy) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.boxes import (
    BOXES,
    GROW,
    JITTER_SCALE,
    JITTER_SHIFT,
    Square,
    box_size,
    detector_box,
    face_rng,
    jitter_box,
    square_of,
)
from pifa_data.camera import pose_angles
from pifa_data.crop_rows import crop_landmarks, crop_params, flip_landmarks, mirror_params
from pifa_data.errors import AnnotationError, ImageError
from pifa_data.faces import Face
from pifa_data.fitting import Fitters
from pifa_data.images import CropSource, read_images
from pifa_data.labels import SMALLEST_FACE, WORST_FIT, Fitted, check_inside, fit_labels
from pifa_data.schemes import get_scheme
from pifa_data.store import FACES_A_SHARD, TEXTS, Layout
from pifa_data.urls import join


@dataclass(frozen=True)
class PrepConfig:
    """What decides the content of a store, beside the faces and the morphable model.

    Attributes:
        scheme: landmark scheme of the store, a single one or a union (``ibug68+aflw21``); None for that of the faces.
        copies: crops a face; copy 0 is the unjittered box.
        size: side of a crop, pixels.
        seed: of the jitter and of the order of faces and rows.
        boxes: ``tight`` (around the labelled points), ``dataset`` (the data set's own) or ``detector`` (where a face
            detector's lies on average; give its noise as jitter, as ``for_boxes`` does).
        grow: side of the crop over √(w·h) of the box.
        jitter_shift, jitter_scale: see ``jitter_box``.
        landmarks: ``2d``, ``3d``, or None for what each face's reader says.
        mirror: as many copies again, flipped left to right, with the fit of the mirrored labels.
        layout: ``crops``, or ``faces``: one larger crop a face, from which the copies are cut when they are read.
        shard_faces: faces a shard, a multiple of 64 where chunks shall be whole.
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
    mirror: bool = False
    layout: str = "crops"
    shard_faces: int = FACES_A_SHARD

    @classmethod
    def for_boxes(cls, boxes: str, **given: Any) -> PrepConfig:
        """A configuration with the grow and the jitter that boxes of a kind have, where others are not given."""
        kind = BOXES[boxes]
        usual = {"grow": kind.grow, "jitter_shift": kind.shift, "jitter_scale": kind.scale}
        return cls(boxes=boxes, **usual | given)

    @property
    def rows_a_face(self) -> int:
        """Crops a face, mirrored ones counted."""
        return self.copies * (2 if self.mirror else 1)

    def as_dict(self) -> dict:
        return asdict(self)

    def layout_of(self, faces: int, params: int, text_widths: dict[str, int]) -> Layout:
        """The sizes of a store of so many faces; ``scheme`` must be known."""
        return Layout(
            faces=faces,
            copies=self.rows_a_face,
            size=self.size,
            points=len(get_scheme(str(self.scheme))),
            params=params,
            text_widths={name: max(1, text_widths[name]) for name in TEXTS},
            kind=self.layout,
            shard_faces=self.shard_faces,
        )


@dataclass(frozen=True)
class Rows:
    """The columns of one shard, named as in the store.

    Attributes:
        crops: columns outside the face table.
        faces: columns of the face table.
        failures: position of a face that failed, and why; its rows are not valid.
    """

    crops: dict[str, np.ndarray]
    faces: dict[str, np.ndarray]
    failures: dict[int, str]


def build_rows(
    faces: list[Face], config: PrepConfig, fitters: Fitters, root: str | Path = "", order: np.ndarray | None = None
) -> Rows:
    """Everything a store holds of ``faces`` but texts.

    Args:
        root: folder or URL that relative image paths are told from.
        order: where each crop row goes, of the rows face by face; where they are if None.
    """
    if config.landmarks is not None:
        faces = [replace(face, kind=config.landmarks) for face in faces]
    config = replace(config, scheme=config.scheme or faces[0].scheme)
    fitted = fit_labels(faces, str(config.scheme), fitters)
    crops = _Crops(config, fitted, order)
    boxes = np.zeros((len(faces), 4), np.float32)
    failures: dict[int, str] = {}
    usable = []
    for f, face in enumerate(faces):
        try:
            boxes[f] = _box(face, fitted, f, config)
            usable.append(f)
        except AnnotationError as error:
            failures[f] = str(error)
    for f, image in zip(usable, read_images([join(root, faces[f].file) for f in usable]), strict=True):
        try:
            if isinstance(image, ImageError):
                raise image
            check_inside(faces[f], image.shape)
        except (ImageError, AnnotationError) as error:
            failures[f] = str(error)
            boxes[f] = 0
            continue
        crops.add(f, faces[f].id, image, _box(faces[f], fitted, f, config))
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
        "profile": np.zeros(len(faces), np.float32),
        "valid": np.array([f not in failures for f in range(len(faces))]),
    }
    return Rows(crops.columns, table, dict(sorted(failures.items())))


def _box(face: Face, fitted: Fitted, f: int, config: PrepConfig) -> np.ndarray:
    """The unjittered box of a face.

    Raises:
        AnnotationError: it has none, or its labels are no face's.
    """
    box = face.box if config.boxes == "dataset" else fitted.tight[f]
    if config.boxes == "detector":
        box = detector_box(fitted.tight[f], pose_angles(fitted.params[f, :8].reshape(2, 4))[0])
    if box is None:
        raise AnnotationError("the data set gives no box for this face; use --boxes tight")
    if not box_size(box[None])[0] >= SMALLEST_FACE:
        raise AnnotationError(
            f"the face is smaller than {SMALLEST_FACE:.0f} pixels; expected landmarks in the image's pixels"
        )
    if not fitted.visibility[f].any():
        raise AnnotationError(f"none of the labelled points of {face.scheme} is one of {config.scheme}'s")
    if not fitted.nme[f] <= WORST_FIT:
        raise AnnotationError(
            f"the landmarks are no face's: the best fit misses them by {fitted.nme[f]:.0f} % of the tight box"
        )
    return box


class _Crops:
    """The crop rows of a shard, filled face by face."""

    def __init__(self, config: PrepConfig, fitted: Fitted, order: np.ndarray | None) -> None:
        n, copies = len(fitted.params), config.rows_a_face
        self._config, self._fitted = config, fitted
        # place[f, c] is the row of copy c of face f.
        place = np.arange(n * copies) if order is None else order
        self._place = place.reshape(n, copies)
        layout = config.layout_of(n, fitted.params.shape[1], dict.fromkeys(TEXTS, 1))
        self._large = layout.image_size
        self.columns = {
            name: np.zeros((n * copies if column.of == "crop" else n, *column.shape), column.dtype)
            for name, column in layout.columns().items()
            if not name.startswith("faces/")
        }
        # Positions in this shard; the store adds its offset.
        self.columns["source"][self._place] = np.arange(n)[:, None]
        self.columns["copy"][self._place] = np.arange(copies) % config.copies
        self.columns["mirrored"][self._place] = np.arange(copies) >= config.copies

    def add(self, f: int, face_id: str, image: np.ndarray, box: np.ndarray) -> None:
        config, fitted, columns, place = self._config, self._fitted, self.columns, self._place[f]
        boxes = np.stack(list(_jittered(config, face_id, box)))
        columns["boxes"][place] = boxes
        columns["valid"][place] = True
        square = square_of(box, config.grow, config.size)
        source = CropSource(image, square)
        if config.layout == "faces":
            scale = self._large / config.size
            columns["images"][f] = source.crop(Square(square.x, square.y, square.side * scale, self._large))
            return
        half = config.copies
        for copy, row in enumerate(place):
            crop = source.crop(square_of(boxes[copy], config.grow, config.size))
            columns["images"][row] = crop[:, ::-1] if copy >= half else crop
        params = np.broadcast_to(fitted.params[f], (half, fitted.params.shape[1]))
        landmarks = np.where(fitted.visibility[f, :, None] > 0, fitted.landmarks[f], 0)
        landmarks = crop_landmarks(
            np.broadcast_to(landmarks, (len(boxes), *landmarks.shape)), boxes, config.grow, config.size
        )
        columns["params"][place[:half]] = crop_params(params, boxes[:half], config.grow, config.size)
        columns["landmarks"][place] = landmarks
        columns["visibility"][place] = fitted.visibility[f]
        if config.mirror:
            mirror = get_scheme(str(config.scheme)).mirror
            params = np.broadcast_to(fitted.params_mirrored[f], params.shape)
            columns["params"][place[half:]] = mirror_params(params, boxes[half:], config.grow, config.size)
            columns["landmarks"][place[half:]] = flip_landmarks(landmarks[half:], mirror, config.size)
            columns["visibility"][place[half:]] = fitted.visibility[f][mirror]
        columns["landmarks"][place] *= (columns["visibility"][place] > 0)[..., None]  # 0 where not labelled


def _jittered(config: PrepConfig, face_id: str, box: np.ndarray) -> Iterator[np.ndarray]:
    """The boxes of a face's copies, in the unflipped image; the first, and the first mirrored one, are as they were."""
    for copy in range(config.rows_a_face):
        if copy % config.copies == 0:
            yield box
        else:
            rng = face_rng(config.seed, face_id, copy)
            yield jitter_box(box, rng, config.jitter_shift, config.jitter_scale)
