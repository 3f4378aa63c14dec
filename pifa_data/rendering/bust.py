"""A morphable model's head as a photograph has it: with teeth, eyes, hair and shoulders, one mesh with one texture.

Everything that is added is placed in the *head's frame*: millimetres, x to the image's right, y up, z towards the
viewer, zero between the ends of the jaw line (before the ears), scaled so that these are 146 mm apart on the mean face.
Hair and body are bound to the skin near them, so they follow identity and expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from pifa_data.camera import rotation
from pifa_data.morphable.model import MorphableModel
from pifa_data.morphable.points import landmark_vertices
from pifa_data.profiling.mesh import openings
from pifa_data.profiling.raster import rasterise
from pifa_data.rendering.atlas import EYE, MOUTH, on_patch, on_skin

JAW = 146.0
"""mm between landmarks 0 and 16."""

BOUND = 4
"""Vertices of the skin that one of hair and body follows."""

EYE_REACH = 25.0
"""mm: nearer than this to an eye's or the mouth's middle is a part of it."""

CENTRE = np.array([0.0, 22.0, -3.0])
"""mm: the middle of the skull, about which hair is told in directions."""

VIEWS, VIEW_SIZE = 36, 130
"""Directions from which the light that reaches each vertex is counted, and pixels of the pictures for it."""


@dataclass(frozen=True)
class Addition:
    """Hair or body: a mesh bound to the skin.

    Attributes:
        offsets: ``(N, 3)`` where each vertex lies from the mean place of the skin that it follows, model units.
        binding: ``(N, V)`` rows of weights of the skin's vertices.
        triangles: ``(T, 3)``, numbers of this mesh's own vertices.
        uv: ``(N, 2)`` texture pixels.
    """

    offsets: np.ndarray
    binding: csr_array
    triangles: np.ndarray
    uv: np.ndarray


class Bust:
    """What all persons of one model share.

    Attributes:
        triangles: ``(T, 3)`` int64, the model's, then those that close mouth and eyes.
        uv: ``(N, 2)`` float32 texture pixels of the model's V vertices, then of those added.
        openness: ``(N,)`` float32, share of the sky that each vertex sees on the mean face.
        eyes: ``(N,)`` bool, vertices of eyeballs, which gaze moves over the texture.
    """

    def __init__(self, model: MorphableModel) -> None:
        """Raises MorphableError if the model has no vertices for ``ibug68``."""
        self.model = model
        self.landmarks = landmark_vertices(model, "ibug68")
        ends = model.mean[self.landmarks[[0, 16]]].astype(np.float64)
        self.middle = ends.mean(0)
        self.unit = float(np.linalg.norm(ends[1] - ends[0])) / JAW
        self.rest = self.to_head(model.mean)
        uv, self.eyes = on_skin(self.rest), np.zeros(len(self.rest), bool)
        _, label = connected_components(_joined(model.triangles, len(model.mean)), directed=False)
        skin = np.bincount(label[model.triangles.ravel()]).argmax()
        empty = self._paint_eyeballs(uv, label != skin)
        parts, triangles = [uv], [model.triangles.astype(np.int64)]
        self._rims: list[np.ndarray] = []
        for edges in openings(model):
            rim = np.unique(edges)
            patch = self._patch_of(rim, empty) if label[rim[0]] == skin else None
            if patch is not None:
                first = sum(map(len, parts))
                # The rim's vertices stand twice, for a texture of their own, and one in their middle.
                at = np.searchsorted(rim, edges[:, ::-1]) + first
                triangles.append(np.column_stack([at, np.full(len(at), first + len(rim))]))
                parts.append(np.concatenate([patch, patch.mean(0, keepdims=True)]))
                self._rims.append(rim)
        self.uv, self.triangles = np.concatenate(parts), np.concatenate(triangles)
        self.eyes = np.concatenate([self.eyes, np.zeros(len(self.uv) - len(self.eyes), bool)])
        self.openness = self._openness()

    def to_head(self, vertices: np.ndarray) -> np.ndarray:
        """Model units to the head's frame."""
        return (vertices - self.middle) / self.unit

    def vertices(self, coefficients: np.ndarray) -> np.ndarray:
        """``(N, 3)`` float64 model units of ``(K,)`` coefficients; the first V are the model's own."""
        own = self._mean + (coefficients @ self._modes).reshape(-1, 3)
        caps = (part for rim in self._rims for part in (own[rim], own[rim].mean(0, keepdims=True)))
        return np.concatenate([own, *caps])

    @cached_property
    def _modes(self) -> np.ndarray:
        return self.model.modes.reshape(len(self.model.modes), -1).astype(np.float64)

    @cached_property
    def _mean(self) -> np.ndarray:
        return self.model.mean.astype(np.float64)

    def bind(self, places: np.ndarray, triangles: np.ndarray, uv: np.ndarray) -> Addition:
        """A mesh in the head's frame, bound to the skin near it."""
        skin = self.skin
        distance, near = self._tree.query(places, BOUND)
        weights = 1 / (distance + 10.0) ** 2  # mm; further than the skin's own grid, so that the binding is smooth
        weights /= weights.sum(1, keepdims=True)
        rows = np.repeat(np.arange(len(places)), BOUND)
        binding = coo_array((weights.ravel(), (rows, skin[near.ravel()])), (len(places), len(self._mean))).tocsr()
        offsets = places * self.unit + self.middle - binding @ self._mean
        return Addition(offsets, binding, triangles, uv.astype(np.float32))

    @cached_property
    def skin(self) -> np.ndarray:
        """Numbers of the vertices that are of a triangle."""
        return np.unique(self.model.triangles)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.rest[self.skin])

    @cached_property
    def skull(self) -> np.ndarray:
        """``(37, 73)`` mm from ``CENTRE``: the farthest skin within 9° of directions, from above down and around."""
        skin = self.rest[self.skin] - CENTRE
        skin = skin[(np.abs(skin[:, 0]) < 74) | (skin[:, 1] > 12)]  # no ears
        radius = np.linalg.norm(skin, axis=1)
        down, turn = np.meshgrid(np.linspace(0, np.pi, 37), np.linspace(-np.pi, np.pi, 73), indexing="ij")
        ways = np.stack([np.sin(turn) * np.sin(down), np.cos(down), np.cos(turn) * np.sin(down)], axis=-1)
        near = ways @ (skin / radius[:, None]).T > np.cos(np.radians(9))
        return np.where(near, radius, 0).max(2)

    def _paint_eyeballs(self, uv: np.ndarray, apart: np.ndarray) -> list[np.ndarray]:
        """Give eyeballs their texture; returns the middles of eyes without one.

        Args:
            uv: ``(V, 2)`` is changed.
            apart: ``(V,)`` bool, vertices that no edges join with the skin.
        """
        empty = []
        used = np.isin(np.arange(len(apart)), self.model.triangles)
        for points in (slice(36, 42), slice(42, 48)):
            eye = self.rest[self.landmarks[points]].mean(0)
            ball = apart & used & (np.linalg.norm(self.rest - eye, axis=1) < EYE_REACH)
            self.eyes |= ball
            uv[ball] = on_patch(EYE, self.rest[ball, :2] - eye[:2])
            if not ball.any():
                empty.append(eye)
        return empty

    def _patch_of(self, rim: np.ndarray, empty: list[np.ndarray]) -> np.ndarray | None:
        """``(R, 2)`` texture of what closes the opening: the mouth's or an empty eye's; None of others."""
        middle = self.rest[rim].mean(0)
        if np.linalg.norm(middle - self.rest[self.landmarks[60:68]].mean(0)) < EYE_REACH:
            return self._mouth_uv(rim)
        for eye in empty:
            if np.linalg.norm(middle - eye) < EYE_REACH:
                return on_patch(EYE, self.rest[rim, :2] - eye[:2])
        return None

    def _mouth_uv(self, rim: np.ndarray) -> np.ndarray:
        """Around the mouth's rim once around the patch: above the corners its upper half, below its lower one."""
        places = self.rest[rim] - self.rest[rim].mean(0)
        x = places[:, 0] / np.abs(places[:, 0]).max()
        upper, lower = self.rest[self.landmarks[[61, 62, 63]]].mean(0), self.rest[self.landmarks[[65, 66, 67]]].mean(0)
        # Closed lips lie on each other: which of them a vertex is of, the normals tell.
        normals = self.model.normals[rim]
        sign = np.where((normals[:, 1] < 0) if upper[1] - lower[1] < 2 else places[:, 1] > 0, 1.0, -1.0)
        return on_patch(MOUTH, np.column_stack([25 * x, sign * 14 * np.sqrt(np.clip(1 - x**2, 0, 1))]))

    def _openness(self) -> np.ndarray:
        """Ambient occlusion of the mean face: from how many directions each vertex is seen."""
        points = self.vertices(np.zeros(self.model.n_coefficients))
        normals = unit_normals(points, self.triangles)
        points = self.to_head(points)
        # Even over the upper three quarters of the sphere: light comes less from the ground.
        k = np.arange(VIEWS) + 0.5
        height, turn = 1 - 1.5 * k / VIEWS, k * np.pi * (1 + 5**0.5)
        seen, weight = np.zeros(len(points)), np.full(len(points), 1e-6)
        for y, angle in zip(height, turn, strict=True):
            view = rotation(angle, 0.0, 0.0)
            view = rotation(0.0, -np.arcsin(y), 0.0) @ view
            looked = points @ view.T
            plane = (looked[:, :2] + 190) * (VIEW_SIZE / 380)
            near = rasterise(plane, -looked[:, 2], self.triangles, (VIEW_SIZE, VIEW_SIZE)).depth
            column, row = np.clip(np.round(plane), 0, VIEW_SIZE - 1).astype(np.int64).T
            facing = np.maximum(normals @ view[2], 0)
            seen += facing * (-looked[:, 2] <= near[row, column] + 6)
            weight += facing
        return (seen / weight).astype(np.float32)


def _joined(triangles: np.ndarray, count: int) -> coo_array:
    ends = (triangles.ravel(), np.roll(triangles, 1, axis=1).ravel())
    return coo_array((np.ones(triangles.size), ends), (count, count))


def unit_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """``(N, 3)`` outward unit normals; 0 for a vertex of no triangle."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    u, v = b - a, c - a
    faces = np.stack(
        [
            u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1],
            u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2],
            u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0],
        ],
        axis=1,
    )
    corners = triangles.T.ravel()
    normals = np.stack([np.bincount(corners, np.tile(faces[:, i], 3), len(vertices)) for i in range(3)], axis=1)
    return normals / np.maximum(np.sqrt((normals**2).sum(1, keepdims=True)), 1e-12)
