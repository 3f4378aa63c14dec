"""``wflw``: Wider Facial Landmarks in the Wild, 98 points, boxes and attributes, as its owner's archives unpack.

    WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt
    WFLW_annotations/list_98pt_test/list_98pt_test[_largepose|_expression|…].txt
    WFLW_images/0--Parade/0_Parade_marchingband_1_116.jpg

A line (the README beside the first lists) has x and y of 98 points, the upper left and lower right corner of the
detection rectangle, six attributes (pose, expression, illumination, make-up, occlusion, blur; 1 is the hard case) and
the image's name: 207 words. Lines of ``list_98pt_test`` lack rectangle and attributes. Their faces are those of the
first test list again, so they are read only where they are named, or where the first are missing.

The papers' subsets are of the test faces: a training face belongs to none, whatever its attributes.

The owner does not say where pixels are counted from. The numbers are taken as they are, the centre of the top-left
pixel at (0, 0), as mmpose and HRNet take them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers.base import Format, Split, exists, flag, inside
from pifa_data.readers.lines import TOO_LONG, read_lines
from pifa_data.readers.names import Names
from pifa_data.readers.numbers import parse_numbers
from pifa_data.readers.rows import all_visible, unique

SUBSETS = ("largepose", "expression", "illumination", "makeup", "occlusion", "blur")
"""In the order of a line's attributes."""

_OF_ATTRIBUTES = {
    bits: tuple(itertools.compress(SUBSETS, bits)) for bits in itertools.product((0.0, 1.0), repeat=len(SUBSETS))
}

POINTS = 98
_PLAIN = 2 * POINTS
_FULL = _PLAIN + 4 + len(SUBSETS)
"""Numbers of a line without and with rectangle and attributes."""

_RECT, _TEST = "list_98pt_rect_attr", "list_98pt_test"


def read(path: Path, images: str = "") -> Iterator[Face | Skipped]:
    """Stream the faces of the folder that has ``WFLW_annotations``, of one below it, or of one list.

    Args:
        path: folder or list.
        images: the folder ``WFLW_images``, where it is not beside ``WFLW_annotations``.
    """
    path = path.absolute()
    lists = _lists(path) if path.is_dir() else [path]
    if not lists:
        raise AnnotationError(
            f"{path}: expected WFLW_annotations/{_RECT}_train_test/{_RECT}_train.txt or …_test.txt, or one such list; "
            "name the folder that has WFLW_annotations"
        )
    root = images or _images(lists[0])
    names = Names()
    for file in lists:
        splits = [split for split in ("train", "test") if f"_{split}" in file.stem]
        yield from _read_list(file, splits[0] if len(splits) == 1 else "", root, names)


def _lists(folder: Path) -> list[Path]:
    """The lists to be read: each face is in one of them."""
    places = [folder / part for part in (f"{_RECT}_train_test", f"WFLW_annotations/{_RECT}_train_test", ".")]
    found = [place / f"{_RECT}_{split}.txt" for split in ("train", "test") for place in places]
    found = [file for file in found if exists(file)]
    if found:
        return found
    places = [folder / part for part in (_TEST, f"WFLW_annotations/{_TEST}", ".")]
    return [file for file in (place / f"{_TEST}.txt" for place in places) if exists(file)][:1]


def _images(file: Path) -> str:
    """Where a list's images are: the nearest ``WFLW_images`` above it, or where the owner puts it."""
    above = list(file.parents)[:3]
    return str(next((f for f in (p / "WFLW_images" for p in above) if f.is_dir()), above[-1] / "WFLW_images"))


def _read_list(file: Path, split: str, images: str, names: Names) -> Iterator[Face | Skipped]:
    members = _members(file)
    for number, line in read_lines(file):
        if line is None:
            yield Skipped(f"{file.stem} line {number}", f"{file} line {number}: {TOO_LONG}")
            continue
        line = line.strip()
        if not line:
            continue
        try:
            values, name = _numbers(line)
            image = inside(images, name)
            subsets: tuple[str, ...] = ()
            if split == "test":
                subsets = tuple(subset for subset, lines in members if line in lines)
            if len(values) == _FULL:
                bits = tuple(values[_PLAIN + 4 :].tolist())
                if bits not in _OF_ATTRIBUTES:
                    raise AnnotationError(f"expected six attributes of 0 or 1, found {flag(bits)}")
                if split == "test":
                    subsets = _OF_ATTRIBUTES[bits]
        except AnnotationError as error:
            yield Skipped(f"{file.stem} line {number}", f"{file} line {number}: {error}")
            continue
        yield Face(
            id=unique(names, f"{split}/{name}" if split else name, number),
            file=image,
            landmarks=values[:_PLAIN].reshape(POINTS, 2),
            visibility=all_visible(POINTS),
            scheme="wflw98",
            kind="2d",
            box=values[_PLAIN : _PLAIN + 4] if len(values) == _FULL else None,
            subject=name.rpartition("/")[2].rpartition(".")[0] or name,
            split=split,
            subsets=subsets,
        )


def _members(file: Path) -> list[tuple[str, Names]]:
    """The lines of each subset, of a list that lacks attributes."""
    if not file.stem.startswith(_TEST):
        return []
    members = []
    for subset in SUBSETS:
        other = file.with_name(f"{_TEST}_{subset}.txt")
        if exists(other):
            lines = Names()
            for _, line in read_lines(other):
                lines.add((line or "").strip())
            members.append((subset, lines))
    return members


def _numbers(line: str) -> tuple[np.ndarray, str]:
    """A line's numbers, and its image's name."""
    *front, name = line.rsplit(None, 1)
    try:
        values = parse_numbers(front[0] if front else "")
    except ValueError:
        # A blank within the name, or no number where one should be.
        count = _FULL if len(line.split(None, _FULL)) > _FULL else _PLAIN
        *words, name = line.split(None, count)
        try:
            values = parse_numbers(" ".join(words))
        except ValueError as error:
            raise AnnotationError(str(error)) from None
    if len(values) not in (_FULL, _PLAIN):
        raise AnnotationError(
            f"expected {_FULL} numbers (98 points, rectangle, attributes) or {_PLAIN}, then a name; found {len(values)}"
        )
    return values, name


FORMAT = Format(
    name="wflw",
    layout=f"WFLW_annotations/{_RECT}_train_test/{_RECT}_{{train,test}}.txt and WFLW_images/, or one of the lists",
    read=read,
    schemes=("wflw98",),
    tried="layout",
    matches=lambda path: bool(_lists(path)) or (path.name.startswith((_RECT, _TEST)) and path.suffix == ".txt"),
    splits={
        "train": Split("the training faces", 7500),
        "test": Split("the test faces", 2500),
        "largepose": Split("test faces of large pose", 326),
        "expression": Split("test faces of exaggerated expression", 314),
        "illumination": Split("test faces of extreme illumination", 698),
        "makeup": Split("test faces with make-up", 206),
        "occlusion": Split("test faces with occlusion", 736),
        "blur": Split("test faces that are blurred", 773),
    },
    options={"images": "the folder WFLW_images, where it is not beside WFLW_annotations"},
    licence="The owner's page names none; the photographs are WIDER FACE's, of the web, and for research.",
    citation="""@inproceedings{wayne2018lab,
  author = {Wu, Wayne and Qian, Chen and Yang, Shuo and Wang, Quan and Cai, Yici and Zhou, Qiang},
  title = {Look at Boundary: A Boundary-Aware Face Alignment Algorithm},
  booktitle = {CVPR},
  year = {2018}
}""",
    homepage="https://wywu.github.io/projects/LAB/WFLW.html",
    normaliser="interocular",
)
