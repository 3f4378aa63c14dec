"""Importer of the Basel face model of 2009 (``bfm2009``), alone or with an expression basis for its mesh.

Micrometres, x to the image's right, y up, z towards the viewer. Each file is recognised by what it holds:

    01_MorphableModel.mat  shapeMU (160470, 1), shapePC (160470, 199) of unit length, shapeEV (199, 1) standard
                           deviations, tl (106466, 3) triangles from 1: 53490 vertices
    Exp_Pca.bin            int32 K; float32 mean offset (3n); float32 modes (K × 3n) of unit length. Made by Guo et al.
                           (CoarseData) from FaceWarehouse, on n = 53215 vertices; of its 79 modes 64 are used, as
                           Deep3DFaceRecon does
    std_exp.txt            their standard deviations (with Deep3DFaceRecon)
    BFM_exp_idx.mat        trimIndex (53215,): the vertices from 1 that the expression files have (the same)
    Model_Shape.mat        w, mu_shape, sigma, tri (3, T) and keypoints (68) from 1: the same shapes on 53215 vertices,
                           as 300W-LP's ModelGenerate.m makes it from 01_MorphableModel.mat
    Model_Expression.mat   w_exp (159645, 29), mu_exp, sigma_exp: the 29 modes of 300W-LP (sigma_exp.mat where it is
                           a file of its own)

The last two are the paper's set: 199 + 29 coefficients, 236 parameters with M. The mean of an expression basis is added
to the mean face: p is centred on it, as 300W-LP's parameters are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable import importing
from pifa_data.morphable.matlab import read_mat
from pifa_data.morphable.model import MorphableModel

BINARY_MODES = 64
"""Modes of Exp_Pca.bin that are used; the rest of its 79 are noise."""

_FILES = "01_MorphableModel.mat (with Exp_Pca.bin and std_exp.txt), or Model_Shape.mat with Model_Expression.mat"
_BASEL = ("shapeMU", "shapePC", "shapeEV", "tl")
_LP_SHAPE = ("mu_shape", "w", "sigma", "tri", "keypoints")
_LP_EXPRESSION = ("w_exp", "mu_exp")
_ROUNDING = 0.01

# ibug68 from 0 → vertex of 01_MorphableModel.mat, from the mapping published with eos (the model's own MPEG-4 feature
# points; MPEG-4 numbers in brackets). The jaw and the points between these are transferred.
ANCHORS = {
    **{17: 38792, 19: 40087, 21: 40514},  # right brow: outer end (4.6), middle (4.4), inner end (4.2)
    **{22: 41091, 24: 41511, 26: 42825},  # left brow: inner end (4.1), middle (4.3), outer end (4.5)
    **{30: 8319, 33: 8334},  # nose tip (9.3), where nose and lip meet (9.15)
    **{36: 2088, 39: 5959, 42: 10603, 45: 14472},  # eye corners from the right outer one (3.12, 3.8, 3.11, 3.7)
    **{48: 5006, 51: 8344, 54: 11714, 57: 8374},  # mouth: right corner (8.4), top (8.1), left (8.3), bottom (8.2)
    **{62: 8354, 66: 8366},  # inner lip: top (2.2), bottom (2.3)
}


@dataclass(frozen=True)
class _Shape:
    """Mean ``(V, 3)``, basis ``(3V, K)``, deviations ``(K,)``, triangles from 0, and known ibug68 vertices."""

    path: Path
    mean: np.ndarray
    basis: np.ndarray
    deviations: np.ndarray
    triangles: np.ndarray
    anchors: dict[int, int]


@dataclass(frozen=True)
class _Expression:
    """Mean offset ``(V, 3)``, basis ``(3V, K)``, deviations ``(K,)``."""

    path: Path
    mean: np.ndarray
    basis: np.ndarray
    deviations: np.ndarray


def import_bfm2009(paths: Sequence[Path], landmarks: Mapping[int, int] | None = None) -> MorphableModel:
    """Read the model and its expressions from the files named at the top of this module, in any order.

    Raises:
        MorphableError: not such files, arrays missing or of wrong shapes, or files that do not belong together.
    """
    if not paths:
        raise MorphableError(f"expected {_FILES}, found no path")
    documents = {path: _read(path) for path in dict.fromkeys(paths)}
    shape = _shape(documents)
    kept = _kept_vertices(documents, len(shape.mean))
    expression = _expression(documents)
    if expression is not None and len(expression.mean) != len(shape.mean):
        if kept is None or len(kept) != len(expression.mean):
            raise MorphableError(
                f"{expression.path}: expected the {len(shape.mean)} vertices of {shape.path.name}, found "
                f"{len(expression.mean)}; give BFM_exp_idx.mat too, which says which vertices they are"
            )
        with importing.naming(shape.path):
            shape = _cropped(shape, kept)
    mean, modes = shape.mean, np.zeros((0, len(shape.mean), 3), np.float32)
    if expression is not None:
        mean = mean + expression.mean
        modes = importing.modes(expression.basis, expression.deviations)
    with importing.naming(shape.path):
        return importing.finish(
            name="bfm2009",
            mean=mean,
            identity=importing.modes(shape.basis, shape.deviations),
            expression=modes,
            triangles=shape.triangles,
            anchors=shape.anchors,
            landmarks=landmarks,
            units="micrometre",
            licence="Basel Face Model 2009: research only, see faces.dmi.unibas.ch; expressions from FaceWarehouse",
            source="https://faces.dmi.unibas.ch/bfm, " + ", ".join(path.name for path in documents),
        )


def _read(path: Path) -> dict[str, Any]:
    """What of a file is known, by name; ``binary`` and ``text`` for the two formats that have no names."""
    importing.require_file(path)
    with importing.naming(path):
        if path.suffix.lower() == ".bin":
            return {"binary": _read_binary(path)}
        if path.suffix.lower() == ".txt":
            return {"text": _read_text(path)}
        known = (*_BASEL, *_LP_SHAPE, *_LP_EXPRESSION, "sigma_exp", "trimIndex")
        document = read_mat(path, known)
        if not document:
            raise MorphableError(f"expected {_FILES}, found a .mat file with none of their arrays")
        return document


def _shape(documents: Mapping[Path, dict[str, Any]]) -> _Shape:
    found = [path for path, document in documents.items() if "shapeMU" in document or "mu_shape" in document]
    if len(found) != 1:
        raise MorphableError(
            f"{', '.join(map(str, documents))}: expected one file with the shape, found {len(found)}; give {_FILES}"
        )
    path, document = found[0], documents[found[0]]
    with importing.naming(path):
        basel = "shapeMU" in document
        _demand(document, _BASEL if basel else _LP_SHAPE)
        mu, pc, ev, tl = (document[name] for name in (_BASEL if basel else _LP_SHAPE)[:4])
        names = _BASEL if basel else _LP_SHAPE
        mean = _vertices(mu, names[0])
        basis = importing.numbers(pc, names[1], (mean.size, None))
        deviations = importing.standard_deviations(ev, names[2], basis.shape[1])
        triangles = importing.indices(tl, names[3], len(mean), first=1)
        if triangles.ndim == 2 and triangles.shape[0] == 3 and not basel:
            triangles = triangles.T
        if triangles.ndim != 2 or triangles.shape[1] != 3:
            raise MorphableError(f"{names[3]}: expected three vertices a triangle, found {np.shape(tl)}")
        if basel:
            return _Shape(path, mean, basis, deviations, triangles, ANCHORS)
        keypoints = importing.indices(document["keypoints"], "keypoints", len(mean), first=1).ravel()
        if len(keypoints) != 68:
            raise MorphableError(f"keypoints: expected the 68 points of ibug68, found {len(keypoints)}")
        return _Shape(path, mean, basis, deviations, triangles, dict(enumerate(keypoints.tolist())))


def _expression(documents: Mapping[Path, dict[str, Any]]) -> _Expression | None:
    found = [path for path, document in documents.items() if "w_exp" in document or "binary" in document]
    if len(found) > 1:
        raise MorphableError(f"{found[1]}: expected one expression basis, found another in {found[0]}; give one")
    if not found:
        return None
    path, document = found[0], documents[found[0]]
    with importing.naming(path):
        if "binary" in document:
            return _binary_expression(path, documents)
        _demand(document, _LP_EXPRESSION)
        mean = _vertices(document["mu_exp"], "mu_exp")
        basis = importing.numbers(document["w_exp"], "w_exp", (mean.size, None))
        others = [other["sigma_exp"] for other in documents.values() if "sigma_exp" in other]
        if not others:
            raise MorphableError("the array sigma_exp is missing, in this file and as sigma_exp.mat; give that too")
        return _Expression(path, mean, basis, importing.standard_deviations(others[0], "sigma_exp", basis.shape[1]))


def _binary_expression(path: Path, documents: Mapping[Path, dict[str, Any]]) -> _Expression:
    mean, basis = documents[path]["binary"]
    basis = basis[:, :BINARY_MODES]
    texts = [document["text"] for document in documents.values() if "text" in document]
    beside = path.with_name("std_exp.txt")
    if not texts and beside.is_file():
        texts = [_read_text(beside)]
    if texts:
        if len(texts[0]) < basis.shape[1]:
            raise MorphableError(f"expected {basis.shape[1]} numbers in std_exp.txt, one a mode, found {len(texts[0])}")
        deviations = importing.standard_deviations(texts[0][: basis.shape[1]], "std_exp.txt", basis.shape[1])
        return _Expression(path, mean, basis, deviations)
    if np.abs(np.linalg.norm(basis, axis=0) - 1).max(initial=0) < _ROUNDING:
        raise MorphableError("its modes are of length 1 without their standard deviations; give std_exp.txt too")
    return _Expression(path, mean, basis, np.ones(basis.shape[1]))  # scaled already


def _kept_vertices(documents: Mapping[Path, dict[str, Any]], vertices: int) -> np.ndarray | None:
    for path, document in documents.items():
        if "trimIndex" in document:
            with importing.naming(path):
                kept = importing.indices(document["trimIndex"], "trimIndex", vertices, first=1).ravel()
                if len(np.unique(kept)) != len(kept):
                    raise MorphableError("trimIndex: expected each vertex once, found one twice")
                return kept
    return None


def _cropped(shape: _Shape, kept: np.ndarray) -> _Shape:
    """The shape on the vertices ``kept``, in their order; triangles and anchors that lose a corner go."""
    number = np.full(len(shape.mean), -1)
    number[kept] = np.arange(len(kept))
    triangles = number[shape.triangles]
    columns = shape.basis.reshape(len(shape.mean), 3, -1)[kept]
    inside = {i: int(number[v]) for i, v in shape.anchors.items() if v < len(number) and number[v] >= 0}
    return _Shape(
        path=shape.path,
        mean=shape.mean[kept],
        basis=columns.reshape(3 * len(kept), -1),
        deviations=shape.deviations,
        triangles=triangles[(triangles >= 0).all(axis=1)],
        anchors=inside,
    )


def _demand(document: Mapping[str, Any], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in document]
    if missing:
        raise MorphableError(f"the arrays {', '.join(missing)} are missing; expected {', '.join(names)}")


def _vertices(value: Any, name: str) -> np.ndarray:
    flat = importing.numbers(np.ravel(np.asarray(value)), name, (None,))
    if not len(flat) or len(flat) % 3:
        raise MorphableError(f"{name}: expected x, y, z of each vertex in a column, found {np.shape(value)}")
    return flat.reshape(-1, 3)


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean offset ``(n, 3)`` and basis ``(3n, K)`` of an Exp_Pca.bin."""
    data = path.read_bytes()
    count = int(np.frombuffer(data[:4].ljust(4, b"\0"), "<i4")[0])
    length, rest = divmod(len(data) - 4, 4 * (1 + count)) if count > 0 else (0, 1)
    if rest or not length or length % 3:
        raise MorphableError(
            f"expected Exp_Pca.bin (int32 K, then (1 + K) rows of x, y, z as float32), found {len(data)} bytes "
            f"with K = {count}; not such a file, or a cut one"
        )
    values = np.frombuffer(data, "<f4", offset=4).reshape(1 + count, length)
    values = importing.numbers(values, "modes", (1 + count, length))
    return values[0].reshape(-1, 3), values[1:].T


def _read_text(path: Path) -> np.ndarray:
    try:
        return np.array(path.read_text(encoding="ascii").split(), dtype=np.float64)
    except ValueError as error:
        raise MorphableError(f"{path}: expected the numbers of std_exp.txt, found others") from error
