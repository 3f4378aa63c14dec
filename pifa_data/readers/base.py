"""What every reader shares: the registry of formats, sources named ``FORMAT:PATH``, and safe paths."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped, check_face

LONGEST_NAME = 1024
"""Characters of a face's name. Tables of names have columns as wide as the longest."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True)
class Format:
    """One annotation format.

    Attributes:
        name: as in ``NAME:PATH``.
        layout: what it expects on disk, one sentence.
        read: streams the faces of a path; bad ones come as ``Skipped``.
        matches: whether a bare path looks like this format.
    """

    name: str
    layout: str
    read: Callable[[Path], Iterator[Face | Skipped]]
    matches: Callable[[Path], bool]


def parse_source(source: str, formats: dict[str, Format]) -> tuple[Format, Path]:
    """Split ``FORMAT:PATH``, or recognise a bare path.

    Raises:
        AnnotationError: unknown format, missing path, or a bare path that no format (or more than one) recognises.
    """
    name, colon, rest = source.partition(":")
    if colon and name in formats:
        path = Path(rest)
        if not path.exists():
            raise AnnotationError(f"{path}: no such file or folder")
        return formats[name], path
    path = Path(source)
    if not path.exists():
        known = ", ".join(formats)
        raise AnnotationError(f"{source}: no such file or folder, and no FORMAT:PATH of a known format ({known})")
    found = [fmt for fmt in formats.values() if fmt.matches(path)]
    if len(found) != 1:
        what = " and ".join(fmt.name for fmt in found) or "no known format"
        raise AnnotationError(f"{source}: looks like {what}; name it as FORMAT:{source} (see `pifa formats`)")
    return found[0], path


def read_faces(
    source: str, formats: dict[str, Format], *, split: str | None = None, limit: int | None = None
) -> Iterator[Face | Skipped]:
    """Stream the checked faces of a source; unusable ones come as ``Skipped`` with the reason."""
    fmt, path = parse_source(source, formats)
    faces = (_checked(face) for face in fmt.read(path))
    if split is not None:
        faces = (face for face in faces if isinstance(face, Skipped) or face.split == split)
    return itertools.islice(faces, limit)


def _checked(face: Face | Skipped) -> Face | Skipped:
    # File names may hold bytes that are no UTF-8 (Python's surrogates), which no store or report can hold.
    printable = face.id.encode(errors="replace").decode()
    if len(printable) > LONGEST_NAME:
        return Skipped(f"{printable[:80]}…", f"the face's name is longer than {LONGEST_NAME} characters")
    if isinstance(face, Skipped):
        return Skipped(printable, face.reason.encode(errors="replace").decode())
    if printable != face.id or str(face.image).encode(errors="replace").decode() != str(face.image):
        return Skipped(printable, "the file name is not UTF-8; rename it")
    try:
        return check_face(face)
    except AnnotationError as error:
        return Skipped(face.id, str(error).removeprefix(f"{face.id}: "))


def inside(root: Path, name: str) -> Path:
    """``root / name``, if the name stays below the root.

    Raises:
        AnnotationError: an absolute name, or one that climbs out by ``..``.
    """
    path = Path(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise AnnotationError(f"the image name {name!r} leads out of the data set's folder")
    return root / path
