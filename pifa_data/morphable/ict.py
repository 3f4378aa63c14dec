"""Importer of the ICT face model kept as one ``.npz`` of arrays (``ict-npz``)."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable.contours import contour_lines
from pifa_data.morphable.model import MorphableModel
from pifa_data.schemes import get_scheme

_NOSE_TIP_LANDMARK = 30
_ARRAYS = ("mean", "identity", "expression", "triangles", "landmarks68", "expression_names")
_LARGEST = 2**30
"""Bytes of one array. The original's largest is 11 MB; a header that claims more is an attack on memory."""


def import_ict_npz(path: Path) -> MorphableModel:
    """Read the ICT face model from its ``.npz``: modes scaled to one standard deviation, centimetres.

    Raises:
        MorphableError: not such a file, arrays missing or of wrong shapes, or pickled objects inside.
    """
    if not path.is_file():
        raise MorphableError(f"{path}: no such file")
    try:
        _refuse_bombs(path)
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in _ARRAYS if name not in file]
            if missing:
                raise MorphableError(f"{path}: the arrays {', '.join(missing)} are missing")
            arrays = {name: file[name] for name in _ARRAYS}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, MemoryError) as error:
        if isinstance(error, MorphableError):
            raise
        raise MorphableError(f"{path}: not an .npz file of plain arrays ({error})") from error

    expression = np.asarray(arrays["expression"], dtype=np.float32)
    names = [str(name) for name in np.ravel(arrays["expression_names"])]
    if expression.ndim != 3 or len(names) != len(expression):
        raise MorphableError(f"{path}: expression: expected one (V, 3) offset a name, found {expression.shape}")
    # A mode that moves no vertex of the face region could never be estimated.
    moving = np.abs(expression).max(axis=(1, 2)) > 0
    try:
        landmarks = np.asarray(arrays["landmarks68"], dtype=np.int32)
        bare = MorphableModel(
            name="ict",
            mean=np.asarray(arrays["mean"], dtype=np.float32),
            identity=np.asarray(arrays["identity"], dtype=np.float32),
            expression=expression[moving],
            triangles=np.asarray(arrays["triangles"], dtype=np.int32),
            landmarks={"ibug68": landmarks},
            contours={},
            nose_tip=int(landmarks[_NOSE_TIP_LANDMARK]) if landmarks.shape == (68,) else -1,
            units="centimetre",
            licence="MIT (ICT-FaceKit, USC Institute for Creative Technologies)",
            source="https://github.com/ICT-VGL/ICT-FaceKit, face region",
            expression_names=tuple(n for n, keep in zip(names, moving, strict=True) if keep),
        )
        contour = contour_lines(bare.mean, bare.normals, landmarks, get_scheme("ibug68").contour, bare.nose_tip)
        return replace(bare, contours={"ibug68": contour})
    except (TypeError, ValueError) as error:
        raise MorphableError(f"{path}: {error}") from error


def _refuse_bombs(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > _LARGEST:
                raise MorphableError(f"{path}: {member.filename} claims {member.file_size} bytes; refused")
