"""From an annotation of COCO's form to a face; what differs from data set to data set stands in ``coco_json.py``."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face
from pifa_data.readers.base import flag, inside
from pifa_data.readers.rows import all_visible
from pifa_data.readers.w300 import part_of_image

MATLAB_BOX = "cofw29"
"""The scheme whose boxes count pixels from 1 where the points do not."""


@dataclass(frozen=True)
class Meaning:
    """How a file's numbers are read: number of values to scheme, ``2d`` or ``3d``, and the origin of the pixels."""

    schemes: dict[int, str]
    kind: str
    origin: float


class Record(NamedTuple):
    """One annotation, parsed.

    Attributes:
        name, size: the image's name, and its width and height if the file has them.
        number: of the annotation in the file, from 1.
        record: all that the file has of it.
        words: whether ``true`` or ``false`` stands somewhere in it.
    """

    name: str
    size: tuple[int, int] | None
    number: int
    record: dict[str, Any]
    words: bool


def face_of(found: Record, meaning: Meaning, root: str, split: str, subsets: tuple[str, ...]) -> Face | None:
    """The face of an annotation; None for a person of COCO-WholeBody whose face is not labelled.

    Args:
        found: the annotation.
        meaning: how its numbers are read.
        root: the images' folder.
        split, subsets: what the file's name says; of an image of 300W its path says it.

    Raises:
        AnnotationError: what is wrong with the annotation.
    """
    name, size, _, record, words = found
    id_ = record.get("id")
    if type(id_) is not int or abs(id_) >= 2**63:
        raise AnnotationError(f"id: expected a whole number, found {flag(id_)}")
    key, box_key = "keypoints", "bbox"
    if "face_kpts" in record:
        if not record.get("face_valid", True):
            return None
        key, box_key = "face_kpts", "face_box"
    values = record.get(key)
    scheme = meaning.schemes.get(len(values)) if type(values) is list else None
    if scheme is None or type(values) is not list:
        raise AnnotationError(_no_scheme(key, values, meaning))
    if words and bool in set(map(type, values)):  # which would do as 1 and 0
        raise AnnotationError(f"{key}: expected numbers, found true or false")
    landmarks, visibility = _points(key, values, scheme, meaning.origin)
    folder, _, file = name.rpartition("/")
    stem = file.rpartition(".")[0] or file
    if folder.endswith("/imgs") and stem.isdigit():
        stem = folder.removesuffix("/imgs")  # 300VW's 001/imgs/000017.png: frames of one video show one person
    part = part_of_image(folder, file) if scheme == "ibug68" else None
    if part is not None:
        split, subsets = part.split, part.subsets
    return Face(
        id=f"{name}#{id_}",
        file=inside(root, name),
        landmarks=landmarks,
        visibility=visibility,
        scheme=scheme,
        kind=meaning.kind,
        box=_box(record, box_key, 1.0 if scheme == MATLAB_BOX else meaning.origin),
        # Faces of one photograph stay on one side of a split; as the readers of the originals name it.
        subject=part.subject(stem) if part is not None else stem,
        split=split,
        subsets=subsets,
        image_size=size,
    )


def _no_scheme(key: str, values: Any, meaning: Meaning) -> str:
    if type(values) is not list:
        return f"{key}: expected a list of numbers, found {flag(values)}"
    expected = " or ".join(f"{count} ({scheme})" for count, scheme in meaning.schemes.items())
    return f"{key}: expected {expected} numbers, x, y and v of each point; found {len(values)}"


def _points(key: str, values: list[Any], scheme: str, origin: float) -> tuple[np.ndarray, np.ndarray]:
    """``(L, 2)`` float64 and ``(L,)`` uint8 of x, y, v in a row."""
    seen = values[2::3]
    count = len(seen)
    del values[2::3]
    try:
        landmarks = np.frombuffer(array("d", values)).reshape(count, 2)
    except (TypeError, OverflowError):
        raise AnnotationError(f"{key}: expected numbers, found {flag(_no_number(values))}") from None
    if origin:
        landmarks -= origin
    if seen[0] == 2 and seen.count(2) == count:
        return landmarks, all_visible(count)
    hidden, labelled, visible = map(seen.count, (0, 1, 2))
    if hidden + labelled + visible < count:
        if key == "keypoints" or not all(type(v) in (int, float) and v >= 0 for v in seen):
            odd = next(v for v in seen if type(v) not in (int, float) or v not in (0, 1, 2))
            raise AnnotationError(f"{key}: v: expected 0, 1 or 2, found {flag(odd)}")
        seen = [2 if v else 0 for v in seen]  # COCO-WholeBody's fractions are no COCO's numbers, and so no 1 among them
        visible = count - hidden
    only_labelled = not visible and scheme != MATLAB_BOX
    if only_labelled and labelled == count:
        return landmarks, all_visible(count)
    visibility = np.array(seen).astype(np.uint8)
    if only_labelled:
        visibility *= 2
    if hidden:
        landmarks[visibility == 0] = 0
    return landmarks, visibility


def _no_number(values: list[Any]) -> Any:
    return next((v for v in values if type(v) not in (int, float) or (type(v) is int and abs(v) > 2**1000)), None)


def _box(record: dict[str, Any], key: str, origin: float) -> np.ndarray | None:
    """``(4,)`` x0, y0, x1, y1 pixels: the square of 200·scale around the centre if there is one, else the box.

    Raises:
        AnnotationError: no numbers, or a width or height that is not above 0.
    """
    box = record.get(key)
    try:
        if key == "bbox" and record.get("center") and record.get("scale"):
            key, box, scale = "center and scale", (record["center"], record["scale"]), record["scale"]
            width, height = (200 * side for side in (scale if type(scale) is list else (scale, scale)))
            x, y = record["center"]
            x, y = x - width / 2, y - height / 2
        elif box:
            x, y, width, height = box
            if width == height == 0:
                return None
        else:
            return None
        if width > 0 and height > 0:
            return np.array((x - origin, y - origin, x - origin + width, y - origin + height), np.float64)
    except (TypeError, ValueError, OverflowError):
        raise AnnotationError(f"{key}: expected numbers, found {flag(box)}") from None
    raise AnnotationError(f"{key}: expected a width and height above 0, found {flag(width)} and {flag(height)}")
