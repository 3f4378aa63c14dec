"""From labelled faces to rows of a store: fit, jitter, crop.

The random numbers of a row follow from (seed, face, copy) alone. The last bits of its fit, and of what follows from it,
depend on the faces that are fitted together (``docs/store.md``, *Repeatability*).
"""

from __future__ import annotations

import math
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
from pifa_data.views import ViewMaker, table_rows


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
        shard_faces: faces that are fitted together, since the last bits of a fit depend on those beside it. They are a
            shard; with ``profile`` several shards, so that none has more rows. A multiple of 64 where chunks shall be
            whole.
        profile: degrees, up to 90; each face also gets ``PROFILE_VIEWS`` views turned to yaws of up to so many.
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
    profile: float | None = None

    @property
    def views(self) -> int:
        """Rows of the face table for each face: itself, and its turned views."""
        return table_rows(self.profile)

    @property
    def own_faces(self) -> int:
        """Faces a shard, views not counted: with their views no more than ``shard_faces`` where that can be."""
        fitting = max(1, self.shard_faces // self.views)
        return max(n for n in range(1, fitting + 1) if self.shard_faces % n == 0)

    @classmethod
    def for_boxes(cls, boxes: str, **given: Any) -> PrepConfig:
        """A configuration with the grow and the jitter that boxes of a kind have, where others are not given."""
        kind = BOXES[boxes]
        usual = {"grow": kind.grow, "jitter_shift": kind.shift, "jitter_scale": kind.scale}
        return cls(boxes=boxes, **usual | given)

    @property
    def rows_a_face(self) -> int:
        """Crops of a face or view, mirrored ones counted."""
        return self.copies * (2 if self.mirror else 1)

    @property
    def edge_deviation(self) -> float:
        """Standard deviation of where an edge of a jittered crop lies, over the crop's side: of its centre, and of half
        the side, which is as √(w·h)."""
        return math.hypot(self.jitter_shift / self.grow, self.jitter_scale / math.sqrt(2) / 2)

    def as_dict(self) -> dict:
        return asdict(self)

    def layout_of(self, faces: int, params: int, text_widths: dict[str, int]) -> Layout:
        """The sizes of a store of so many faces; ``scheme`` must be known."""
        return Layout(
            faces=faces * self.views,
            copies=self.rows_a_face,
            size=self.size,
            points=len(get_scheme(str(self.scheme))),
            params=params,
            text_widths={name: max(1, text_widths[name]) for name in TEXTS},
            kind=self.layout,
            shard_faces=self.own_faces * self.views,
        )


@dataclass(frozen=True)
class Rows:
    """The columns of one shard, named as in the store.

    Attributes:
        crops: columns outside the face table.
        faces: columns of the face table; a face's views follow it.
        failures: position of a face that failed in the face table, and why; its rows are not valid.
    """

    crops: dict[str, np.ndarray]
    faces: dict[str, np.ndarray]
    failures: dict[int, str]


def build_rows(
    faces: list[Face],
    config: PrepConfig,
    fitters: Fitters,
    root: str | Path = "",
    order: np.ndarray | None = None,
    part: slice = slice(None),
) -> Rows:
    """Everything a store holds of faces but texts.

    Args:
        faces: all that are fitted together.
        part: those of them that are meant.
        root: folder or URL that relative image paths are told from.
        order: where each crop row goes, of the rows face by face; where they are if None.
    """
    if config.landmarks is not None:
        faces = [replace(face, kind=config.landmarks) for face in faces]
    config = replace(config, scheme=config.scheme or faces[0].scheme)
    fitted = fit_labels(faces, str(config.scheme), fitters).take(part)
    faces = faces[part]
    maker = _view_maker(config, fitters)
    # A view's row begins as its face's.
    rows = fitted.take(np.repeat(np.arange(len(faces)), config.views))
    crops = _Crops(config, rows, order)
    own = range(0, len(rows.params), config.views)
    boxes = np.zeros((len(rows.params), 4), np.float32)
    profile = np.zeros(len(boxes), np.float32)
    valid = np.zeros(len(boxes), bool)
    failures: dict[int, str] = {}
    usable = []
    for f, face in enumerate(faces):
        try:
            boxes[own[f]] = _box(face, fitted, f, config)
            usable.append(f)
        except AnnotationError as error:
            failures[own[f]] = str(error)
    for f, image in zip(usable, read_images([join(root, faces[f].file) for f in usable]), strict=True):
        row = own[f]
        try:
            if isinstance(image, ImageError):
                raise image
            check_inside(faces[f], image.shape)
        except (ImageError, AnnotationError) as error:
            failures[row] = str(error)
            boxes[row] = 0
            continue
        crops.add(row, faces[f].id, image, _box(faces[f], fitted, f, config))
        valid[row] = True
        for view in maker.views(faces[f], fitted, f, image) if maker else ():
            at = row + view.number
            for name in ("params", "params_mirrored", "landmarks", "visibility"):
                getattr(rows, name)[at] = getattr(view, name)
            boxes[at], profile[at], valid[at] = view.box, view.turn, True
            crops.add(at, view.id, view.image, view.box)
    table = {
        "box": boxes,
        "dataset_box": np.full((len(boxes), 4), np.nan, np.float32),
        "dataset_pose": np.full((len(boxes), 3), np.nan, np.float32),
        "landmarks": rows.landmarks.astype(np.float32),
        "visibility": rows.visibility,
        "params": rows.params.astype(np.float32),
        "params_mirrored": rows.params_mirrored.astype(np.float32),
        "fit_nme": rows.nme.astype(np.float32),
        "fit_nme_mirrored": rows.nme_mirrored.astype(np.float32),
        "pose": pose_angles(rows.params[:, :8].reshape(-1, 2, 4)).astype(np.float32),
        "profile": profile,
        "valid": valid,
    }
    for row, face in zip(own, faces, strict=True):
        table["dataset_box"][row] = np.nan if face.box is None else face.box
        table["dataset_pose"][row] = np.nan if face.pose is None else face.pose
    return Rows(crops.columns, table, dict(sorted(failures.items())))


def _view_maker(config: PrepConfig, fitters: Fitters) -> ViewMaker | None:
    if config.profile is None:
        return None
    return ViewMaker(
        fitters.model,
        str(config.scheme),
        largest=np.radians(config.profile),
        seed=config.seed,
        boxes=config.boxes,
        grow=config.grow,
        size=config.size,
    )


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
    """The crop rows of a shard, filled row by row of the face table."""

    def __init__(self, config: PrepConfig, fitted: Fitted, order: np.ndarray | None) -> None:
        n, copies = len(fitted.params), config.rows_a_face
        self._config, self._fitted = config, fitted
        # place[f, c] is the row of copy c of row f of the face table.
        place = np.arange(n * copies) if order is None else order
        self._place = place.reshape(n, copies)
        layout = config.layout_of(n // config.views, fitted.params.shape[1], dict.fromkeys(TEXTS, 1))
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
