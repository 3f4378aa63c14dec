"""Importer of the ICT face model kept as one ``.npz`` of arrays (``ict-npz``)."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable import importing
from pifa_data.morphable.ict_facekit import LICENCE, SOURCE, annotated
from pifa_data.morphable.model import MorphableModel

_ARRAYS = ("mean", "identity", "expression", "triangles", "landmarks68", "expression_names")
_LARGEST = 2**30
"""Bytes of one array. The original's largest is 11 MB; a header that claims more is an attack on memory."""


def import_ict_npz(paths: Sequence[Path], landmarks: Mapping[int, int] | None = None) -> MorphableModel:
    """Read the ICT face model from its ``.npz``: modes scaled to one standard deviation, centimetres.

    Raises:
        MorphableError: not such a file, arrays missing or of wrong shapes, or pickled objects inside.
    """
    path = importing.one_path(paths, "ict_face.npz")
    arrays = _read(path)
    with importing.naming(path):
        mean = importing.numbers(arrays["mean"], "mean", (None, 3))
        identity = importing.numbers(arrays["identity"], "identity", (None, len(mean), 3))
        expression = importing.numbers(arrays["expression"], "expression", (None, len(mean), 3))
        triangles = importing.indices(arrays["triangles"], "triangles", len(mean))
        vertices = importing.indices(arrays["landmarks68"], "landmarks68", len(mean))
        if vertices.shape != (68,):
            raise MorphableError(f"landmarks68: expected 68 vertex numbers, found {vertices.shape}")
        names = [str(name) for name in np.ravel(arrays["expression_names"])]
        if len(names) != len(expression):
            raise MorphableError(f"expression_names: expected {len(expression)} names, found {len(names)}")
        # A mode that moves no vertex of the face region could never be estimated.
        moving = np.abs(expression).max(axis=(1, 2), initial=0) > 0
        return importing.finish(
            name="ict",
            mean=mean,
            identity=identity,
            expression=expression[moving],
            triangles=triangles,
            anchors=annotated(dict(enumerate(vertices.tolist()))),
            landmarks=landmarks,
            units="centimetre",
            licence=LICENCE,
            source=f"{SOURCE}, face region",
            expression_names=tuple(name for name, keep in zip(names, moving, strict=True) if keep),
        )


def _read(path: Path) -> dict[str, np.ndarray]:
    importing.require_file(path)
    try:
        _refuse_bombs(path)
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in _ARRAYS if name not in file]
            if missing:
                raise MorphableError(f"{path}: the arrays {', '.join(missing)} are missing")
            return {name: file[name] for name in _ARRAYS}
    except (ValueError, TypeError, OSError, zipfile.BadZipFile, EOFError, MemoryError) as error:
        if isinstance(error, MorphableError):
            raise
        raise MorphableError(f"{path}: not an .npz file of plain arrays ({error})") from error


def _refuse_bombs(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > _LARGEST:
                raise MorphableError(f"{path}: {member.filename} claims {member.file_size} bytes; refused")
