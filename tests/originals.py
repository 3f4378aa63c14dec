"""Files in the layouts of the owners of morphable models, made of the synthetic head: what the importers are tested on.

None of the originals may be copied here, so a `Head` is spread over as many vertices as the original has, with each
landmark at the original's vertex number.
"""

from __future__ import annotations

import json
import pickle
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import scipy.io
import scipy.sparse
from synthetic import SCHEME

from pifa_data.morphable import MorphableModel


@dataclass(frozen=True)
class Head:
    """``(V, 3)`` mean, ``(K, V, 3)`` modes for one standard deviation, ``(T, 3)`` triangles, ibug68 → vertex."""

    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    triangles: np.ndarray
    landmarks: dict[int, int]


def spread(model: MorphableModel, total: int | None = None, places: Mapping[int, int] | None = None) -> Head:
    """The synthetic head on ``total`` vertices, landmark i at ``places[i]``; vertices left over lie inside the head."""
    count = len(model.mean)
    landmarks = model.landmarks[SCHEME]
    total, places = total or count, places or {}
    at = np.full(count, -1)
    for landmark, vertex in places.items():
        at[landmarks[landmark]] = vertex
    free = np.setdiff1d(np.arange(total), at)
    at[at < 0] = free[: (at < 0).sum()]

    def placed(values: np.ndarray) -> np.ndarray:
        whole = np.zeros((*values.shape[:-2], total, 3), np.float32)
        whole[..., at, :] = values
        return whole

    mean = placed(model.mean) + 0
    mean[np.setdiff1d(np.arange(total), at)] = [0, 1, -3]
    return Head(
        mean=mean,
        identity=placed(model.identity),
        expression=placed(model.expression),
        triangles=at[model.triangles].astype(np.int32),
        landmarks={i: int(at[v]) for i, v in enumerate(landmarks)},
    )


def orthonormal(modes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Modes as columns ``(3V, K)`` of length 1, and their lengths."""
    columns = modes.reshape(len(modes), -1).T.astype(np.float64)
    lengths = np.linalg.norm(columns, axis=0)
    return columns / lengths, lengths


def mapping_file(head: Head, path: Path) -> Path:
    """All 68 landmarks as a mapping file of the user's."""
    lines = [f"{landmark} = {vertex}" for landmark, vertex in head.landmarks.items()]
    path.write_text("\n".join(["[ibug68]", *lines, ""]))
    return path


def basel_2009(head: Head, scale: float = 1e4) -> dict[str, np.ndarray]:
    """The arrays of 01_MorphableModel.mat: micrometres from the head's centimetres, triangles clockwise from 1."""
    basis, lengths = orthonormal(head.identity * scale)
    return {
        "shapeMU": (head.mean * scale).reshape(-1, 1),
        "shapePC": basis.astype(np.float32),
        "shapeEV": lengths[:, None].astype(np.float32),
        "tl": head.triangles[:, ::-1].astype(np.float64) + 1,
        "texMU": np.zeros((3, 1)),
    }


def shape_300w_lp(head: Head, scale: float = 1e4) -> dict[str, np.ndarray]:
    """The arrays of Model_Shape.mat."""
    basis, lengths = orthonormal(head.identity * scale)
    return {
        "mu_shape": (head.mean * scale).reshape(-1, 1),
        "w": basis,
        "sigma": lengths[:, None],
        "tri": head.triangles[:, ::-1].T.astype(np.float64) + 1,
        "keypoints": np.array([[head.landmarks[i] + 1 for i in range(68)]], dtype=np.uint16),
    }


def expression_300w_lp(head: Head, scale: float = 1e4) -> dict[str, np.ndarray]:
    """The arrays of Model_Expression.mat; the mean lifts the head by 1 cm."""
    return {
        "w_exp": (head.expression * scale / 2).reshape(len(head.expression), -1).T,
        "mu_exp": np.tile([0, scale, 0], len(head.mean))[:, None],
        "sigma_exp": np.full((len(head.expression), 1), 2.0),
    }


def binary_expression(head: Head, folder: Path, scale: float = 1e4) -> Path:
    """Exp_Pca.bin, and std_exp.txt beside it; the mean lifts the head by 1 cm."""
    basis, lengths = orthonormal(head.expression * scale)
    mean = np.tile([0, scale, 0], len(head.mean))
    data = struct.pack("<i", basis.shape[1]) + mean.astype("<f4").tobytes() + basis.T.astype("<f4").tobytes()
    (folder / "std_exp.txt").write_text(" ".join(map(str, lengths)))
    path = folder / "Exp_Pca.bin"
    path.write_bytes(data)
    return path


def write_mat(path: Path, **arrays: np.ndarray) -> Path:
    scipy.io.savemat(path, arrays)
    return path


NAMED = {
    **{"center.chin.tip": 8, "center.nose.tip": 30, "right.eye.corner_outer": 36, "right.eye.corner_inner": 39},
    **{"left.eye.corner_inner": 42, "left.eye.corner_outer": 45, "right.lips.corner": 48, "left.lips.corner": 54},
}


def write_basel_2017(path: Path, head: Head, names: Mapping[str, int] = NAMED) -> Path:
    """A statismo file in millimetres; the expressions' mean lifts the head by 10."""
    with h5py.File(path, "w") as file:
        for part, modes, mean in (
            ("shape", head.identity, head.mean * 10),
            ("expression", head.expression, np.tile(np.float32([0, 10, 0]), (len(head.mean), 1))),
        ):
            basis, lengths = orthonormal(modes * 10)
            file[f"{part}/model/mean"] = mean.ravel()
            file[f"{part}/model/pcaBasis"] = basis.astype(np.float32)
            file[f"{part}/model/pcaVariance"] = (lengths**2).astype(np.float32)
            file[f"{part}/representer/points"] = head.mean.T * 10
            file[f"{part}/representer/cells"] = head.triangles.T.astype(np.uint32)
        places = [
            {"id": name, "coordinates": (head.mean[head.landmarks[i]] * 10).astype(float).tolist()}
            for name, i in names.items()
        ] + [{"id": "left.ear.lobule.tip", "coordinates": [0.0, 0.0, 0.0]}]
        text = json.dumps(places).encode()
        file["metadata/landmarks/json"] = np.frombuffer(text, np.int8)
    return path


def write_surrey(folder: Path, head: Head) -> tuple[Path, Path]:
    """The shape file and the blendshapes as eos writes them, millimetres."""

    def matrix(array: np.ndarray) -> bytes:
        return struct.pack("<ii", *array.shape) + array.astype("<f4").tobytes(order="F")

    basis, lengths = orthonormal(head.identity * 10)
    triangles = head.triangles.astype("<i4")
    shape = folder / "sfm_shape.bin"
    shape.write_bytes(
        struct.pack("<I", 1)
        + matrix(head.mean.reshape(-1, 1) * 10)
        + matrix(basis)
        + matrix(lengths[:, None] ** 2)
        + struct.pack("<Q", len(triangles))
        + triangles.tobytes()
        + bytes(200)
    )
    blendshapes = folder / "expression_blendshapes.bin"
    names = ("anger", "fear", "happiness")
    blendshapes.write_bytes(
        struct.pack("<Q", len(head.expression))
        + b"".join(
            struct.pack("<Q", len(name)) + name.encode() + matrix(mode.reshape(-1, 1) * 10)
            for name, mode in zip(names, head.expression, strict=True)
        )
    )
    return shape, blendshapes


def write_obj(path: Path, vertices: np.ndarray, polygons: str) -> None:
    lines = [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in vertices.tolist()]
    path.write_text("\n".join(["# made up", "mtllib none.mtl", *lines, polygons]))


def write_ict(folder: Path, head: Head) -> Path:
    """A FaceXModel folder with all the head's modes, triangles as polygons, and a vertex beyond the face."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(head.mean)
    faces = [f"f {a}/1 {b}/2 {c}/3" for a, b, c in (head.triangles + 1).tolist()]
    polygons = "\n".join([*faces, f"f 1/1 2/1 {count + 1}/1", ""])
    beyond = np.zeros((1, 3), np.float32)
    write_obj(folder / "generic_neutral_mesh.obj", np.concatenate([head.mean, beyond]), polygons)
    names = [f"identity{i:03d}" for i in range(len(head.identity))] + ["jawOpen", "mouthSmile_L", "browInnerUp_L"]
    for name, mode in zip(names, np.concatenate([head.identity, head.expression]), strict=True):
        write_obj(folder / f"{name}.obj", np.concatenate([head.mean + mode, beyond]), polygons)
    return folder


class Ch:
    """Stands for ``chumpy.ch.Ch``: what a pickle of FLAME wraps its arrays in."""

    def __init__(self, x: Any) -> None:
        self.x = x
        self._dirty_vars: dict[str, int] = {}


def flame(head: Head) -> dict[str, Any]:
    """What the pickle holds: chumpy and plain arrays, a sparse matrix, text, in metres."""
    modes = np.concatenate([head.identity[:2], np.zeros((298, *head.mean.shape)), head.expression])
    return {
        "f": head.triangles.astype(np.uint32),
        "v_template": Ch(head.mean.astype(np.float64) / 100),
        "shapedirs": Ch(np.moveaxis(modes, 0, 2).astype(np.float64) / 100),
        "J_regressor": scipy.sparse.csc_matrix(np.eye(5)),
        "weights": np.zeros((len(head.mean), 5)),
        "bs_style": "lbs",
        "kintree_table": np.zeros((2, 5), np.int64),
    }


def dump_flame(value: Any, protocol: int = 2) -> bytes:
    """Pickle with `Ch` named as chumpy's, as if that were installed."""
    package, module = ModuleType("chumpy"), ModuleType("chumpy.ch")
    module.Ch = Ch  # type: ignore[attr-defined]
    before = Ch.__module__
    Ch.__module__ = "chumpy.ch"
    sys.modules["chumpy"], sys.modules["chumpy.ch"] = package, module
    try:
        return pickle.dumps(value, protocol)
    finally:
        Ch.__module__ = before
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
