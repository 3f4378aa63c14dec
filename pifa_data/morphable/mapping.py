"""Landmark vertices of a model: mapping files, filling in what a mapping leaves out, and a whole model from its arrays.

A mapping needs to name only a few of ibug68's 68 vertices (eye and mouth corners, nose tip, chin go far). The others
are found by warping REFERENCE68 onto the ones that are named and taking the nearest skin:

    x ↦ s R x + t            the similarity that fits the anchors best (Umeyama, PAMI 1991)
    x ↦ x + E[f(x) | f(aᵢ) = rᵢ + noise]    what it leaves, interpolated

with f a Gaussian process a coordinate, cov(f(x), f(y)) = offset² + stretch² x·y + bend² (1 + d + d²/3) exp(−d), where
d = √5 ‖x − y‖ / reach (Matérn 5/2). That is a smoothing thin-plate spline but for two things: the affine part is
penalised as well, so that few anchors, or anchors in a plane, can't shear the face, and far from anchors the warp fades
into the affine part.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable.contours import contour_lines
from pifa_data.morphable.later import with_later_schemes
from pifa_data.morphable.model import STORED_SCHEMES, MorphableModel
from pifa_data.morphable.places import LOOSE, loose_mean, loose_modes, scheme_vertices
from pifa_data.schemes import SCHEMES, get_scheme

NOSE_TIP = 30
"""The nose tip's number in ibug68."""

# The landmarks of the mean face of the `builtin` model (`pifa_data.morphable.making`), which is estimated from the
# labels of 11,000 faces: where annotators put them. Millimetres; x to the image's right (the subject's right has
# x < 0), y up, z to the viewer, zero at the bridge of the nose. The subject's right half and the midline; the left half
# mirrors it. That face's lips are closed; here they are 1.6 mm apart, so that each inner point is nearest to its own.
_RIGHT_HALF = {
    **{0: (-72.6, -2.2, -95.4), 1: (-70.6, -23.2, -96.3), 2: (-67.7, -45.4, -94.1)},
    **{3: (-64.3, -64.7, -87.9), 4: (-57.0, -80.4, -74.6), 5: (-47.5, -91.9, -57.3)},
    **{6: (-34.6, -102.6, -39.3), 7: (-18.7, -109.3, -23.4)},
    **{17: (-54.4, 13.6, -24.6), 18: (-47.2, 19.4, -14.7), 19: (-36.5, 21.0, -6.5)},
    **{20: (-23.8, 18.5, -0.5), 21: (-11.8, 13.5, 2.6)},
    **{31: (-15.2, -44.6, -0.8), 32: (-6.7, -47.2, 3.6)},
    **{36: (-44.0, -2.7, -24.9), 37: (-38.2, 2.2, -13.8), 38: (-27.0, 1.4, -11.8)},
    **{39: (-16.6, -4.9, -16.2), 40: (-25.6, -6.4, -10.8), 41: (-36.7, -5.4, -13.0)},
    **{48: (-27.8, -65.7, -10.3), 49: (-16.0, -61.5, 1.4), 50: (-6.7, -58.5, 7.0)},
    **{58: (-9.6, -75.1, 0.4), 59: (-18.5, -71.7, -3.4)},
    **{60: (-25.3, -65.8, -9.6), 61: (-9.4, -65.2, 2.3)},
    **{67: (-9.4, -66.8, 2.3)},
    **{8: (0.0, -111.8, -16.1), 27: (0.0, 0.0, 0.0), 28: (0.0, -11.0, 8.1), 29: (0.0, -21.6, 15.9)},
    **{30: (0.0, -34.3, 23.2), 33: (0.0, -46.7, 4.5), 51: (0.0, -59.8, 7.5), 57: (0.0, -75.8, 1.5)},
    **{62: (0.0, -66.3, 4.2), 66: (0.0, -67.9, 4.3)},
}


def _whole_face() -> np.ndarray:
    points = np.full((68, 3), np.nan)
    for landmark, place in _RIGHT_HALF.items():
        points[landmark] = place
    mirrored = points[get_scheme("ibug68").mirror] * [-1, 1, 1]
    return np.where(np.isnan(points), mirrored, points)


REFERENCE68 = _whole_face()
"""``(68, 3)`` float64 millimetres: where ibug68's landmarks lie on an average face; see above."""

NOISE, OFFSET, STRETCH, BEND, REACH = 1.0, 5.0, 0.15, 5.0, 45.0
"""Of the warp: mm of anchors' own error, mm of the whole face, share of the distance from the middle, mm of local
shape, mm over which local shape is correlated. They say how faces and markers differ, so they hold for any model."""

_AXIS = 85.0
"""mm from the sellion back to the vertical line that skin faces away from: near the ears' canals."""
_SKIN = 0.2
"""Least cosine between a vertex normal and the direction its landmark looks to: leaves out the mouth's inside, sockets,
the back of ears, and not the underside of nose and chin."""
_FACING = 3.0
"""mm that a vertex may be farther off if its normal agrees entirely rather than not at all: keeps the inner points of
the lips on their own lips where the mouth is closed."""


def transfer_ibug68(mean: np.ndarray, normals: np.ndarray, anchors: Mapping[int, int]) -> np.ndarray:
    """The 68 landmark vertices of a model of which some are known.

    Args:
        mean: ``(V, 3)`` mean face, any units, x to the image's right, y up, z towards the viewer.
        normals: ``(V, 3)`` outward unit normals.
        anchors: landmark number in ibug68, counted from 0, to vertex number. At least 4, not all on a line.

    Returns:
        ``(68,)`` int32 vertex numbers: the anchors as given, the others the nearest skin to where they should be; no
        vertex stands for two landmarks unless the model has too few.

    Raises:
        MorphableError: a number out of range, or anchors that don't fix the face's place.
    """
    known = np.array(sorted(anchors), dtype=np.int64)
    vertices = np.array([anchors[int(landmark)] for landmark in known], dtype=np.int64)
    if len(known) < 4:
        raise MorphableError(f"expected the vertices of at least 4 landmarks of ibug68, found {len(known)}")
    if known[0] < 0 or known[-1] >= 68:
        raise MorphableError(f"expected landmark numbers of ibug68 (0 to 67), found {known[0]} to {known[-1]}")
    if vertices.min() < 0 or vertices.max() >= len(mean):
        raise MorphableError(
            f"expected vertex numbers from 0 to {len(mean) - 1}, found {vertices.min()} to {vertices.max()}"
        )
    source, target = REFERENCE68[known], mean[vertices].astype(np.float64)
    scale, turn, shift = _similarity(source, target)
    # Everything from here on in the reference's frame and millimetres.
    skin = (mean - shift) @ turn / scale
    facing = normals @ turn
    places = REFERENCE68 + _warp(source, skin[vertices] - source)(REFERENCE68)
    return _nearest_skin(skin, facing, places, dict(zip(known.tolist(), vertices.tolist(), strict=True)))


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and translation with target ≈ scale · source @ turn.T + shift (Umeyama)."""
    centre, goal = source.mean(0), target.mean(0)
    flat = np.linalg.svd(source - centre, compute_uv=False)
    spread = np.linalg.svd(target - goal, compute_uv=False)
    if flat[1] < 0.05 * flat[0] or spread[1] < 0.02 * spread[0] or not spread[0] > 0:
        raise MorphableError(
            "the landmarks given lie on a line, which doesn't fix the face's place; "
            "give some of both sides (eye corners and mouth corners, say)"
        )
    left, singular, right = np.linalg.svd((target - goal).T @ (source - centre))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    turn = left * signs @ right
    scale = float((singular * signs).sum() / ((source - centre) ** 2).sum())
    return scale, turn, goal - scale * turn @ centre


def _warp(at: np.ndarray, offsets: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The smooth field with roughly these ``(A, 3)`` offsets ``at`` these places, millimetres; see the file's top."""
    middle = REFERENCE68.mean(0)

    def covariance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        d = np.sqrt(5) * np.linalg.norm(x[:, None] - y[None], axis=2) / REACH
        linear = STRETCH**2 * (x - middle) @ (y - middle).T
        return OFFSET**2 + linear + BEND**2 * (1 + d + d**2 / 3) * np.exp(-d)

    weights = np.linalg.solve(covariance(at, at) + NOISE**2 * np.eye(len(at)), offsets)
    return lambda x: covariance(x, at) @ weights


def _outward(places: np.ndarray) -> np.ndarray:
    """Where the skin around each of the 68 landmarks roughly looks to: ``(68, 3)`` unit vectors."""
    outward = places - np.stack([np.zeros(68), places[:, 1], np.full(68, -_AXIS)], axis=1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    # Inside of the mouth's slit: the upper lip looks down, the lower one up.
    outward[[61, 62, 63]] = [0.0, -0.6, 0.8]
    outward[[65, 66, 67]] = [0.0, 0.6, 0.8]
    return outward


def _nearest_skin(skin: np.ndarray, normals: np.ndarray, places: np.ndarray, fixed: dict[int, int]) -> np.ndarray:
    outward = _outward(places)
    chosen = np.full(68, -1, dtype=np.int32)
    for landmark, vertex in fixed.items():
        chosen[landmark] = vertex
    for landmark in np.flatnonzero(chosen < 0).tolist():
        agreement = normals @ outward[landmark]
        cost = ((skin - places[landmark]) ** 2).sum(1) + _FACING**2 * (1 - agreement)
        cost[agreement < _SKIN] += 1e6  # only where there is nothing else
        cost[chosen[chosen >= 0]] += 1e9
        chosen[landmark] = cost.argmin()
    return chosen


def read_mapping(path: Path, vertices: int | None = None) -> dict[int, int]:
    """Read a mapping file: TOML with one table ``[ibug68]``, landmark name or number (from 0) = vertex (from 0).

    Args:
        vertices: number of the model's vertices, where it is known.

    Returns:
        Landmark number to vertex number.

    Raises:
        MorphableError: not such a file, an unknown landmark, one or its vertex given twice, or a vertex that is no
            integer or out of range.
    """
    if not path.is_file():
        raise MorphableError(f"{path}: no such mapping file")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MorphableError(f"{path}: not a TOML file ({error})") from error
    table = document.get("ibug68")
    if set(document) != {"ibug68"} or not isinstance(table, dict):
        found = ", ".join(f"[{name}]" for name in document) or "nothing"
        raise MorphableError(f"{path}: expected one table [ibug68] of landmark = vertex, found {found}")
    names = get_scheme("ibug68").points
    mapping: dict[int, int] = {}
    taken: dict[int, str] = {}
    for key, vertex in table.items():
        if key in names:
            landmark = names.index(key)
        elif key.isascii() and key.isdigit() and len(key) < 4 and int(key) < len(names):
            landmark = int(key)
        else:
            raise MorphableError(
                f"{path}: {key!r} is no landmark of ibug68; expected 0 to 67 or a name such as {names[0]}, {names[30]}"
            )
        if type(vertex) is not int:  # bool is an int to isinstance
            raise MorphableError(f"{path}: {key}: expected a vertex number, found {type(vertex).__name__}")
        if vertex < 0 or (vertices is not None and vertex >= vertices):
            limit = f"0 to {vertices - 1}" if vertices is not None else "0 and up"
            raise MorphableError(
                f"{path}: {key}: expected a vertex number ({limit}), found {vertex}; they count from 0"
            )
        if landmark in mapping:
            raise MorphableError(f"{path}: {key}: landmark {landmark} is given twice, as name and as number; keep one")
        if vertex in taken:
            raise MorphableError(f"{path}: {key}: vertex {vertex} is {taken[vertex]} already; give each its own")
        mapping[landmark], taken[vertex] = vertex, key
    if not mapping:
        raise MorphableError(f"{path}: [ibug68] is empty; expected landmark = vertex, at least 4 of them")
    return mapping


def complete_model(
    *,
    name: str,
    mean: np.ndarray,
    identity: np.ndarray,
    expression: np.ndarray,
    triangles: np.ndarray,
    ibug68: np.ndarray,
    units: str,
    licence: str,
    source: str,
    expression_names: tuple[str, ...] = (),
) -> MorphableModel:
    """A model from its arrays and its ibug68 vertices: nose tip, every scheme's vertices and contour lines derived.

    The model has three vertices more than ``mean``, part of no triangle: pupils and the mouth's centre, which no skin
    is near when eyes or mouth are open.

    Args:
        mean: ``(V, 3)``, model units, x to the image's right, y up, z towards the viewer.
        identity, expression: ``(K, V, 3)``, model units for one standard deviation.
        triangles: ``(T, 3)``, counter-clockwise seen from outside.
        ibug68: ``(68,)`` vertex numbers, as of :func:`transfer_ibug68`.

    Raises:
        MorphableError: arrays that don't fit together; the message names the array, the caller adds the file.
    """
    landmarks = np.ascontiguousarray(ibug68, dtype=np.int32)
    bare = MorphableModel(
        name=name,
        mean=np.ascontiguousarray(mean, dtype=np.float32),
        identity=np.ascontiguousarray(identity, dtype=np.float32),
        expression=np.ascontiguousarray(expression, dtype=np.float32),
        triangles=np.ascontiguousarray(triangles, dtype=np.int32),
        landmarks={"ibug68": landmarks},
        contours={},
        nose_tip=int(landmarks[NOSE_TIP]) if landmarks.shape == (68,) else -1,
        units=units,
        licence=licence,
        source=source,
        expression_names=expression_names,
    )
    points, count = bare.mean[landmarks], len(bare.mean)
    every = scheme_vertices(bare.mean, bare.normals, landmarks, count + np.arange(len(LOOSE)), STORED_SCHEMES)
    contours = {
        scheme: contour_lines(bare.mean, bare.normals, vertices, SCHEMES[scheme].contour, bare.nose_tip)
        for scheme, vertices in every.items()
        if SCHEMES[scheme].contour
    }

    def with_loose(modes: np.ndarray) -> np.ndarray:
        more = loose_modes(modes[:, landmarks].astype(np.float64))
        return np.concatenate([modes, more.astype(np.float32)], axis=1)

    whole = replace(
        bare,
        mean=np.concatenate([bare.mean, loose_mean(points.astype(np.float64)).astype(np.float32)]),
        identity=with_loose(bare.identity),
        expression=with_loose(bare.expression),
        landmarks=every,
        contours=contours,
    )
    return with_later_schemes(whole)
