"""``afw``: Annotated Faces in the Wild, 468 faces in 205 images with a box, 6 points where they are seen, and a pose.

The owners (Zhu and Ramanan, "Face detection, pose estimation, and landmark localization in the wild", CVPR 2012) keep
all labels in ``anno.mat`` beside the images: one cell array, a row an image, as public code reads it (with HDF5, so the
file is of version 7.3; older versions are read alike):

    anno{i,1}       the image's name
    anno{i,2}{k}    (2, 2) box of face k: x y of its upper left and of its lower right corner
    anno{i,3}{k}    its yaw, pitch and roll
    anno{i,4}{k}    (6, 2) points, x and y, NaN where a point is not seen

Pixels are MATLAB's, from 1, so 1 is subtracted. The paper names the points (centres of the eyes, tip of the nose,
corners and centre of the mouth), but not their order, and the angles, in steps of 15°, but not their signs; roll it has
as left, centre and right alone. All labels are in one file, so they can be asked: where the six points lie in the
middle of all faces tells which is which (``settled_order``), and an angle's sign is that with which it agrees with
where eyes, nose and mouth lie (``settled_signs``). Where too few faces tell, the order of ``afw6`` is assumed, and no
pose is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.matfile import read_mat
from pifa_data.readers.base import Format, Split, flag, inside

FILE = "anno.mat"
POINTS = 6

FEWEST = 20
"""Faces of which order and signs are told. The owners' file has 468."""

AGREES = 0.3
"""Correlation of an angle with its trace in the points from which on its sign is believed."""


@dataclass
class _Labelled:
    """One face as the file has it, but pixels from 0."""

    id: str
    image: str
    box: np.ndarray
    points: np.ndarray
    angles: np.ndarray


def read(path: Path) -> Iterator[Face | Skipped]:
    """Stream the faces, named ``1004109301_1`` by image and place.

    Args:
        path: ``anno.mat``, or the folder that has it, or its folder ``testimages``.
    """
    file = _file(path)
    if file is None:
        raise AnnotationError(f"{path}: expected AFW's folder, with {FILE} in it")
    labelled = list(_labelled(file))  # a megabyte; MATLAB's reader holds as much
    faces = [face for face in labelled if isinstance(face, _Labelled)]
    points = np.array([face.points for face in faces]).reshape(-1, POINTS, 2)
    order = settled_order(points)
    points = points[:, order]
    angles = np.array([face.angles for face in faces]).reshape(-1, 3)
    signs = settled_signs(points, angles)
    done = 0
    for face in labelled:
        if isinstance(face, Skipped):
            yield face
            continue
        seen = np.isfinite(points[done]).all(1)
        pose = None if signs is None or not np.isfinite(face.angles).all() else np.radians(face.angles) * signs
        yield Face(
            id=face.id,
            file=face.image,
            landmarks=np.where(seen[:, None], points[done], 0.0),
            visibility=np.where(seen, 2, 0).astype(np.uint8),
            scheme="afw6",
            kind="2d",
            box=face.box,
            subject=face.id.rpartition("_")[0],  # who it is isn't known
            split="test",
            pose=pose,
        )
        done += 1


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path
    return next((path / name for name in (FILE, f"testimages/{FILE}") if (path / name).is_file()), None)


def _labelled(file: Path) -> Iterator[_Labelled | Skipped]:
    anno = read_mat(file, ["anno"]).get("anno")
    if anno is None or anno.dtype != object or anno.ndim != 2 or anno.shape[1] != 4:
        found = "none of that name" if anno is None else f"{anno.dtype} {anno.shape}"
        raise AnnotationError(f"{file}: anno: expected cells (n, 4), found {found}")
    seen: set[str] = set()
    for number, row in enumerate(anno, 1):
        where = f"{file}: anno{{{number},"
        try:
            name = row[0]
            if not (isinstance(name, np.ndarray) and name.dtype.kind == "U" and name.size == 1):
                raise AnnotationError(f"expected the image's name, found {flag(name)}")
            image = inside(str(file.parent), str(name.ravel()[0]))
            stem = image[image.rfind("/") + 1 :].rpartition(".")[0] or image[image.rfind("/") + 1 :]
            if stem in seen:
                raise AnnotationError(f"the image {flag(stem)} has a row before")
            seen.add(stem)
            cells = [_cells(cell) for cell in row[1:]]
            if len({len(cell) for cell in cells}) != 1:
                boxes, poses, points = map(len, cells)
                raise AnnotationError(f"boxes of {boxes} faces, poses of {poses}, points of {points}")
        except AnnotationError as error:
            yield Skipped(f"row {number}", f"{where}1}}: {error}")
            continue
        for place, (box, angles, points) in enumerate(zip(*cells, strict=True), 1):
            id_ = f"{stem}_{place}"
            try:
                yield _Labelled(
                    id=id_,
                    image=image,
                    box=_numbers(box, 4, (2, 2), "a box").ravel() - 1.0,
                    points=_numbers(points, 2 * POINTS, (POINTS, 2), f"{POINTS} points") - 1.0,
                    angles=_numbers(angles, 3, (3,), "yaw, pitch and roll"),
                )
            except AnnotationError as error:
                yield Skipped(id_, f"{where}:}}{{{place}}}: {error}")


def _cells(value: object) -> list[object]:
    if isinstance(value, np.ndarray) and value.dtype == object:
        return list(value.ravel())
    # One face's array, not in a cell.
    return [value] if isinstance(value, np.ndarray) and value.size else []


def _numbers(value: object, size: int, shape: tuple[int, ...], what: str) -> np.ndarray:
    if not (isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.size == size):
        raise AnnotationError(f"expected {what}, found {flag(value)}")
    if len(shape) == 2 and value.shape != shape:
        if value.shape != shape[::-1]:
            raise AnnotationError(f"expected {what} as an array {shape}, found one {value.shape}")
        value = value.T
    return value.astype(np.float64).reshape(shape)


def settled_order(points: np.ndarray) -> np.ndarray:
    """Which of the file's points each point of ``afw6`` is: ``(6,)`` numbers.

    In the middle of all faces that show all six points, the two uppermost are the eyes, then comes the nose, and the
    other three are the mouth; each goes from the image's left, which is the subject's right, to its right.

    Args:
        points: ``(n, 6, 2)`` pixels, NaN where not seen.
    """
    whole = points[np.isfinite(points).all((1, 2))]
    if len(whole) < FEWEST:
        return np.arange(POINTS)
    away = whole - whole.mean(1, keepdims=True)
    size = np.sqrt((away**2).sum((1, 2), keepdims=True))
    middle = np.median(away / np.maximum(size, 1e-9), axis=0)
    down = np.argsort(middle[:, 1], kind="stable")
    parts = (down[:2], down[2:3], down[3:])
    return np.concatenate([part[np.argsort(middle[part, 0], kind="stable")] for part in parts])


def settled_signs(points: np.ndarray, angles: np.ndarray) -> np.ndarray | None:
    """``(3,)`` what to multiply yaw, pitch and roll with; None where one of them is in doubt, or no angle in degrees.

    Args:
        points: ``(n, 6, 2)`` pixels in the order of ``afw6``, NaN where not seen.
        angles: ``(n, 3)`` as they are.
    """
    whole = np.isfinite(points).all((1, 2)) & np.isfinite(angles).all(1)
    if whole.sum() < FEWEST or np.abs(angles[whole]).max(0).min() < 5 or np.abs(angles[whole]).max() > 180:
        return None
    x, y = np.moveaxis(points[whole], 2, 0)
    eyes = np.stack([x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], 1)
    apart = np.maximum(np.hypot(eyes[:, 0], eyes[:, 1]), 1e-9)
    across = eyes / apart[:, None]
    nose = np.stack([x[:, 2] - x[:, :2].mean(1), y[:, 2] - y[:, :2].mean(1)], 1) / apart[:, None]
    mouth = np.stack([x[:, 4] - x[:, :2].mean(1), y[:, 4] - y[:, :2].mean(1)], 1) / apart[:, None]
    below = np.stack([-across[:, 1], across[:, 0]], 1)
    drop = (mouth * below).sum(1)
    traces = (
        -(nose * across).sum(1),  # yaw > 0: the nose to the image's left
        -(nose * below).sum(1) / np.where(np.abs(drop) < 1e-3, 1e-3, drop),  # pitch > 0: the nose towards the eyes
        np.arctan2(across[:, 1], across[:, 0]),  # roll > 0: the head's top to the image's right, its left eye down
    )
    signs = np.zeros(3)
    for i, trace in enumerate(traces):
        if trace.std() < 1e-9:
            return None
        agreement = np.corrcoef(trace, angles[whole, i])[0, 1]
        if not abs(agreement) >= AGREES:
            return None
        signs[i] = np.sign(agreement)
    return signs


FORMAT = Format(
    name="afw",
    layout=f"AFW's folder, with {FILE} beside its 205 images",
    read=read,
    schemes=("afw6",),
    tried="layout",
    matches=lambda path: path.name == FILE or (path.is_dir() and _file(path) is not None),
    splits={"test": Split("every face; it is a test set alone", 468)},
    licence="Not stated; the images are Flickr's users'.",
    citation="""@inproceedings{zhu2012face,
  title={Face Detection, Pose Estimation, and Landmark Localization in the Wild},
  author={Zhu, Xiangxin and Ramanan, Deva},
  booktitle={IEEE Conference on Computer Vision and Pattern Recognition},
  pages={2879--2886},
  year={2012}
}""",
    homepage="https://www.ics.uci.edu/~xzhu/face/",
    normaliser="mape",
)
