"""What every reader shares: how a format is described, sources named ``FORMAT:PATH``, selections, and safe paths.

A reader is a function ``read(path, **options)`` that yields ``Face`` by ``Face`` and never holds more than a few of
them. What it can't use it yields as ``Skipped`` with the reason; it raises ``AnnotationError`` only where nothing can
be read at all. Everything is in the project's conventions when it leaves the reader (docs/conventions.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped, check_faces

LONGEST_NAME = 1024
"""Characters of a face's name. Tables of names have columns as wide as the longest."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")

BLOCK = 256
"""Faces checked together: enough for NumPy to be quick, few enough to hold."""


@dataclass(frozen=True)
class Split:
    """A named part of a data set, as its owner or the papers use it.

    Attributes:
        text: what it is.
        count: faces in it as published, or None.
    """

    text: str
    count: int | None = None


@dataclass(frozen=True)
class Format:
    """One annotation format.

    Attributes:
        name: as in ``NAME:PATH``.
        layout: what it expects on disk, one sentence.
        read: streams the faces of a path; bad ones come as ``Skipped``.
        matches: whether a bare path looks like this format; cheap, and never raises.
        schemes: names of the landmark schemes that its faces can have.
        tried: ``originals`` if the reader was tried on files as their owner gives them, else ``layout``: only on files
            of the documented layout.
        splits: its parts by name, for ``--split``; empty where the files themselves name them.
        options: what can be added to a source, as ``NAME:PATH,images=FOLDER``, each with its meaning.
        licence: what the owner allows, one sentence.
        citation: BibTeX of the paper to cite; empty for formats that belong to no data set.
        homepage: the owner's page.
        normaliser: what papers that use it divide the error by: ``tight``, ``box`` or ``interocular`` of `pifa eval`,
            or ``mape`` where they don't; empty if that is for each set in it to say.
    """

    name: str
    layout: str
    read: Callable[..., Iterator[Face | Skipped]]
    matches: Callable[[Path], bool]
    schemes: tuple[str, ...]
    tried: str
    splits: Mapping[str, Split] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    normaliser: str = ""


@dataclass(frozen=True)
class Source:
    """A data source, taken apart; ``name`` is what the user calls it."""

    name: str
    format: Format
    path: Path
    options: Mapping[str, str]

    def read(self) -> Iterator[Face | Skipped]:
        """Stream its faces, not yet checked."""
        return self.format.read(self.path, **self.options)


def parse_source(source: str, formats: Mapping[str, Format]) -> Source:
    """Take ``FORMAT:PATH[,OPTION=VALUE…]`` apart, or recognise a bare path.

    Raises:
        AnnotationError: unknown format or option, missing path, or a bare path that no format (or more than one)
            recognises.
    """
    name, colon, rest = source.partition(":")
    if colon and name in formats:
        path, options = _split_options(rest, formats[name])
        return Source(source, formats[name], path, options)
    path = Path(source)
    if not exists(path):
        known = ", ".join(formats)
        raise AnnotationError(f"{source}: no such file or folder, and no FORMAT:PATH of a known format ({known})")
    found = [fmt for fmt in formats.values() if fmt.matches(path)]
    if len(found) != 1:
        what = " and ".join(fmt.name for fmt in found) or "no known format"
        raise AnnotationError(f"{source}: looks like {what}; name it as FORMAT:{source} (see `pifa formats`)")
    return Source(source, found[0], path, {})


def _split_options(text: str, fmt: Format) -> tuple[Path, dict[str, str]]:
    """The longest path that is there, and the options behind it: a comma may belong to a name."""
    parts = text.split(",")
    for count in range(len(parts), 0, -1):
        path = Path(",".join(parts[:count]))
        if exists(path):
            break
    else:
        raise AnnotationError(f"{parts[0]}: no such file or folder")
    options = {}
    for part in parts[count:]:
        key, equals, value = part.partition("=")
        if not equals or key not in fmt.options:
            known = ", ".join(f"{key}=" for key in fmt.options) or "none"
            raise AnnotationError(f"{fmt.name}:{text}: {part!r} is no option of {fmt.name}; known: {known}")
        options[key] = value
    return path, options


def exists(path: Path) -> bool:
    """Whether a path is there; false, too, for a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def read_faces(
    source: str | Source,
    formats: Mapping[str, Format],
    *,
    split: str | None = None,
    limit: int | None = None,
    where: Callable[[Face], bool] | None = None,
    fittable: bool = True,
) -> Iterator[Face | Skipped]:
    """Stream the checked faces of a source; unusable ones come as ``Skipped`` with the reason.

    Args:
        source: ``FORMAT:PATH[,OPTION=VALUE…]`` or a path, or what was made of it.
        formats: the formats by name.
        split: only faces of this split or subset.
        limit: only the first so many faces, skipped ones counted.
        where: only faces for which it is true.
        fittable: skip faces with too few labels to fit camera and shape; without it, only those with none.

    Raises:
        AnnotationError: the source can't be read at all, or has no split of that name.
    """
    parsed = parse_source(source, formats) if isinstance(source, str) else source
    known = parsed.format.splits
    if split is not None and known and split not in known:
        raise AnnotationError(f"{parsed.name}: no split {split!r}; {parsed.format.name} has {', '.join(known)}")
    return itertools.islice(_selected(_checked(parsed.read(), fittable), split, where), limit)


def _selected(
    faces: Iterator[Face | Skipped], split: str | None, where: Callable[[Face], bool] | None
) -> Iterator[Face | Skipped]:
    for face in faces:
        if isinstance(face, Face):
            if split is not None and not face.belongs_to(split):
                continue
            if where is not None and not where(face):
                continue
        yield face


def _checked(faces: Iterator[Face | Skipped], fittable: bool) -> Iterator[Face | Skipped]:
    # The first blocks are small, so that who wants few faces does not wait for many.
    for size in itertools.chain((8, 32), itertools.repeat(BLOCK)):
        block: list[Face | Skipped] = []
        failure = None
        try:
            for face in itertools.islice(faces, size):
                block.append(face)
        except AnnotationError as error:  # what was read before it is given first
            failure = error
        reasons = iter(check_faces([face for face in block if isinstance(face, Face)], fittable=fittable))
        for face in block:
            reason = next(reasons) if isinstance(face, Face) else None
            yield _printable(face if reason is None else Skipped(face.id, reason))
        if failure is not None:
            raise failure
        if len(block) < size:
            return


def _printable(face: Face | Skipped) -> Face | Skipped:
    """The face, if its name can be stored and shown; file names may hold bytes that are no UTF-8 (surrogates)."""
    if len(face.id) <= LONGEST_NAME and face.id.isascii() and isinstance(face, Face) and face.file.isascii():
        return face
    printable = face.id.encode(errors="replace").decode()
    if len(printable) > LONGEST_NAME:
        return Skipped(f"{printable[:80]}…", f"the face's name is longer than {LONGEST_NAME} characters")
    if isinstance(face, Skipped):
        return Skipped(printable, face.reason.encode(errors="replace").decode())
    if printable != face.id or face.file.encode(errors="replace").decode() != face.file:
        return Skipped(printable, "the file name is not UTF-8; rename it")
    return face


def unread(errors: list[OSError], root: Path) -> Iterator[Skipped]:
    """The folders below the root that ``os.walk`` could not list, of which it says nothing by itself."""
    for error in errors:
        place = Path(error.filename)
        name = place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)
        yield Skipped(name, f"{place}: the folder can't be read ({error.strerror or error})")


def inside(root: str, name: str) -> str:
    """``root/name``, if the name stays below the root.

    Links in the folder are followed, as many keep their images on another disk; what came out of somebody's archive
    may have links to anywhere.

    Args:
        root: folder that the name is told from.
        name: as an annotation has it; with slashes or, as Windows writes them, backslashes.

    Raises:
        AnnotationError: an empty name, one with NUL, an absolute one, or one that climbs out by ``..``.
    """
    if "\\" in name:
        name = name.replace("\\", "/")
    # Colons: C:/x is absolute where Windows reads it.
    if not name or name[0] == "/" or "\0" in name or name[1:2] == ":" or (".." in name and ".." in name.split("/")):
        raise AnnotationError(f"the image name {name[:200]!r} leads out of the data set's folder")
    return f"{root}/{name}"


def flag(value: Any) -> str:
    """A short form of something found in a file, for a message: never its whole, which may be long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
