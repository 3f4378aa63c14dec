"""``dlib-xml``: dlib's XML of images, boxes and parts, as its tool imglab writes it and its 300W comes in.

    <dataset><images>
      <image file='helen/trainset/146827737_1.jpg' width='640' height='790'>
        <box top='224' left='70' width='295' height='295' ignore='1'>
          <part name='00' x='156' y='331'/> …

What it means is told by dlib's own reader and writer, ``dlib/data_io/image_dataset_metadata.cpp``: names of images are
told from the file's folder, a box has ``width`` columns of pixels (right = left + width − 1), parts are points in whole
pixels whose names sort as text, ``ignore`` marks what is to be trained on as neither face nor background. Pixels count
from 0: dlib's 300W says so itself ("we have adjusted the coordinates of the points from the MATLAB convention of 1
being the first index to 0 being the first index").

dlib's 300W (``labels_ibug_300W_train.xml``, ``…_test.xml``) has every photograph twice, mirrored as ``…_mirror.jpg``,
and its own division into training and test faces; each face's part in the papers' protocols is known by its path.

The XML is read by expat, without document types, and so without entities; stylesheets are never looked for. (Made of
defusedxml's elements, a face takes three times as long.) Of the document only the box at hand is kept.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import w300
from pifa_data.readers.base import Format, Split, flag, inside
from pifa_data.readers.dlib_parts import part_numbers, part_points, put_together
from pifa_data.readers.names import Names
from pifa_data.readers.rows import KIND, all_visible, chosen_kind, chosen_scheme
from pifa_data.readers.w300 import part_of_image
from pifa_data.schemes import Scheme, scheme_of_count

CHUNK = 64 * 1024
"""Bytes read at once."""

LONGEST = 1024 * 1024
"""Bytes of one tag or comment."""

DEEPEST = 64
"""Elements within each other; dlib's have five."""

MOST_PARTS = 1000
"""Parts of one box."""

MOST_FILES = 100
"""Files looked at in a folder."""

_SPLITS = {"train": "train", "training": "train", "val": "val", "test": "test", "testing": "test"}

_BOX = ("left", "top", "width", "height")

Attributes = list[str]
"""Of one element, as expat gives them: name, value, name, value …"""


def read(path: Path, images: str = "", scheme: str = "", kind: str = "2d") -> Iterator[Face | Skipped]:
    """Stream the faces of one file, or of all in a folder; named ``IMAGE#BOX``, the box's number in the image from 1.

    Args:
        path: file or folder. Where a folder has ``A_train.xml`` or ``A_test.xml``, it does without ``A.xml``.
        images: the folder that the images' names are told from, where it is not the file's.
        scheme: where not every part of it is there, or the number of parts does not tell it.
        kind: ``2d`` or ``3d``.
    """
    chosen, kind = chosen_scheme(scheme), chosen_kind(kind)
    if images and not Path(images).is_dir():
        raise AnnotationError(f"images={images}: no such folder")
    files = _files(path)
    if not files:
        raise AnnotationError(f"{path}: expected dlib's XML, which begins with <dataset>, or a folder with such files")
    names = Names()
    for file in files:
        try:
            yield from _Reader(file, images or str(file.parent), chosen, kind, names).faces()
        except AnnotationError as error:
            if len(files) == 1:
                raise
            yield Skipped(file.name, str(error))


def _files(path: Path) -> list[Path]:
    """dlib's files of a path, by name, without those whose faces others have again."""
    files = heapq.nsmallest(MOST_FILES, path.glob("*.xml")) if path.is_dir() else [path]
    files = [file for file in files if _looks_like_dlib(file)]
    wholes = {file.stem.rpartition("_")[0] for file in files if _split_of(file)}
    return [file for file in files if file.stem not in wholes]


def _looks_like_dlib(file: Path) -> bool:
    try:
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            return b"<dataset" in stream.read(4096)
    except (OSError, ValueError):
        return False


def _split_of(file: Path) -> str:
    splits = {_SPLITS[word] for word in re.split(r"[_\W]", file.stem.lower()) if word in _SPLITS}
    return splits.pop() if len(splits) == 1 else ""


class _Reader:
    """One file: expat's events in, faces out."""

    def __init__(self, file: Path, root: str, scheme: Scheme | None, kind: str, names: Names) -> None:
        self._file = file
        self._root = root
        self._scheme = scheme
        self._given = scheme is not None
        self._kind = kind
        self._names = names
        self._split = _split_of(file)
        self._out: list[Face | Skipped] = []
        self._image: Attributes = []
        self._box: Attributes | None = None
        self._boxes = 0  # of the image
        self._line = 0  # of the box
        self._box_at = 0  # its first byte
        self._parts: list[Attributes] = []  # of the box
        self._lost = False  # whether parts were let go
        self._fed = 0  # bytes
        self._depth = 0  # elements within each other
        parser = self._parser = expat.ParserCreate()
        parser.ordered_attributes = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse  # no document type, so no entity can be declared

    def faces(self) -> Iterator[Face | Skipped]:
        """Raises AnnotationError if nothing can be read."""
        try:
            with self._file.open("rb") as stream:
                for text in _to_the_end_of_a_box(stream):
                    self._parse(text)
                    yield from self._out
                    self._out.clear()
            self._parser.Parse(b"", True)
        except (expat.ExpatError, AnnotationError, LookupError, ValueError) as error:
            what = f"line {self._parser.CurrentLineNumber}: {error}"  # LookupError: an encoding that nobody knows
            if isinstance(error, expat.ExpatError):
                what = f"line {error.lineno}: not well-formed XML ({expat.errors.messages[error.code]})"
            yield from self._out
            if not self._image:
                raise AnnotationError(f"{self._file}: {what}") from error
            yield Skipped(self._file.name, f"{self._file.name} {what}; nothing behind it is read")
        except OSError as error:
            raise AnnotationError(f"{self._file}: can't be read ({error.strerror or error})") from error

    def _parse(self, text: bytes) -> None:
        text = put_together(text)
        self._parser.Parse(text, False)
        self._fed += len(text)
        if self._fed - self._parser.CurrentByteIndex > LONGEST:
            raise AnnotationError(f"expected tags of at most {LONGEST} bytes, found a longer one")
        if self._box is not None and (len(self._parts) > MOST_PARTS or self._fed - self._box_at > LONGEST):
            self._parts, self._lost = [], True

    def _refuse(self, *_: object) -> None:
        raise AnnotationError("expected XML without a document type (<!DOCTYPE …>), which dlib's never has")

    def _start(self, name: str, attributes: Attributes) -> None:
        if not self._depth and name != "dataset":
            raise AnnotationError(f"expected dlib's <dataset>, found <{name[:40]}>")
        if name == "part":
            if self._box is not None:
                self._parts.append(attributes)
        elif name == "box":
            self._finish_box()  # of a box within a box
            self._boxes += 1
            self._box, self._box_at = attributes, self._parser.CurrentByteIndex
            self._line = self._parser.CurrentLineNumber
            self._parts, self._lost = [], False
        elif name == "image":
            self._image, self._boxes = attributes, 0
        self._depth += 1
        if self._depth > DEEPEST:
            raise AnnotationError(f"expected at most {DEEPEST} elements within each other, found more")

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name == "box":
            self._finish_box()

    def _finish_box(self) -> None:
        """Make a face of a box that has ended."""
        box, self._box = self._box, None
        if box is None:
            return
        name = f"{self._file.name} line {self._line}"
        try:
            attributes = _pairs(box)
            if attributes.get("ignore", "0") not in ("0", "false"):
                return
            image = _pairs(self._image)
            file = _file_name(image.get("file"))
            name = f"{file}#{self._boxes}"
            if self._lost:
                raise AnnotationError(f"expected at most {MOST_PARTS} parts, found more, or longer ones")
            labels = self._points(self._parts)
            size = _size(image.get("width"), image.get("height"))
            face = self._face(name, file, size, attributes, *labels)
            if not self._names.add(name):
                raise AnnotationError("a face of this name came before")
            self._out.append(face)
        except AnnotationError as error:
            self._out.append(Skipped(name, f"{self._file.name} line {self._line}: {error}"))

    def _face(
        self,
        name: str,
        file: str,
        size: tuple[int, int] | None,
        box: dict[str, str],
        landmarks: np.ndarray,
        visibility: np.ndarray,
        scheme: str,
    ) -> Face:
        x, y, width, height = [_number("box", key, box.get(key)) for key in _BOX]
        folder, _, last = file.rpartition("/")
        stem = last.rpartition(".")[0] or last
        stem, mirrored = stem.removesuffix("_mirror"), stem.endswith("_mirror")
        part = part_of_image(folder, stem) if scheme == "ibug68" else None
        split = self._split
        subsets: tuple[str, ...] = ("mirrored",) if mirrored else ()
        if part is not None and part.subsets and not mirrored:
            # dlib divides them in another way than the papers do.
            protocol = {"train": "300w-train", "full": "full"}.get(part.split, "") if split else ""
            split, subsets = split or part.split, (*part.subsets, protocol) if protocol else part.subsets
        return Face(
            id=name,
            file=inside(self._root, file),
            landmarks=landmarks,
            visibility=visibility,
            scheme=scheme,
            kind=self._kind,
            box=np.array((x, y, x + width - 1, y + height - 1)),
            # Faces of one photograph and of its mirror image stay on one side of a split.
            subject=part.subject(stem) if part is not None else stem,
            split=split,
            subsets=subsets,
            image_size=size,
        )

    def _points(self, parts: list[Attributes]) -> tuple[np.ndarray, np.ndarray, str]:
        """``(L, 2)`` float64, ``(L,)`` uint8 and the scheme's name."""
        if not parts:
            raise AnnotationError("a box without parts")
        found = [_pairs(part) for part in parts]
        for part in found:
            if not {"name", "x", "y"} <= part.keys():
                raise AnnotationError(f"part: expected name=, x= and y=, found {flag(part)}")
        names = part_numbers(",".join([part["name"] for part in found]))
        values = [part[key] for key in ("x", "y") for part in found]
        points = part_points(",".join(values), len(names.numbers))
        count = len(points)
        if self._scheme is None:
            # The first face with all its parts tells the scheme of those that lack some.
            if names.highest == count - 1:
                self._scheme = scheme_of_count(count)
            if self._scheme is None:
                raise AnnotationError(
                    f"found {count} parts, named {names.numbers.min()} to {names.highest}: of no scheme that their "
                    "number tells; name it by scheme= where they are numbers in one"
                )
        scheme, expected = self._scheme, len(self._scheme)
        if names.highest >= expected:
            raise AnnotationError(
                f"expected parts 0 to {expected - 1} ({scheme.name}{'' if self._given else ', as before'}), found "
                f"{names.highest}"
            )
        if names.whole and count == expected:
            return points, all_visible(count), scheme.name
        landmarks, visibility = np.zeros((expected, 2)), np.zeros(expected, np.uint8)
        landmarks[names.numbers] = points
        visibility[names.numbers] = 2
        return landmarks, visibility, scheme.name


def _to_the_end_of_a_box(stream: BinaryIO) -> Iterator[bytes]:
    """The file in pieces that end with a box, where there is one."""
    text = b""
    while chunk := stream.read(CHUNK):
        text += chunk
        end = text.rfind(b"</box>")
        if end < 0 and len(text) < LONGEST // 2:
            continue
        end = end + 6 if end >= 0 else len(text)
        yield text[:end]
        text = text[end:]
    yield text


def _pairs(attributes: Attributes) -> dict[str, str]:
    return dict(zip(attributes[::2], attributes[1::2], strict=True))


def _file_name(name: str | None) -> str:
    if not name:
        raise AnnotationError("image: expected file=, found none")
    if not name.isascii():
        # dlib writes a name's bytes as they are, under a heading that says ISO-8859-1.
        try:
            return name.encode("latin-1").decode()
        except UnicodeError:
            pass
    return name


@lru_cache(1024)
def _size(width: str | None, height: str | None) -> tuple[int, int] | None:
    if width is None and height is None:
        return None
    sides = [_number("image", key, value) for key, value in (("width", width), ("height", height))]
    if not all(1 <= side < 2**31 for side in sides):
        raise AnnotationError(f"image: expected a width and height above 0, found {sides[0]:g} and {sides[1]:g}")
    return int(sides[0]), int(sides[1])


def _number(element: str, key: str, value: str | None) -> float:
    if value is None:
        raise AnnotationError(f"{element}: expected {key}=, found none")
    try:
        return float(value)
    except ValueError:
        raise AnnotationError(f"{element}: {key}: expected a number, found {flag(value)}") from None


FORMAT = Format(
    name="dlib-xml",
    layout="dlib's XML of images, boxes and numbered parts, as imglab writes it: one file, or a folder of them",
    read=read,
    matches=lambda path: bool(_files(path)),
    schemes=("ibug68",),
    tried="originals",
    splits={
        "train": Split("files named train: dlib's 300W has 6,666 training faces, mirrored ones counted"),
        "test": Split("files named test: dlib's 300W has 1,008 test faces, mirrored ones counted"),
        "val": Split("files named val"),
        "mirrored": Split("mirror images of other faces, …_mirror.jpg"),
        "300w-train": Split("the papers' training faces of 300W", 3148),
        **{
            name: Split(f"300W: {part.text}", part.count)
            for name, part in w300.FORMAT.splits.items()
            if name in ("full", "common", "challenging", "afw", "helen", "lfpw", "ibug")
        },
    },
    options={
        "images": "the folder that the images' names are told from, where it is not the file's",
        "scheme": "the scheme that the parts' names are numbers of, where not all are there or their number tells none",
        **KIND,
    },
    licence="dlib's 300W: research only, no commercial use, as 300W (see 300w); else that of the images' owner.",
    citation="""@article{dlib09,
  author = {Davis E. King},
  title = {Dlib-ml: A Machine Learning Toolkit},
  journal = {Journal of Machine Learning Research},
  volume = {10},
  pages = {1755--1758},
  year = {2009}
}""",
    homepage="http://dlib.net/files/data/ibug_300W_large_face_landmark_dataset.tar.gz",
)
