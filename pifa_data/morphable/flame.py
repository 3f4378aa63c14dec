"""Importer of FLAME (``flame``): ``generic_model.pkl`` (2019, 2020) or ``flame2023.pkl``, and its landmark embedding.

The pickle holds, among what skinning needs, ``v_template`` (5023, 3) in metres, ``f`` (9976, 3) and ``shapedirs``
(5023, 3, 400): 300 identity and 100 expression modes, scaled to one standard deviation. x to the image's right, y up, z
towards the viewer. The jaw's rotation is not among the modes: FLAME turns it by skinning, which is not linear.

``flame_static_embedding.pkl`` places ibug68's points 17 to 67 in triangles: ``lmk_face_idx`` (51,), ``lmk_b_coords``
(51, 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable import importing
from pifa_data.morphable.model import MorphableModel
from pifa_data.morphable.pickled import Array, Record, read_pickle

_MODEL = ("v_template", "f", "shapedirs")
_EMBEDDING = ("lmk_face_idx", "lmk_b_coords")
_IDENTITIES = 300

# ibug68 from 0 → vertex of FLAME's 5023, as projects that use its mesh list them.
_VERTICES = 5023
ANCHORS = dict(
    enumerate(
        [
            *(2212, 3060, 3485, 3384, 3386, 3389, 3418, 3395, 3414),  # jaw, subject's right ear to chin
            *(3598, 3637, 3587, 3582, 3580, 3756, 2012, 730),  # and on to the left ear
            *(1984, 3157, 335, 3705, 3684, 3851, 3863, 16, 2138, 571),  # brows, right to left
            *(3553, 3561, 3501, 3526, 2748, 2792, 3556, 1675, 1612),  # nose: bridge to tip, nostrils right to left
            *(2437, 2383, 2494, 3632, 2278, 2296),  # right eye, from its outer corner
            *(3833, 1343, 1034, 1175, 884, 829),  # left eye, from its inner corner
            *(2715, 2813, 2774, 3543, 1657, 1696, 1579, 1795, 1865, 3503, 2948, 2898),  # outer lip
            *(2845, 2785, 3533, 1668, 1730, 1669, 3509, 2786),  # inner lip
        ]
    )
)


def import_flame(paths: Sequence[Path], landmarks: Mapping[int, int] | None = None) -> MorphableModel:
    """Read FLAME from its pickle and, if it is given, its landmark embedding; nothing in them is ever run.

    Raises:
        MorphableError: a pickle of anything but arrays, or arrays missing or of wrong shapes.
    """
    if not 1 <= len(paths) <= 2:
        raise MorphableError(f"expected generic_model.pkl and flame_static_embedding.pkl, found {len(paths)} paths")
    documents = {path: read_pickle(path) for path in paths}
    path, *others = sorted(documents, key=lambda path: "v_template" not in documents[path])
    with importing.naming(path):
        mean, triangles, shapes = _model(documents[path])
    anchors = ANCHORS if len(mean) == _VERTICES else {}
    for other in others:
        with importing.naming(other):
            anchors = importing.merge(anchors, _embedded(documents[other], triangles))
    with importing.naming(path):
        if not anchors and not landmarks:
            raise MorphableError(
                f"expected FLAME's {_VERTICES} vertices, found {len(mean)}: its landmarks are not known; "
                "give flame_static_embedding.pkl, or landmarks of your own with --landmarks"
            )
        identities = min(_IDENTITIES, shapes.shape[2])
        flat = shapes.reshape(-1, shapes.shape[2])
        modes = importing.modes(flat, np.ones(flat.shape[1]))
        return importing.finish(
            name="flame",
            mean=mean,
            identity=modes[:identities],
            expression=modes[identities:],
            triangles=triangles,
            anchors=anchors,
            landmarks=landmarks,
            units="metre",
            licence="FLAME model licence (Max Planck Institute): 2019 and 2020 research only, 2023 Open CC BY 4.0",
            source="https://flame.is.tue.mpg.de",
        )


def _demand(document: dict[str, Any], names: Sequence[str], what: str) -> None:
    missing = [name for name in names if name not in document]
    if missing:
        raise MorphableError(f"not {what}: the arrays {', '.join(missing)} are missing")


def _model(document: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _demand(document, _MODEL, "FLAME's model")
    mean = importing.numbers(as_array(document["v_template"], "v_template"), "v_template", (None, 3))
    triangles = importing.indices(as_array(document["f"], "f"), "f", len(mean))
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise MorphableError(f"f: expected shape (any, 3), found {triangles.shape}")
    shapes = as_array(document["shapedirs"], "shapedirs")
    return mean, triangles, importing.numbers(shapes, "shapedirs", (len(mean), 3, None))


def _embedded(document: dict[str, Any], triangles: np.ndarray) -> dict[int, int]:
    """The vertex nearest to each embedded landmark; one that another landmark has goes to the next nearest."""
    _demand(document, _EMBEDDING, "FLAME's landmark embedding")
    faces = as_array(document["lmk_face_idx"], "lmk_face_idx").ravel()
    faces = importing.indices(faces, "lmk_face_idx", len(triangles))
    shares = importing.numbers(as_array(document["lmk_b_coords"], "lmk_b_coords"), "lmk_b_coords", (len(faces), 3))
    if len(faces) not in (51, 68):
        raise MorphableError(f"lmk_face_idx: expected the 51 or 68 points of ibug68, found {len(faces)}")
    if np.abs(shares.sum(1) - 1).max() > 0.01:
        raise MorphableError("lmk_b_coords: expected shares of a triangle's corners that add up to 1, found others")
    chosen: dict[int, int] = {}
    for row, (face, share) in enumerate(zip(faces, shares, strict=True)):
        nearest = [int(triangles[face, corner]) for corner in np.argsort(-share, kind="stable")]
        free = [vertex for vertex in nearest if vertex not in chosen.values()]
        chosen[68 - len(faces) + row] = (free or nearest)[0]
    return chosen


def as_array(value: Any, name: str) -> np.ndarray:
    """The numbers of an array, a list, or a chumpy array that `read_pickle` found.

    Raises:
        MorphableError: something else; names ``name``.
    """
    if isinstance(value, Record) and value.kind == "chumpy.reordering.Select":
        return _selected(value.state, name)
    if isinstance(value, Record) and value.kind == "chumpy.ch.Ch":
        value = value.state.get("x")
    if isinstance(value, Array):
        value = value.value
    if isinstance(value, list) and all(type(number) in (int, float) for number in value):
        value = np.array(value, dtype=np.float64)
    if not isinstance(value, np.ndarray):
        found = value.kind if isinstance(value, Record) else type(value).__name__
        raise MorphableError(f"{name}: expected an array, found {found}")
    return value


def _selected(state: dict[Any, Any], name: str) -> np.ndarray:
    """Chumpy's choice of another array's elements, brought into a shape."""
    parts = [state.get("a"), state.get("idxs")]
    if any(isinstance(part, Record) and part.kind != "chumpy.ch.Ch" for part in parts):
        raise MorphableError(f"{name}: expected an array, found a selection from something else")
    source, chosen = (as_array(part, name).ravel() for part in parts)
    try:
        return source[chosen.astype(np.int64)].reshape(state.get("preferred_shape") or (-1,))
    except (IndexError, ValueError, TypeError) as error:
        raise MorphableError(f"{name}: expected a selection that fits its array, found another") from error
