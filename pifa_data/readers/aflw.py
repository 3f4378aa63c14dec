"""``aflw``: AFLW's own database ``aflw.sqlite``, with 21 points where they are seen, boxes and poses.

The owner's toolkit (C++ and MATLAB, in the data set's own archive; a copy is at github.com/hardegg/aflw) reads and
writes these tables, and so tells what they mean:

    Faces              face_id, file_id                     one row a face
    FaceImages         file_id, filepath, width, height     filepath below ``flickr``, as ``0/image00002.jpg``
    FaceRect           face_id, x, y, w, h                  pixels, from the labelled points, rounded
    FacePose           face_id, roll, pitch, yaw            radians, from the labelled points and a mean face
    FeatureCoords      face_id, feature_id, x, y            only points that are seen have a row
    FeatureCoordTypes  feature_id, descr                    the 21 points by number and name (and some never used)

Pixels are taken as they are: the toolkit's annotator (``gui/src/ImageViewer.cpp``) stores where an image was clicked in
Qt's frame, which begins at 0 with the image, and draws it with OpenCV unchanged. So nothing counts from 1, as MATLAB
would. (Qt has 0 at the edge of the first pixel and OpenCV in its middle; depending on how far the annotator had zoomed
in, points lie up to half a pixel too far to the right and down.)

Poses: the toolkit (``FaceStuffCalculator.cpp``, ``main_window.cpp``) has R = Rz(yaw)·Ry(pitch)·Rx(roll) in axes
forward, right, up: yaw turns last, whereas in the project's order it turns first. ``project_poses`` converts.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers.base import Format, Split, flag, inside
from pifa_data.readers.sqlite import Database, Row

NAMES = (
    *("LeftBrowLeftCorner", "LeftBrowCenter", "LeftBrowRightCorner"),
    *("RightBrowLeftCorner", "RightBrowCenter", "RightBrowRightCorner"),
    *("LeftEyeLeftCorner", "LeftEyeCenter", "LeftEyeRightCorner"),
    *("RightEyeLeftCorner", "RightEyeCenter", "RightEyeRightCorner"),
    *("LeftEar", "NoseLeft", "NoseCenter", "NoseRight", "RightEar"),
    *("MouthLeftCorner", "MouthCenter", "MouthRightCorner", "ChinCenter"),
)
"""The points by their names in FeatureCoordTypes, in the order of their numbers (1 to 21) and of ``aflw21``."""

TABLES = {
    "Faces": ("face_id", "file_id"),
    "FaceImages": ("file_id", "filepath", "width", "height"),
    "FaceRect": ("face_id", "x", "y", "w", "h"),
    "FacePose": ("face_id", "roll", "pitch", "yaw"),
    "FeatureCoords": ("face_id", "feature_id", "x", "y"),
    "FeatureCoordTypes": ("feature_id", "descr"),
}

PLACES = ("aflw.sqlite", "data/aflw.sqlite", "aflw/data/aflw.sqlite", "aflw/aflw.sqlite")
"""Where the database lies in a folder that is given instead of it."""

BLOCK = 512
"""Faces made together."""

CHUNK = 8192
"""Points fetched together."""

LARGEST_ID = 2**47
"""Numbers of faces below it leave room for a feature's number in 53 bits."""

_FEATURES = 32
"""Numbers of features, 0 to 31, that have room in a key beside the face's."""

_FACES = """
    SELECT f.face_id, i.filepath, i.width, i.height, r.x, r.y, r.w, r.h, p.yaw, p.pitch, p.roll, f.file_id
    FROM Faces f
    LEFT JOIN FaceImages i ON i.file_id = f.file_id
    LEFT JOIN FaceRect r ON r.face_id = f.face_id
    LEFT JOIN FacePose p ON p.face_id = f.face_id
    ORDER BY f.face_id
"""

# One number for face and feature, as each column costs a fifth of a row's time. The comparisons leave out what is no
# number, too: texts and blobs are larger than any.
_POINTS = f"""
    SELECT face_id * {_FEATURES} + feature_id, x, y FROM FeatureCoords
    WHERE face_id BETWEEN {-LARGEST_ID} AND {LARGEST_ID} AND feature_id BETWEEN 0 AND {_FEATURES - 1}
    ORDER BY face_id
"""


def read(path: Path, images: str | None = None) -> Iterator[Face | Skipped]:
    """Stream the faces in the order of their numbers, which are their names.

    Args:
        path: the database, or a folder that has it at one of ``PLACES``.
        images: the folder ``flickr``; by default beside the database.
    """
    file = database_file(path)
    if file is None:
        raise AnnotationError(f"{path}: expected AFLW's database, or a folder with it as {' or '.join(PLACES[:2])}")
    root = images or images_folder(file)
    with Database(file, TABLES) as database:
        index = _feature_index(database)
        points = _Points(database.blocks(_POINTS, CHUNK))
        rows = face_rows(database)
        while block := list(itertools.islice(rows, BLOCK)):
            yield from _faces(block, root, points, index, file)
        lost = points.rest()
        if lost:
            yield Skipped("FeatureCoords", f"{file}: {lost} points of faces that are not in table Faces")


def database_file(path: Path) -> Path | None:
    """The database that a path names, or None."""
    if path.is_file():
        return path
    return next((path / place for place in PLACES if (path / place).is_file()), None)


def images_folder(file: Path) -> str:
    """Where the images are: ``flickr`` beside the database, or, where that is missing, in ``data``."""
    folders = [file.parent / "flickr", file.parent / "data" / "flickr"]
    return str(next((folder for folder in folders if folder.is_dir()), folders[0]))


def face_rows(database: Database) -> Iterator[Row]:
    """Stream one row a face: number, path, width, height, x, y, w, h, yaw, pitch, roll, file_id; None where missing."""
    # Where a face has two boxes, it is the same one always, whatever SQLite's plan.
    for _, same in itertools.groupby(database.rows(_FACES), operator.itemgetter(0)):
        yield functools.reduce(lambda kept, row: row if repr(row) < repr(kept) else kept, same)


def project_poses(angles: np.ndarray) -> np.ndarray:
    """AFLW's yaw, pitch and roll ``(..., 3)`` in the project's order and signs, radians.

    AFLW's angles make R = Ry(−yaw)·Rx(−pitch)·Rz(roll) in the model frame, the project's Rz(−roll)·Rx(−pitch)·Ry(−yaw).
    Measured on 4,000 faces, to whose MERL-RAV labels builtin was fitted: the rotations differ by 11.6° (median; 18.7°
    for faces turned by more than 50°), by more with any other order and signs of the three. With AFLW's angles taken
    over in the project's order, roll with a minus, it is 13.2° (25.6°).
    """
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (-angles[..., 0], -angles[..., 1], angles[..., 2]))
    pitch = -np.arcsin(np.clip(sy * sr + cy * sp * cr, -1, 1))
    yaw = -np.arctan2(sy * cr - cy * sp * sr, cy * cp)
    roll = -np.arctan2(cy * sr - sy * sp * cr, cp * cr)
    return np.stack([yaw, pitch, roll], axis=-1)


def boxes_of(values: np.ndarray) -> np.ndarray:
    """x, y, w, h ``(n, 4)`` to ``x0, y0, x1, y1``."""
    boxes = values.copy()
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def numbers_of(rows: list[Row], columns: slice) -> tuple[np.ndarray, dict[int, str]]:
    """Columns of rows as float64, NaN where they are missing, and what is wrong with which row."""
    width = columns.stop - columns.start
    try:
        return np.array([row[columns] for row in rows], dtype=np.float64).reshape(len(rows), width), {}
    except (TypeError, ValueError, OverflowError):
        pass
    values, bad = np.full((len(rows), width), np.nan), {}
    for i, row in enumerate(rows):
        try:
            values[i] = row[columns]
        except (TypeError, ValueError, OverflowError):
            bad[i] = f"expected {width} numbers, found {flag(row[columns])}"
    return values, bad


def poses_of(angles: np.ndarray) -> np.ndarray:
    """The project's poses of AFLW's ``(n, 3)``; NaN where AFLW has none, or no angles."""
    known = (np.abs(angles) <= 2 * np.pi).all(1)[:, None]  # false for NaN
    return np.where(known, project_poses(np.where(known, angles, 0.0)), np.nan)


def _feature_index(database: Database) -> np.ndarray:
    """``(32,)`` place in the scheme of each feature's number, −1 for those that are none of the 21."""
    places = {name.encode(): place for place, name in enumerate(NAMES)}
    found = {
        row[0]: places[row[1]]
        for row in database.rows("SELECT feature_id, descr FROM FeatureCoordTypes")
        if row[1] in places
    }
    if len(found) != len(NAMES) or not all(isinstance(n, int) and 0 <= n < _FEATURES for n in found):
        found = {place + 1: place for place in range(len(NAMES))}  # the numbers alone say it, too
    index = np.full(_FEATURES, -1, np.int64)
    index[list(found)] = list(found.values())
    return index


class _Points:
    """The rows of FeatureCoords in the order of their faces, taken by block of faces."""

    def __init__(self, chunks: Iterator[list[Row]]) -> None:
        self._chunks = chunks
        self._keys = np.empty(0, np.int64)
        self._points = np.empty((0, 2))
        self._lost = 0

    def take(self, ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Points of faces ``(n,)`` int64, ascending: place of the face, feature's number, ``(m, 2)`` pixels, by chunk.

        Points of faces before the last that are not among them are counted as lost.
        """
        end = (ids[-1] + 1) * _FEATURES
        while True:
            count = int(np.searchsorted(self._keys, end))
            keys, points = self._keys[:count], self._points[:count]
            self._keys, self._points = self._keys[count:], self._points[count:]
            faces = keys // _FEATURES
            places = np.minimum(np.searchsorted(ids, faces), len(ids) - 1)
            known = ids[places] == faces
            if not known.all():
                self._lost += int((~known).sum())
                keys, points, places = keys[known], points[known], places[known]
            yield places, keys % _FEATURES, points
            if len(self._keys) or not self._fill():
                return

    def rest(self) -> int:
        """How many points were of no face at all."""
        self._lost += len(self._keys)
        while self._fill():
            self._lost += len(self._keys)
        return self._lost

    def _fill(self) -> bool:
        rows = next(self._chunks, None)
        if rows is None:
            return False
        try:
            values = np.fromiter(itertools.chain.from_iterable(rows), np.float64, 3 * len(rows)).reshape(-1, 3)
        except (TypeError, ValueError, OverflowError):
            values, _ = numbers_of(rows, slice(0, 3))  # what is no number is NaN, and its face is refused for it
            values = values[np.isfinite(values[:, 0])]
        self._keys, self._points = np.floor(values[:, 0]).astype(np.int64), values[:, 1:]
        return True


def _faces(block: list[Row], root: str, points: _Points, index: np.ndarray, file: Path) -> Iterator[Face | Skipped]:
    for row in block:
        if not (isinstance(row[0], int) and abs(row[0]) < LARGEST_ID):
            yield Skipped("Faces", f"{file}: table Faces: expected whole numbers as face_id, found {flag(row[0])}")
    block = [row for row in block if isinstance(row[0], int) and abs(row[0]) < LARGEST_ID]
    if not block:
        return
    landmarks = np.zeros((len(block), len(NAMES), 2))
    visibility = np.zeros((len(block), len(NAMES)), np.uint8)
    for places, features, found in points.take(np.array([row[0] for row in block])):
        slots = index[features]
        if slots.min(initial=0) < 0:
            places, slots, found = places[slots >= 0], slots[slots >= 0], found[slots >= 0]
        landmarks[places, slots] = found
        visibility[places, slots] = 2
    rects, bad = numbers_of(block, slice(4, 8))
    angles, _ = numbers_of(block, slice(8, 11))
    made = zip(block, landmarks, visibility, _known(boxes_of(rects)), _known(poses_of(angles)), strict=True)
    for number, (row, face_points, seen, box, pose) in enumerate(made):
        id_ = str(row[0])
        try:
            image = image_path(root, row[1])
        except AnnotationError as error:
            yield Skipped(id_, f"{file}: face {id_}, file_id {flag(row[11])}: {error}")
            continue
        if number in bad:
            yield Skipped(id_, f"{file}: face {id_}: table FaceRect: {bad[number]}")
            continue
        width, height = row[2], row[3]
        yield Face(
            id=id_,
            file=image,
            landmarks=face_points,
            visibility=seen,
            scheme="aflw21",
            kind="2d",
            box=box,
            # Who it is isn't known; faces of one photograph stay on one side of a split.
            subject=subject_of(image),
            subsets=("full",),
            pose=pose,
            image_size=(width, height) if _size(width) and _size(height) else None,
        )


def _known(rows: np.ndarray) -> list[np.ndarray | None]:
    """The rows, None for those of which nothing is known."""
    missing = np.isnan(rows).all(1).tolist()
    return [None if none else row for row, none in zip(rows, missing, strict=True)]


def image_path(root: str, name: object) -> str:
    """``root/name``, of a name as the database has it.

    Raises:
        AnnotationError: no name, no text, or one that leads out of the folder.
    """
    if not isinstance(name, bytes):
        raise AnnotationError(f"table FaceImages: expected the image's filepath, found {flag(name)}")
    try:
        return inside(root, name.decode())
    except UnicodeDecodeError:
        raise AnnotationError(f"table FaceImages: the filepath {flag(name)} is not UTF-8") from None


def subject_of(image: str) -> str:
    """``image00002`` of ``…/0/image00002.jpg``: the same in all data sets made from AFLW's images."""
    name = image[image.rfind("/") + 1 :]
    return name[: name.rfind(".")] if "." in name else name


def _size(value: object) -> bool:
    return isinstance(value, int) and 0 < value <= 100_000


def _matches(path: Path) -> bool:
    try:
        file = database_file(path)
        if file is None or (file == path and path.suffix not in (".sqlite", ".sqlite3", ".db")):
            return False
        with file.open("rb") as opened:
            return opened.read(16) == b"SQLite format 3\0"
    except (OSError, ValueError):
        return False


FORMAT = Format(
    name="aflw",
    layout="AFLW's folder, or its aflw.sqlite (also in data), with the images in flickr/{0,2,3} beside it",
    read=read,
    schemes=("aflw21",),
    tried="layout",
    matches=_matches,
    splits={"full": Split("every face; the owner has no training and test sets", 25_993)},
    options={"images": "the folder flickr (or any with 0, 2 and 3 in it); by default beside the database"},
    licence="Research only, no redistribution; to be had from the owner on request.",
    citation="""@inproceedings{koestinger2011aflw,
  title={Annotated Facial Landmarks in the Wild: A Large-scale, Real-world Database for Facial Landmark Localization},
  author={K{\\"o}stinger, Martin and Wohlhart, Paul and Roth, Peter M. and Bischof, Horst},
  booktitle={IEEE International Conference on Computer Vision Workshops},
  pages={2144--2151},
  year={2011}
}""",
    homepage="https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/aflw/",
    normaliser="box",
)
