"""``yolo-pose``: Ultralytics' labels for pose models, a text file an image and a line a face.

    data.yaml                       with kpt_shape: [68, 3]
    images/train/0001.jpg           or train/images/0001.jpg
    labels/train/0001.txt           or train/labels/0001.txt

The label of an image is where ``labels`` stands for the last ``images`` of its path. A line, as Ultralytics' pages on
pose data sets tell: class, centre, width and height of the box, then x, y of each point, and its visibility (COCO's 0,
1, 2) where ``kpt_shape`` ends in 3. Where it ends in 2, a point of negative x or y is not labelled, as in their loader
(``data/utils.py``); (0, 0) isn't, either, which COCO's unlabelled points become. All are shares of the image's width
or height, so that the image's size is needed; it is read from its header, turned upright as Ultralytics does.

No text says where in the first pixel 0 is. Ultralytics' converter divides COCO's coordinates by the size
(``data/converter.py``), and so do the scripts of most face sets: what was 0, the first pixel's centre, stays 0. So
nothing is subtracted, and a data set gives the same points in this form as in its own. Tools in which one draws on a
canvas have 0 at the pixel's edge instead: for them, ``origin=0.5`` subtracts half a pixel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError, ImageError
from pifa_data.faces import Face, Skipped
from pifa_data.images import image_size
from pifa_data.matfile import Damaged, open_file
from pifa_data.readers.base import IMAGE_SUFFIXES, Format, exists, flag, unread
from pifa_data.readers.names import Names
from pifa_data.readers.numbers import parse_numbers
from pifa_data.readers.rows import KIND, SCHEME, all_visible, chosen_kind, chosen_scheme, unique
from pifa_data.schemes import SCHEMES, Scheme, scheme_of_count

LARGEST = 4 * 2**20
"""Bytes of a label file or of data.yaml; a face of 98 points takes 2,500."""

_USUAL = 2**16
"""Bytes read at first."""

LABELS, IMAGES = "labels", "images"

FARTHEST = 0.5
"""How far out of the image, as a share of its size, a labelled point may lie before it is taken for one in pixels."""

_YAML = (".yaml", ".yml")

_SPLIT = re.compile(r"train|val|test")

_SHAPE = re.compile(r"^kpt_shape\s*:\s*(?:\[|-)\s*(\d{1,4})\s*(?:,|\n\s*-)\s*([23])\s*\]?\s*(?:#.*)?$", re.MULTILINE)

_FLIP = re.compile(r"^flip_idx\s*:\s*\[([\d\s,]*)\]", re.MULTILINE)


@dataclass(frozen=True)
class Layout:
    """What the numbers behind the box mean: a scheme's points, of ``size`` 2 or 3 numbers each."""

    scheme: Scheme
    size: int


@dataclass(frozen=True)
class Folder:
    """A folder of label files.

    Attributes:
        labels: where it is.
        images: where the images are.
        name: its path below the data set's folder, without ``labels``, for the faces' names.
        split: from that path.
    """

    labels: Path
    images: Path
    name: str
    split: str


def read(path: Path, scheme: str = "", kind: str = "2d", origin: str = "0") -> Iterator[Face | Skipped]:
    """Stream the faces of a data set, folder by folder.

    Args:
        path: the data set's folder, its ``data.yaml``, or a folder of labels.
        scheme: where the number of points does not tell it.
        kind: ``2d`` or ``3d``.
        origin: what the files call the centre of the top-left pixel, ``0`` or ``0.5``.
    """
    chosen, kind = chosen_scheme(scheme), chosen_kind(kind)
    if origin not in ("0", "0.5"):
        raise AnnotationError(f"origin={flag(origin)}: expected 0 or 0.5")
    layout, shift = _described(path, chosen), float(origin)
    names = Names()
    empty = True
    errors: list[OSError] = []
    root = path if path.is_dir() else path.parent
    for folder, files in _folders(root, errors):
        images = _by_stem(folder.images)
        for file in files:
            empty = False
            stem = file[:-4]
            size: tuple[int, int] | None = None
            labels = f"{folder.labels}/{file}"
            for number, line in _numbered(labels):
                id_ = unique(names, f"{folder.name}/{stem}" if folder.name else stem, number)
                try:
                    if isinstance(line, AnnotationError):
                        raise line
                    if stem not in images:
                        raise AnnotationError(f"no image {stem}.* in {folder.images}, whose size is needed")
                    image = f"{folder.images}/{images[stem]}"
                    size = size or image_size(image)
                    values = _values(line)
                    layout = layout or _guessed(len(values), chosen)
                    landmarks, visibility = _points(values, layout, size)
                    yield Face(
                        id=id_,
                        file=image,
                        landmarks=landmarks - shift,
                        visibility=visibility,
                        scheme=layout.scheme.name,
                        kind=kind,
                        box=_box(values, size, shift),
                        # Who it is isn't known; faces of one photograph stay on one side of a split.
                        subject=stem,
                        split=folder.split,
                        image_size=size,
                    )
                except (AnnotationError, ImageError) as error:
                    yield Skipped(id_, f"{labels}{f' line {number}' if number else ''}: {error}")
    yield from unread(errors, root.absolute())
    if empty:
        raise AnnotationError(
            f"{path}: expected a folder with labels/ and images/ (or train/labels/ and train/images/) in it, found no "
            "label file; name the folder that has data.yaml"
        )


def _described(path: Path, chosen: Scheme | None) -> Layout | None:
    """What ``data.yaml`` says of the points; None where there is none, or it does not say it.

    Two of its keys are needed, as Ultralytics' pages write them. They are looked for in the text: a whole YAML reader
    is a language's, in which a file can run code or fill the memory.
    """
    file = path if path.suffix in _YAML else next((f for f in (path / "data.yaml", *_above(path)) if exists(f)), None)
    try:
        text = _text(file) if file else ""
    except AnnotationError as error:
        raise AnnotationError(f"{file}: {error}") from error
    shape, flip = _SHAPE.search(text), _FLIP.search(text)
    if shape is None:
        return None
    count = int(shape[1])
    scheme = chosen or scheme_of_count(count)
    if scheme is None or len(scheme) != count:
        known = (
            f"{len(scheme)} ({scheme.name})" if scheme else ", ".join(f"{len(s)} ({s.name})" for s in SCHEMES.values())
        )
        raise AnnotationError(f"{file}: kpt_shape: expected {known} points, found {count}; see scheme=")
    # The one thing that tells an order: which point becomes which where the image is flipped.
    mirror = [int(word) for word in re.findall(r"\d{1,4}", flip[1])] if flip else []
    if chosen is None and len(mirror) == count and mirror not in (scheme.mirror.tolist(), list(range(count))):
        raise AnnotationError(
            f"{file}: flip_idx: expected that of {scheme.name}, found another: the points may have another order; "
            f"if they have not, say scheme={scheme.name}"
        )
    return Layout(scheme, int(shape[2]))


def _above(path: Path) -> list[Path]:
    """Where ``data.yaml`` may be if a folder of labels is given."""
    return [folder / "data.yaml" for folder in list(path.absolute().parents)[:3]] if LABELS in path.parts[-2:] else []


def _guessed(count: int, chosen: Scheme | None) -> Layout:
    """The layout of a line of so many numbers."""
    found = [
        Layout(scheme, size)
        for scheme in ([chosen] if chosen else SCHEMES.values())
        for size in (2, 3)
        if count == 5 + size * len(scheme)
    ]
    if len(found) == 1:
        return found[0]
    which = " or ".join(f"{layout.scheme.name} in {layout.size}s" for layout in found) or "no scheme's points"
    raise AnnotationError(
        f"{count} numbers are {which}; write kpt_shape: [points, 2 or 3] into data.yaml, or say scheme="
    )


def _folders(root: Path, errors: list[OSError]) -> Iterator[tuple[Folder, list[str]]]:
    """The folders at and below a root that are named ``labels`` or lie within one, and their label files, by name.

    Puts among the errors what can not be listed.
    """
    root = root.absolute()
    top = next((folder.parent for folder in (root, root.parent) if folder.name == LABELS), root)
    for place, folders, files in os.walk(root, onerror=errors.append):
        folders[:] = sorted(folder for folder in folders if folder != IMAGES)
        parts = Path(place).relative_to(top).parts
        if LABELS not in parts:
            continue
        at = len(parts) - 1 - parts[::-1].index(LABELS)
        others = (*parts[:at], *parts[at + 1 :])
        split = next((found[0] for part in others if (found := _SPLIT.match(part.lower()))), "")
        images = top.joinpath(*parts[:at], IMAGES, *parts[at + 1 :])
        labels = sorted(file for file in files if file.endswith(".txt") and file != "classes.txt")
        yield Folder(Path(place), images, "/".join(others), split), labels


def _by_stem(folder: Path) -> dict[str, str]:
    """The images of a folder by their names without suffix."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES))
    except OSError:
        return {}
    return {name.rpartition(".")[0]: name for name in names}


def _text(file: str | Path) -> str:
    try:
        with open_file(file) as stream:
            # To ask for all that is allowed would claim that much memory first, for each file.
            data = stream.read(_USUAL)
            if len(data) == _USUAL:
                data += stream.read(LARGEST + 1 - _USUAL)
    except (OSError, Damaged) as error:
        raise AnnotationError(f"can't be read ({getattr(error, 'strerror', None) or error})") from error
    if len(data) > LARGEST:
        raise AnnotationError(f"expected at most {LARGEST} bytes, found more")
    return data.decode("utf-8-sig", "replace").replace("\r\n", "\n")


def _numbered(file: str) -> list[tuple[int, str | AnnotationError]]:
    """The lines of a label file that are not blank, and their numbers from 1; or why there are none."""
    try:
        return [(i, line) for i, line in enumerate(_text(file).split("\n"), 1) if line.strip()]
    except AnnotationError as error:
        return [(0, error)]


def _values(line: str) -> np.ndarray:
    try:
        return parse_numbers(line.strip())
    except ValueError as error:
        raise AnnotationError(str(error)) from None


def _points(values: np.ndarray, layout: Layout, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """``(L, 2)`` pixels and ``(L,)`` visibility of a line."""
    count = len(layout.scheme)
    expected = 5 + layout.size * count
    if len(values) != expected:
        raise AnnotationError(
            f"expected {expected} numbers (class, box, {count} points of {layout.size}), found {len(values)}"
        )
    points = values[5:].reshape(count, layout.size)
    xy = points[:, :2]
    # Most faces have all their points, within the image: what is told apart below costs twice as much as all the rest.
    visibility = all_visible(count)
    if layout.size == 3 and not (points[:, 2] == 2).all():
        visibility = _of_numbers(points[:, 2])
    elif layout.size == 2 and not xy.min() > 0:
        visibility = np.where((xy < 0).any(1) | (xy == 0).all(1), 0, 2).astype(np.uint8)
    if not (xy.min() >= -FARTHEST and xy.max() <= 1 + FARTHEST):
        far = xy[(visibility > 0) & (np.abs(xy - 0.5) > 0.5 + FARTHEST).any(1)]
        if len(far):
            raise AnnotationError(
                f"expected shares of the image's size, from 0 to 1, found {far[0, 0]:g} {far[0, 1]:g}; are they pixels?"
            )
    return xy * size, visibility


def _of_numbers(found: np.ndarray) -> np.ndarray:
    known = (found == 0) | (found == 1) | (found == 2)
    if not known.all():
        raise AnnotationError(f"expected visibility 0, 1 or 2, found {found[~known][0]:g}")
    return found.astype(np.uint8)


def _box(values: np.ndarray, size: tuple[int, int], shift: float) -> np.ndarray:
    """``(4,)`` pixels."""
    x, y, w, h = values[1:5].tolist()
    width, height = size
    x0, y0, x1, y1 = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
    return np.array((x0 - shift, y0 - shift, x1 - shift, y1 - shift))


def _matches(path: Path) -> bool:
    if exists(path / LABELS) and exists(path / IMAGES):
        return True
    file = path if path.suffix in _YAML else path / "data.yaml"
    try:
        return exists(file) and _SHAPE.search(_text(file)) is not None
    except AnnotationError:
        return False


FORMAT = Format(
    name="yolo-pose",
    layout="a folder with images/ and labels/ (or train/images/, train/labels/, …), and data.yaml with kpt_shape",
    read=read,
    schemes=tuple(SCHEMES),
    tried="layout",
    matches=_matches,
    options={
        "origin": "what the files call the centre of the top-left pixel: 0, or 0.5 where they count from its edge",
        **SCHEME,
        **KIND,
    },
    homepage="https://docs.ultralytics.com/datasets/pose/",
)
