"""Sources and morphable models as a user names them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import platformdirs

from pifa_data.errors import AnnotationError, MorphableError
from pifa_data.faces import Face, Skipped
from pifa_data.morphable import BUILTIN, MorphableModel, load_builtin
from pifa_data.readers import FORMATS, Source, parse_source, read_faces
from pifa_data.readers.names import Names
from pifa_data.readers.where import parse_where
from pifa_data.urls import join

ICT = "2ed23540cded2c46c2920d39ae2659d1cdb478b93f097012542cfef73c5a80f5"
"""Fingerprint of the model that `pifa morphable get ict` gives, and that checkpoints of the zoo need."""


def home() -> Path:
    """Where caches live: ``$PIFA_HOME``, or the platform's cache folder."""
    return Path(os.environ.get("PIFA_HOME") or platformdirs.user_cache_dir("pifa"))


def model_folder() -> Path:
    """Where imported morphable models are kept, one file a model, named ``NAME.safetensors``."""
    return home() / "morphable"


def load_faces(
    sources: Sequence[str],
    *,
    split: str | None = None,
    limit: int | None = None,
    where: str | None = None,
    strict: bool = False,
    fittable: bool = True,
) -> tuple[list[Face], list[Skipped]]:
    """All faces of the sources, with unique ids, and those that can't be used.

    Raises:
        AnnotationError: a source can't be read at all; with ``strict``, the first unusable face.
    """
    faces: list[Face] = []
    skipped: list[Skipped] = []
    for face in stream_faces(sources, split=split, limit=limit, where=where, fittable=fittable):
        if isinstance(face, Face):
            faces.append(face)
        elif strict:
            raise AnnotationError(f"{face.id}: {face.reason} (--strict stops at the first unusable face)")
        else:
            skipped.append(face)
    if not faces:
        raise no_face(sources, "no usable face found", skipped, split=split, where=where)
    return faces, skipped


def no_face(
    sources: Sequence[str],
    text: str,
    skipped: Sequence[Skipped],
    *,
    count: int | None = None,
    split: str | None = None,
    where: str | None = None,
) -> AnnotationError:
    """The error that sources have no face that can be used: ``text``, what was chosen of them, what was skipped.

    Args:
        count: how many were skipped, if ``skipped`` does not have all.
    """
    asked = " and ".join(f"--{name} {value!r}" for name, value in (("split", split), ("where", where)) if value)
    chosen = f" among those chosen by {asked}" if asked else ""
    first = f"; the first: {skipped[0].id}: {skipped[0].reason}" if skipped else ""
    count = len(skipped) if count is None else count
    return AnnotationError(f"{', '.join(sources)}: {text}{chosen} ({count:,} skipped{first})")


def parse_sources(sources: Sequence[str]) -> list[Source]:
    """The sources' formats and paths.

    Raises:
        AnnotationError: a source is of no known format, or named twice.
    """
    parsed = [parse_source(source, FORMATS) for source in sources]
    for i, source in enumerate(parsed):
        if any((source.format, source.path.resolve()) == (other.format, other.path.resolve()) for other in parsed[:i]):
            raise AnnotationError(f"{sources[i]}: is named twice")
    return parsed


def stream_faces(
    sources: Sequence[str],
    *,
    split: str | None = None,
    limit: int | None = None,
    where: str | None = None,
    fittable: bool = True,
    images: str | None = None,
) -> Iterator[Face | Skipped]:
    """The faces of the sources one after the other.

    Names are unique: a face whose name an earlier source gave is called ``FORMAT:NAME``, and one whose name its own
    source gave before comes as ``Skipped``.

    Args:
        sources: ``FORMAT:PATH[,OPTION=VALUE…]`` or paths.
        split, limit: which faces of each source.
        where: an expression that they have to meet, see ``pifa_data.readers.where``.
        fittable: skip faces with too few labels to be fitted.
        images: folder or URL that has the images where they would be below the source's own folder.

    Raises:
        AnnotationError: a source can't be read at all, or is named twice.
        PifaError: ``where`` is no such expression.
    """
    chosen = None if where is None else parse_where(where)
    seen = Names()
    for source in parse_sources(sources):
        own = Names() if len(sources) > 1 else seen
        for face in read_faces(source, FORMATS, split=split, limit=limit, where=chosen, fittable=fittable):
            if isinstance(face, Face):
                if images is not None:
                    face = _moved(face, source, images)
                if not own.add(face.id):
                    face = Skipped(face.id, "a face of this name was there before")
                elif own is not seen and not seen.add(face.id):
                    face = replace(face, id=f"{source.format.name}:{face.id}")
                    if not seen.add(face.id):
                        face = Skipped(face.id, "two sources gave a face of this name before")
            yield face


def _moved(face: Face, source: Source, images: str) -> Face:
    """The face with its image below ``images``, where it is below the source's folder."""
    folder = source.path if source.path.is_dir() else source.path.parent
    file, above = Path(face.file).absolute(), folder.absolute()  # some readers make a relative path whole
    if not file.is_relative_to(above):
        raise AnnotationError(
            f"--images {images}: {face.file} would not be below {folder}, the source's own folder; name as the source "
            "the folder that has labels and images"
        )
    return replace(face, file=join(images, file.relative_to(above).as_posix()))


def find_model(name: str) -> MorphableModel:
    """A morphable model by file, or by name: ``builtin``, or an imported one's.

    Raises:
        MorphableError: there is none of that name.
    """
    if name == BUILTIN:  # whatever lies in the folder: ./builtin names a file of that name
        return load_builtin()
    path = Path(name)
    if path.suffix == ".safetensors" or path.is_file():
        return MorphableModel.load(path)
    kept = model_folder() / f"{name}.safetensors"
    if path.name == name and kept.is_file():
        return MorphableModel.load(kept)
    known = ", ".join(sorted(p.stem for p in model_folder().glob("*.safetensors"))) or "none"
    raise MorphableError(
        f"morphable model {name!r}: no such file, and no imported model of that name (imported: {known}); "
        f"take {BUILTIN!r}, or see `pifa morphable get` and `pifa morphable import`"
    )


def find_model_by_fingerprint(fingerprint: str, places: Sequence[Path] = ()) -> MorphableModel:
    """The model a checkpoint was trained with: ``builtin``, or looked for in ``places`` and among the imported models.

    Raises:
        MorphableError: none of them has that fingerprint.
    """
    own = load_builtin()
    if own.fingerprint == fingerprint:
        return own
    candidates = [*places, *sorted(model_folder().glob("*.safetensors"))]
    for path in candidates:
        if path.is_file():
            try:
                model = MorphableModel.load(path)
            except MorphableError as error:
                warnings.warn(str(error), stacklevel=2)  # another one may still be right
                continue
            if model.fingerprint == fingerprint:
                return model
    cure = "name its file with --morphable, or import it with `pifa morphable import`"
    if fingerprint == ICT:
        cure = "it is `ict`, which `pifa morphable get ict` downloads; or name its file with --morphable"
    raise MorphableError(
        f"the checkpoint needs the morphable model with fingerprint {fingerprint[:12]}…, which is not here; {cure}"
    )
