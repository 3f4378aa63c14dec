"""Sources and morphable models as a user names them."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import platformdirs

from pifa_data.errors import AnnotationError, MorphableError
from pifa_data.faces import Face, Skipped
from pifa_data.morphable import BUILTIN, MorphableModel, load_builtin
from pifa_data.readers import FORMATS, read_faces


def home() -> Path:
    """Where caches live: ``$PIFA_HOME``, or the platform's cache folder."""
    return Path(os.environ.get("PIFA_HOME") or platformdirs.user_cache_dir("pifa"))


def model_folder() -> Path:
    """Where imported morphable models are kept, one file a model, named ``NAME.safetensors``."""
    return home() / "morphable"


def load_faces(
    sources: Sequence[str], *, split: str | None = None, limit: int | None = None, strict: bool = False
) -> tuple[list[Face], list[Skipped]]:
    """All faces of the sources, with unique ids, and those that can't be used.

    Raises:
        AnnotationError: a source can't be read at all; with ``strict``, the first unusable face.
    """
    faces: list[Face] = []
    skipped: list[Skipped] = []
    seen: set[str] = set()
    read = itertools.chain.from_iterable(read_faces(source, FORMATS, split=split, limit=limit) for source in sources)
    for face in read:
        if isinstance(face, Skipped):
            if strict:
                raise AnnotationError(f"{face.id}: {face.reason} (--strict stops at the first unusable face)")
            skipped.append(face)
        elif face.id in seen:
            raise AnnotationError(f"{face.id}: two sources give a face of this name; prepare them into two stores")
        else:
            seen.add(face.id)
            faces.append(face)
    if not faces:
        first = f"; the first: {skipped[0].id}: {skipped[0].reason}" if skipped else ""
        raise AnnotationError(f"{', '.join(sources)}: no usable face found ({len(skipped)} skipped{first})")
    return faces, skipped


def stream_faces(
    sources: Sequence[str], *, split: str | None = None, limit: int | None = None
) -> Iterator[Face | Skipped]:
    """The faces of the sources one after the other; one whose name was there before comes as ``Skipped``.

    Raises:
        AnnotationError: a source can't be read at all.
    """
    seen: set[str] = set()
    for face in itertools.chain.from_iterable(read_faces(s, FORMATS, split=split, limit=limit) for s in sources):
        if isinstance(face, Face) and face.id in seen:
            yield Skipped(face.id, "another source gave a face of this name before")
            continue
        if isinstance(face, Face):
            seen.add(face.id)
        yield face


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
    raise MorphableError(
        f"the checkpoint needs the morphable model with fingerprint {fingerprint[:12]}…, which is not here; "
        "name its file with --morphable, or import it with `pifa morphable import`"
    )
