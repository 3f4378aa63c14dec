"""Importer of ICT-FaceKit's folder of OBJ files (``ict``).

``generic_neutral_mesh.obj`` is the mean; ``identityNNN.obj`` is the mean moved by one standard deviation of one
identity mode; every other OBJ is the neutral face with one expression at full weight, which is taken as its standard
deviation. All have the same vertices in centimetres, x to the image's right, y up, z towards the viewer, and quads
counter-clockwise from outside. The skin of face, neck and ears is vertices 0 to 9408; behind them follow head, eyes,
teeth, tongue and lashes, which no landmark lies on.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable import importing
from pifa_data.morphable.model import MorphableModel

FACE_VERTICES = 9409
LICENCE = "MIT (ICT-FaceKit, USC Institute for Creative Technologies)"
SOURCE = "https://github.com/ICT-VGL/ICT-FaceKit"

_NEUTRAL = "generic_neutral_mesh"
_IDENTITY = re.compile(r"identity\d{3}")

# ibug68 from 0 → vertex, as the kit's own README and vertex_indices.json have it.
LANDMARKS = dict(
    enumerate(
        [
            *(1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966),  # jaw, subject's right ear to chin
            *(3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443),  # and on to the left ear
            *(268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509),  # brows, right to left
            *(978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360),  # nose: bridge to tip, nostrils right to left
            *(1507, 1542, 1537, 1528, 1518, 1511),  # right eye, from its outer corner
            *(3742, 3751, 3756, 3721, 3725, 3732),  # left eye, from its inner corner
            *(5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841),  # outer lip
            *(5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966),  # inner lip
        ]
    )
)


ANNOTATED: dict[int, int] = {
    # jaw: back along the ramus to the ear
    0: 8156, 1: 8052, 2: 7448, 3: 8841, 4: 823, 5: 261, 6: 785, 8: 962,
    10: 3026, 11: 2502, 12: 3064, 13: 9164, 14: 6721, 15: 7325, 16: 7429,
    # brows
    17: 994, 20: 2043, 21: 2006, 22: 4206, 23: 4239, 26: 3214,
    # eyes
    36: 705, 39: 521, 40: 1557, 42: 2762, 45: 2946, 47: 3771,
    # lips
    49: 5665, 51: 5525, 53: 6170, 60: 5705, 61: 5709, 63: 6214, 64: 6210, 65: 6485, 67: 5981,
}  # fmt: skip
"""Landmarks (ibug68 number → vertex) that annotators set elsewhere than the owner's ``idx_to_landmark_verts`` says.

Estimated from MERL-RAV's labels of AFLW and AFLW's poses (``benchmarks/landmarks.py`` does it for any model). The
owner's jaw line runs over the cheek, 25 mm before the ears; annotators follow the ramus from the tragus down, which is
what is seen of a turned head. With the owner's, a profile's depth from ear to nose can only be had by turning the head
less and stretching the face. The others are the vertex nearest to where the labels lie on average, up to 5 mm away.

The script itself puts points 2 to 7 another 5 to 10 mm lower, on the jaw's rim. That fits ``2d`` labels better still
(median residual 0.94 % for 1.11 %) but depth and jaw of AFLW2000-3D worse (2.6 % for 2.2 %, four faces).
"""


def annotated(owners: Mapping[int, int]) -> dict[int, int]:
    """The owner's landmarks with those moved that annotators set elsewhere; landmarks of another mesh stay."""
    return {i: ANNOTATED.get(i, v) if LANDMARKS.get(i) == v else v for i, v in owners.items()}


@cache
def published_files() -> dict[str, str]:
    """Path in the kit's repository → SHA-256: what of the kit makes the model, and its licence.

    From the commit ``da5f95a607f5e6b37755b38d3385d7f2853732e5``.
    """
    text = resources.files("pifa_data.morphable").joinpath("ict_facekit.sha256").read_text(encoding="ascii")
    return {path: sha256 for sha256, path in (line.split() for line in text.splitlines())}


def import_ict(paths: Sequence[Path], landmarks: Mapping[int, int] | None = None) -> MorphableModel:
    """Read the kit's folder: ``FaceXModel``, or the one that holds it.

    A folder in which some modes are missing gives a model named ``ict-partial`` of those that are there, and a warning
    that names what is not.

    Raises:
        MorphableError: no neutral mesh, no identity, no expression, or an OBJ that is cut, damaged or of another mesh.
    """
    folder = importing.one_path(paths, "the folder FaceXModel")
    if (folder / "FaceXModel").is_dir():
        folder = folder / "FaceXModel"
    if not folder.is_dir():
        raise MorphableError(f"{folder}: expected ICT-FaceKit's folder of OBJ files, found none; {_CURE}")
    identities, expressions, partial = _inventory(folder)
    neutral = folder / f"{_NEUTRAL}.obj"
    whole = read_vertices(neutral)
    with importing.naming(neutral):
        if len(whole) < FACE_VERTICES:
            raise MorphableError(f"expected at least the face's {FACE_VERTICES} vertices, found {len(whole)}")
        triangles = read_triangles(neutral, len(whole), FACE_VERTICES)
    face = whole[:FACE_VERTICES]

    def offsets(names: Iterable[str]) -> np.ndarray:
        modes = []
        for name in names:
            moved = read_vertices(folder / f"{name}.obj")
            if len(moved) != len(whole):
                raise MorphableError(
                    f"{folder / name}.obj: expected the {len(whole)} vertices of the neutral mesh, found {len(moved)}"
                )
            modes.append((moved[:FACE_VERTICES] - face).astype(np.float32))
        return np.stack(modes)

    identity, expression = offsets(identities), offsets(expressions)
    # A mode that moves no vertex of the face region (a pupil) could never be estimated.
    moving = np.abs(expression).max(axis=(1, 2)) > 0
    with importing.naming(folder):
        return importing.finish(
            name="ict-partial" if partial else "ict",
            mean=face,
            identity=identity,
            expression=expression[moving],
            triangles=triangles,
            anchors=annotated(LANDMARKS),
            landmarks=landmarks,
            units="centimetre",
            licence=LICENCE,
            source=f"{SOURCE}, face region",
            expression_names=tuple(name for name, keep in zip(expressions, moving, strict=True) if keep),
        )


_CURE = "`pifa morphable get ict` fetches all of it"


def _inventory(folder: Path) -> tuple[list[str], list[str], bool]:
    """Names of the identities and of the expressions that are there, and whether some are missing."""
    there = {path.stem for path in folder.glob("*.obj")}
    expected = {Path(path).stem for path in published_files() if path.endswith(".obj")}
    missing = sorted(expected - there)
    identities = sorted(name for name in there if _IDENTITY.fullmatch(name))
    expressions = sorted(there - set(identities) - {_NEUTRAL})
    if _NEUTRAL not in there or not identities or not expressions:
        raise MorphableError(
            f"{folder}: expected {_NEUTRAL}.obj, identity000.obj … identity099.obj and the expressions; "
            f"missing are {_some(missing)}; {_CURE}"
        )
    if missing:
        warnings.warn(
            f"{folder}: a part of ICT-FaceKit: {len(identities)} identities and {len(expressions)} expressions; "
            f"missing are {_some(missing)}; {_CURE}",
            stacklevel=3,
        )
    return identities, expressions, bool(missing)


def _some(names: list[str]) -> str:
    shown = ", ".join(f"{name}.obj" for name in names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def read_vertices(path: Path) -> np.ndarray:
    """``(V, 3)`` float64 vertices of an OBJ file.

    Raises:
        MorphableError: no file, none in it, or a line that is not three finite numbers.
    """
    lines = [line for line in importing.require_file(path).read_bytes().split(b"\n") if line.startswith(b"v ")]
    if not lines:
        raise MorphableError(f"{path}: expected an OBJ file with lines 'v x y z', found none")
    try:
        vertices = np.loadtxt(lines, dtype=np.float64, usecols=(1, 2, 3), comments=None, ndmin=2)
    except ValueError as error:
        raise MorphableError(f"{path}: expected lines 'v x y z' of numbers, found others ({error})") from error
    with importing.naming(path):
        return importing.numbers(vertices, "vertices", (None, 3))


def read_triangles(path: Path, vertices: int, region: int) -> np.ndarray:
    """``(T, 3)`` int64 triangles of an OBJ file's polygons, each cut into a fan from its first corner.

    Args:
        vertices: number of the file's vertices.
        region: polygons with a corner beyond the first ``region`` vertices are left out.

    Raises:
        MorphableError: no polygons, or corners that are no vertex numbers.
    """
    polygons = re.findall(rb"^f (.*)$", path.read_bytes(), flags=re.MULTILINE)
    try:
        corners = [[int(corner.split(b"/")[0]) for corner in polygon.split()] for polygon in polygons]
    except ValueError as error:
        raise MorphableError(f"polygons: expected lines 'f a/b …' of vertex numbers, found others ({error})") from error
    if any(len(polygon) < 3 or min(polygon) < 1 or max(polygon) > vertices for polygon in corners):
        raise MorphableError(f"polygons: expected three or more vertex numbers from 1 to {vertices}, found others")
    inside = [polygon for polygon in corners if max(polygon) <= region]
    if not inside:
        raise MorphableError("polygons: expected lines 'f a b c', found none of the face")
    fan = [(polygon[0], *edge) for polygon in inside for edge in itertools.pairwise(polygon[1:])]
    return np.array(fan, dtype=np.int64) - 1
