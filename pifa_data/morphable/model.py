"""The 3D morphable model (equation 1) and its file.

    S(p) = S₀ + Σ p_k^I S_k^I + Σ p_k^E S_k^E

with p in standard deviations: every mode is stored scaled to one. The file is safetensors (arrays and nothing else,
so that a foreign model can't run code) with the key ``pifa`` of its header holding a small JSON document; it is
described in docs/morphable.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pifa_data.errors import MorphableError
from pifa_data.morphable.simplify import sample_vertices
from pifa_data.schemes import SCHEMES, get_scheme

FORMAT = "pifa-morphable"
FORMAT_VERSION = 2
"""2: the nose tip is an array, so in the fingerprint; modes may be stored as float16."""

STORED_SCHEMES = ("ibug68", "ibug51", "aflw21", "aflw19", "pifa34", "afw6", "cofw29", "wflw98")
"""What importers put into a file of this version. Later schemes are told when they are asked for (``later.py``): with
them in the file, a model imported again would not be the one that checkpoints name."""


@dataclass(frozen=True)
class Contour:
    """Where the ``2d`` contour labels of a scheme may lie on the head.

    Attributes:
        points: ``(J,)`` landmark number of each line.
        vertices: ``(J, C)`` candidate vertices of each line, from the landmark's own vertex towards the middle
            of the face; a landmark that never marches repeats its vertex.
        side: ``(J,)`` −1 where the line is on the image's left of a frontal face, +1 on its right, 0 in the middle.
    """

    points: np.ndarray
    vertices: np.ndarray
    side: np.ndarray


@dataclass(frozen=True)
class MorphableModel:
    """A 3D morphable model.

    Attributes:
        name: short name.
        mean: ``(V, 3)`` float32, model units.
        identity: ``(K_I, V, 3)`` float32, model units for one standard deviation.
        expression: ``(K_E, V, 3)`` float32, the same.
        triangles: ``(T, 3)`` int32, counter-clockwise seen from outside.
        landmarks: vertex numbers of each scheme's points. Of a loaded model also those of schemes that its file lacks
            (see ``later.py``).
        contours: contour lines of each scheme that has ``2d`` labels.
        nose_tip: vertex number.
        units: what one model unit is, as ``centimetre``.
        licence, source: for people.
    """

    name: str
    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    triangles: np.ndarray
    landmarks: Mapping[str, np.ndarray]
    contours: Mapping[str, Contour]
    nose_tip: int
    units: str
    licence: str = ""
    source: str = ""
    expression_names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        # `replace` hands on what was told of the model before; one of other numbers may not have it.
        object.__setattr__(self, "landmarks", self.stored_landmarks)
        object.__setattr__(self, "contours", self.stored_contours)
        _validate(self)

    @property
    def n_coefficients(self) -> int:
        """K: identity and expression modes together."""
        return len(self.identity) + len(self.expression)

    @property
    def stored_landmarks(self) -> Mapping[str, np.ndarray]:
        """``landmarks`` of the schemes that the file has: the model's identity, whatever schemes are known."""
        return getattr(self.landmarks, "stored", self.landmarks)

    @property
    def stored_contours(self) -> Mapping[str, Contour]:
        """``contours`` of the schemes that the file has."""
        return getattr(self.contours, "stored", self.contours)

    @cached_property
    def modes(self) -> np.ndarray:
        """``(K, V, 3)`` float32: identity modes, then expression modes."""
        return np.concatenate([self.identity, self.expression])

    @cached_property
    def mode_sizes(self) -> np.ndarray:
        """``(K,)`` float64: root mean square movement of a vertex for one standard deviation, model units.

        This is the paper's σ_k up to one constant: for an orthonormal basis σ_k is this times √V.
        """
        return np.sqrt((self.modes.astype(np.float64) ** 2).sum(2).mean(1))

    def vertices(self, coefficients: np.ndarray, subset: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Equation 1: ``(..., K)`` coefficients to ``(..., V, 3)`` vertices, model units."""
        modes = self.modes[:, subset].astype(np.float64)
        flat = np.asarray(coefficients, dtype=np.float64) @ modes.reshape(len(modes), 3 * modes.shape[1])
        return self.mean[subset] + flat.reshape(*flat.shape[:-1], -1, 3)

    def simplify(self, count: int) -> np.ndarray:
        """Vertices to draw instead of all: well spread where the face is seen, with every stored scheme's landmarks.

        Take ``mean``, ``modes`` and ``normals`` at these numbers: the normals stay those of the full mesh. Contour
        candidates are not kept: they are a dense line a landmark, and drawing needs none of them.

        Args:
            count: vertices wanted; all of them if the model has fewer.

        Returns:
            ``(count,)`` int64 vertex numbers, ascending.

        Raises:
            MorphableError: fewer than the landmarks have vertices.
        """
        keep = np.unique(np.concatenate([[self.nose_tip], *self.stored_landmarks.values()]))
        if count < len(keep):
            raise MorphableError(f"expected at least {len(keep)} vertices, those of the landmarks, found {count}")
        return sample_vertices(self.mean, self.normals, keep, self.nose_tip, count)

    @cached_property
    def normals(self) -> np.ndarray:
        """N₀ of equation 8: ``(V, 3)`` float32 outward unit normals of the mean face.

        A vertex of no triangle (a pupil, the middle of the mouth) looks straight ahead.
        """
        corners = self.mean[self.triangles].astype(np.float64)
        # The cross product's length is twice the area, so large triangles weigh more.
        faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.zeros((len(self.mean), 3))
        for corner in range(3):
            np.add.at(normals, self.triangles[:, corner], faces)
        normals[~np.isin(np.arange(len(normals)), self.triangles)] = [0.0, 0.0, 1.0]
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return (normals / np.maximum(length, 1e-12)).astype(np.float32)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every array that a fit or a network depends on: the model's identity, whatever its name."""
        digest = hashlib.sha256()
        for name, array in sorted(_tensors(self).items()):
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def save(self, path: Path, *, half: bool = False) -> None:
        """Write the model's file.

        Args:
            half: store the modes as float16, at half the size. What is loaded again differs by up to 2⁻¹¹ of each
                number, so it is another model with a fingerprint of its own.

        Raises:
            MorphableError: with ``half``, a mode too large for float16 (above 65,504 model units).
            OSError: the file can't be written.
        """
        model, tensors = self, _tensors(self)
        if half:
            identity, expression = (_half(name, tensors[name]) for name in ("identity", "expression"))
            model = replace(self, identity=identity.astype(np.float32), expression=expression.astype(np.float32))
            tensors |= {"identity": identity, "expression": expression}
        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "units": self.units,
            "licence": self.licence,
            "source": self.source,
            "expression_names": list(self.expression_names),
            "fingerprint": model.fingerprint,
        }
        temporary = path.with_name(f".{path.name}.partial")
        save_file(tensors, temporary, metadata={"pifa": json.dumps(header)})
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> MorphableModel:
        """Read a model's file; schemes that it lacks are told when asked for.

        Raises:
            MorphableError: missing, not such a file, damaged, or arrays that do not fit together.
        """
        if not path.is_file():
            raise MorphableError(f"{path}: no such morphable model; make one with `pifa morphable import`")
        try:
            with safe_open(path, framework="np") as file:
                header = json.loads((file.metadata() or {}).get("pifa", "null"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        # Type and attribute errors: arrays of types that NumPy does not have, as bfloat16.
        except (SafetensorError, ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
            raise MorphableError(f"{path}: not a morphable model's file ({error})") from error
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise MorphableError(f"{path}: a safetensors file, but not of a morphable model (no {FORMAT} header)")
        if header.get("format_version") != FORMAT_VERSION:
            raise MorphableError(
                f"{path}: format version {header.get('format_version')!r}, this program reads {FORMAT_VERSION}; "
                "make it again from its owner's file with `pifa morphable import`"
            )
        try:
            model = _from_tensors(header, tensors)
        except KeyError as error:
            raise MorphableError(f"{path}: the array or header key {error} is missing") from error
        except (TypeError, ValueError, OverflowError) as error:  # MorphableError is a ValueError
            raise MorphableError(f"{path}: {error}") from error
        if model.fingerprint != header.get("fingerprint"):
            raise MorphableError(
                f"{path}: expected fingerprint {header.get('fingerprint')}, found {model.fingerprint}; "
                "the file is damaged, import it again"
            )
        from pifa_data.morphable.later import with_later_schemes  # which is about this class

        return with_later_schemes(model)


def _tensors(model: MorphableModel) -> dict[str, np.ndarray]:
    tensors = {
        "mean": model.mean,
        "identity": model.identity,
        "expression": model.expression,
        "triangles": model.triangles,
        "nose_tip": np.array([model.nose_tip], dtype=np.int32),
    }
    for scheme, vertices in model.stored_landmarks.items():
        tensors[f"landmarks.{scheme}"] = vertices
    for scheme, contour in model.stored_contours.items():
        tensors[f"contour.{scheme}.points"] = contour.points
        tensors[f"contour.{scheme}.vertices"] = contour.vertices
        tensors[f"contour.{scheme}.side"] = contour.side
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def _half(name: str, array: np.ndarray) -> np.ndarray:
    largest = float(np.abs(array).max(initial=0.0))
    if largest > float(np.finfo(np.float16).max):
        raise MorphableError(f"{name}: expected numbers that fit float16 (up to 65504), found {largest:.3g}")
    return array.astype(np.float16)


def _from_tensors(header: dict, tensors: dict[str, np.ndarray]) -> MorphableModel:
    # In memory always float32; other types are left as they are and refused with the rest.
    mean, identity, expression = (
        array.astype(np.float32) if array.dtype == np.float16 else array
        for array in (tensors[name] for name in ("mean", "identity", "expression"))
    )
    tip = tensors["nose_tip"]
    if tip.shape != (1,) or tip.dtype != np.int32:
        raise MorphableError(f"nose_tip: expected one int32, found {tip.dtype} {tip.shape}")
    landmarks = {name.split(".")[1]: array for name, array in tensors.items() if name.startswith("landmarks.")}
    contours = {
        name.split(".")[1]: Contour(*(tensors[name.replace("points", part)] for part in ("points", "vertices", "side")))
        for name in tensors
        if name.startswith("contour.") and name.endswith(".points")
    }
    return MorphableModel(
        name=str(header["name"]),
        mean=mean,
        identity=identity,
        expression=expression,
        triangles=tensors["triangles"],
        landmarks=landmarks,
        contours=contours,
        nose_tip=int(tip[0]),
        units=str(header["units"]),
        licence=str(header.get("licence", "")),
        source=str(header.get("source", "")),
        expression_names=tuple(header.get("expression_names", ())),
    )


def _validate(model: MorphableModel) -> None:
    """Shapes, types, finite numbers and vertex numbers in range, or MorphableError."""

    def demand(good: bool, what: str) -> None:
        if not good:
            raise MorphableError(what)

    n = len(model.mean)
    for name in ("mean", "identity", "expression"):
        array = getattr(model, name)
        shape = "(V, 3)" if name == "mean" else "(K, V, 3)"
        good = array.dtype == np.float32 and array.shape[-2:] == (n, 3) and array.ndim == shape.count(",") + 1
        demand(good, f"{name}: expected {shape} float32 with V = {n}, found {array.shape} {array.dtype}")
        demand(bool(np.isfinite(array).all()), f"{name}: holds numbers that are not finite")

    def indices(name: str, array: np.ndarray, shape: tuple[int | None, ...], limit: int) -> None:
        fits = array.ndim == len(shape) and all(
            want in (None, got) for want, got in zip(shape, array.shape, strict=False)
        )
        demand(
            fits and array.dtype == np.int32,
            f"{name}: expected int32 {shape}, found {array.dtype} {array.shape}",
        )
        in_range = array.size == 0 or (array.min() >= 0 and array.max() < limit)
        demand(bool(in_range), f"{name}: a number is out of range (0 to {limit - 1})")

    indices("triangles", model.triangles, (None, 3), n)
    indices("nose_tip", np.array([model.nose_tip], dtype=np.int32), (1,), n)
    for scheme, vertices in model.stored_landmarks.items():
        demand(scheme in SCHEMES, f"landmarks.{scheme}: no such landmark scheme")
        indices(f"landmarks.{scheme}", vertices, (len(get_scheme(scheme)),), n)
    for scheme, contour in model.stored_contours.items():
        demand(scheme in model.landmarks, f"contour.{scheme}: the scheme has no landmark vertices")
        lines = len(contour.points)
        indices(f"contour.{scheme}.points", contour.points, (lines,), len(get_scheme(scheme)))
        demand(
            len(np.unique(contour.points)) == lines,
            f"contour.{scheme}.points: expected one line a landmark, found a landmark with several",
        )
        indices(f"contour.{scheme}.vertices", contour.vertices, (lines, None), n)
        demand(
            contour.vertices.shape[1] > 0, f"contour.{scheme}.vertices: expected one candidate a line at least, found 0"
        )
        demand(
            contour.side.shape == (lines,) and bool(np.isin(contour.side, (-1, 0, 1)).all()),
            f"contour.{scheme}.side: expected one of -1, 0, 1 a line",
        )
