"""Importers of the Basel face models of 2017 and 2019 (``bfm2017``, ``bfm2019``), from their HDF5 files.

Statismo's layout, for ``shape`` and ``expression`` alike:

    model/mean (3V,) millimetres, model/pcaBasis (3V, K) of unit length, model/pcaVariance (K,)
    representer/points (3, V), representer/cells (3, T) from 0
    metadata/landmarks/json: [{"id": "right.eye.corner_outer", "coordinates": [x, y, z]}, …] beside both

``model2017-1_bfm_nomouth.h5``, ``model2017-1_face12_nomouth.h5``, ``model2019_bfm.h5``, ``model2019_face12.h5`` and
``model2019_fullHead.h5`` all have it, each with its own vertices. x to the image's right, y up, z towards the viewer.
The expression's mean is the mean offset from a neutral face; it is added, since p is centred on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.mat73 import member, read_array
from pifa_data.matfile import Damaged, Limit
from pifa_data.morphable import importing
from pifa_data.morphable.model import MorphableModel

_LANDMARKS = "metadata/landmarks/json"
_LARGEST_TEXT = 2**20

# The files' own named landmarks → ibug68 from 0. Not used: brows (named at their lower and upper edges) and nostrils.
NAMED = {
    **{"center.chin.tip": 8, "center.nose.tip": 30, "center.nose.attachement_to_philtrum": 33},
    **{"right.eye.corner_outer": 36, "right.eye.corner_inner": 39},
    **{"left.eye.corner_inner": 42, "left.eye.corner_outer": 45},
    **{"right.lips.corner": 48, "right.lips.philtrum_ridge": 50, "center.lips.upper.outer": 51},
    **{"left.lips.philtrum_ridge": 52, "left.lips.corner": 54, "center.lips.lower.outer": 57},
    **{"center.lips.upper.inner": 62, "center.lips.lower.inner": 66},
}

# ibug68 from 0 → vertex of model2017-1_bfm_nomouth.h5, from the mapping published with eos.
_VERTICES_2017 = 53149
ANCHORS_2017 = {
    **{8: 47846, 30: 8156},  # chin bottom, nose tip
    **{36: 2602, 39: 5830, 42: 10390, 45: 13481},  # eye corners, right to left
    **{48: 5522, 49: 6026, 50: 7355, 51: 8181, 52: 9007, 53: 10329, 54: 10857},  # upper lip's outer line
    **{55: 9730, 56: 8670, 57: 8199, 58: 7726, 59: 6898},  # lower lip's outer line, left to right
    **{60: 6291, 61: 7364, 62: 8190, 63: 9016, 64: 10088, 65: 8663, 66: 8191, 67: 7719},  # inner lines
}


def import_bfm2017(paths: Sequence[Path], landmarks: Mapping[int, int] | None = None) -> MorphableModel:
    """Read a model of 2017. See `import_bfm2019`."""
    return _import(paths, landmarks, "2017", ANCHORS_2017, _VERTICES_2017)


def import_bfm2019(paths: Sequence[Path], landmarks: Mapping[int, int] | None = None) -> MorphableModel:
    """Read a model of 2019 from its ``.h5``; its landmarks are those that the file names.

    Raises:
        MorphableError: not such a file, arrays missing or of wrong shapes, or links to other files.
    """
    return _import(paths, landmarks, "2019", {}, 0)


def _import(
    paths: Sequence[Path], landmarks: Mapping[int, int] | None, year: str, table: Mapping[int, int], vertices: int
) -> MorphableModel:
    import h5py  # 0.1 s, and only here

    path = importing.require_file(importing.one_path(paths, f"model{year}….h5"))
    try:
        with importing.naming(path), h5py.File(path, "r") as file:
            mean, basis, deviations = _part(file, "shape")
            cells = _read(file, "shape/representer/cells")
            expression = _part(file, "expression") if "expression" in file else None
            named = _named(file, mean)
    except MorphableError:
        raise
    except Exception as error:
        # HDF5 meets damage with errors of many kinds, most of them RuntimeError, KeyError and OSError.
        raise MorphableError(f"{path}: not an HDF5 model, or a damaged one ({error})") from error
    with importing.naming(path):
        triangles = importing.indices(cells, "shape/representer/cells", len(mean))
        if triangles.ndim != 2 or 3 not in triangles.shape:
            raise MorphableError(f"shape/representer/cells: expected shape (3, any), found {triangles.shape}")
        modes = np.zeros((0, len(mean), 3), np.float32)
        if expression is not None:
            if len(expression[0]) != len(mean):
                raise MorphableError(
                    f"expression/model/mean: expected {len(mean)} vertices, as shape has, found {len(expression[0])}"
                )
            mean, modes = mean + expression[0], importing.modes(*expression[1:])
        anchors = importing.merge(named, table if len(mean) == vertices else {})
        if not anchors and not landmarks:
            raise MorphableError(
                f"{_LANDMARKS} is missing or names no known landmark; give landmarks of your own with --landmarks"
            )
        return importing.finish(
            name=f"bfm{year}",
            mean=mean,
            identity=importing.modes(basis, deviations),
            expression=modes,
            triangles=triangles.T if triangles.shape[0] == 3 else triangles,
            anchors=anchors,
            landmarks=landmarks,
            units="millimetre",
            licence=f"Basel Face Model {year}: research only, see faces.dmi.unibas.ch",
            source=f"https://faces.dmi.unibas.ch/bfm, {path.name}",
        )


def _find(file: Any, name: str) -> Any:
    """What has that name in the file itself, None if nothing: links to other files would read what they please."""
    import h5py

    node = file
    for part in name.split("/"):
        if not isinstance(node, h5py.Group) or part not in node:
            return None
        try:
            node = member(node, part)
        except Damaged as error:
            raise MorphableError(f"{name}: {error}") from error
    return node


def _read(file: Any, name: str, text: bool = False) -> Any:
    """An array; with ``text`` also a string."""
    import h5py

    node = _find(file, name)
    if node is None:
        raise MorphableError(f"the array {name} is missing; expected the layout of a Basel model of 2017 or 2019")
    if not isinstance(node, h5py.Dataset) or node.external is not None or node.is_virtual:
        raise MorphableError(f"{name}: expected an array in this file, found something else; refused")
    limit = _LARGEST_TEXT if text else importing.LARGEST_ARRAY
    if node.size is None or node.size > limit:
        raise MorphableError(f"{name}: expected at most {limit} numbers, found {node.shape}")
    if text and h5py.check_string_dtype(node.dtype):
        if node.size != 1 or node.chunks or node.dtype.itemsize > limit:
            raise MorphableError(f"{name}: expected one text, found {node.dtype} {node.shape}")
        return np.ravel(node[()])[0]
    try:
        return read_array(node, Limit(8 * importing.LARGEST_ARRAY))
    except Damaged as error:
        raise MorphableError(f"{name}: {error}") from error


def _part(file: Any, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean ``(V, 3)``, basis ``(3V, K)`` and standard deviations ``(K,)`` of ``shape`` or ``expression``."""
    flat = np.ravel(_read(file, f"{part}/model/mean"))
    mean = importing.numbers(flat, f"{part}/model/mean", (None,))
    if not len(mean) or len(mean) % 3:
        raise MorphableError(f"{part}/model/mean: expected x, y, z of each vertex, found {flat.shape}")
    basis = importing.numbers(_read(file, f"{part}/model/pcaBasis"), f"{part}/model/pcaBasis", (len(mean), None))
    variance = _read(file, f"{part}/model/pcaVariance")
    variances = importing.standard_deviations(variance, f"{part}/model/pcaVariance", basis.shape[1])
    return mean.reshape(-1, 3), basis, np.sqrt(variances)


def _named(file: Any, mean: np.ndarray) -> dict[int, int]:
    """ibug68 number → the vertex nearest to where the file's named landmark lies, where it has such landmarks."""
    if _find(file, _LANDMARKS) is None:
        return {}
    value = _read(file, _LANDMARKS, text=True)
    text = value.tobytes() if isinstance(value, np.ndarray) else value
    try:
        places = {
            NAMED[entry["id"]]: np.array(entry["coordinates"], dtype=np.float64)
            for entry in json.loads(text)
            if entry["id"] in NAMED
        }
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MorphableError(f"{_LANDMARKS}: expected a list of id and coordinates, found something else") from error
    vertices: dict[int, int] = {}
    for landmark, place in sorted(places.items()):
        vertices[landmark] = int(((mean - importing.numbers(place, _LANDMARKS, (3,))) ** 2).sum(1).argmin())
    return vertices
