"""Moves the skin by handles: what an expression is sculpted with.

The skin is a thin plate on an elastic bed, ∫(Δd)² + |d|²/L⁴, so a movement dies away some L from its handles, and the
lips' seam, which is a cut in the mesh, lets one lip move without the other. For handles at the vertices S with given
movements t the plate's answer is G[:, S] G[S, S]⁻¹ t, with G the inverse of the energy's matrix: one factorization
serves every expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.interpolate import RBFInterpolator
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from pifa_data.morphable.making.domain import unroll
from pifa_data.morphable.making.fairing import fair, stiffness
from pifa_data.morphable.making.surface import Surface

REACH = 15.0
"""mm: L, how far a movement of the skin reaches."""

ROWS = ("lip", "full", "seam", "mouth")
"""Lines of a lip from its outer border to its inside."""


@dataclass(frozen=True)
class Lips:
    """Movement of the lips' right half (x ≥ 0), mm.

    Attributes:
        upper, lower: ``(dx, dy, dz)`` in the middle, at 0.4 and at 0.75 of the way to the corner.
        corner: of the corner.
        rolls: more for single lines, in the middle and dying away to the corner: ``upper_seam``, ``lower_full``, ….
    """

    upper: tuple[tuple[float, float, float], ...]
    lower: tuple[tuple[float, float, float], ...]
    corner: tuple[float, float, float]
    rolls: dict[str, tuple[float, float, float]]


class Plate:
    """The skin of one surface, ready to be moved."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.skin = np.flatnonzero(surface.parts["skin"])
        matrix, areas = stiffness(surface.vertices, surface.triangles)
        energy = matrix.T @ sparse.diags(1 / areas) @ matrix + sparse.diags(areas / REACH**4)
        self._factor = splu(energy.tocsc())
        self._answers: dict[int, np.ndarray] = {}
        right = self.skin[surface.unrolled[self.skin, 0] >= 0]
        self._right, self._tree = right, cKDTree(surface.unrolled[right])

    def at(self, place: tuple[float, float, float]) -> int:
        """The vertex at an anatomical place, given on the unwarped head, mm; warped heads keep the map."""
        return int(self._right[self._tree.query(unroll(np.array(place)))[1]])

    def _answer(self, vertices: np.ndarray) -> np.ndarray:
        """Columns of G."""
        new = [v for v in vertices.tolist() if v not in self._answers]
        if new:
            unit = np.zeros((len(self.surface.vertices), len(new)))
            unit[new, np.arange(len(new))] = 1.0
            self._answers.update(zip(new, self._factor.solve(unit).T, strict=True))
        return np.stack([self._answers[v] for v in vertices.tolist()], axis=1)

    def move(self, handles: dict[int, np.ndarray], sign: int = 1) -> np.ndarray:
        """``(V, 3)`` movement for handles of the right half; the left half moves as the mirror image times ``sign``."""
        flip = np.array([-1.0, 1.0, 1.0]) * sign
        both = {}
        for vertex, movement in handles.items():
            other = int(self.surface.mirror[vertex])
            both[vertex] = movement if other != vertex else (movement + flip * movement) / 2
            if other != vertex:
                both[other] = flip * movement
        vertices = np.array(list(both))
        columns = self._answer(vertices)
        movement = columns @ np.linalg.solve(columns[vertices], np.array(list(both.values())))
        movement[self.surface.parts["eyeball"]] = 0.0
        mirrored = movement[self.surface.mirror] * flip
        return (movement + mirrored) / 2

    @cached_property
    def _lip_rows(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """For each line of each lip its name, vertices, and how far each is on its way to the corner, 0 to 1."""
        lines, x = self.surface.lines, self.surface.vertices[:, 0]
        corner = x[self.surface.landmarks[54]]
        rows = []
        for lip in ("upper", "lower"):
            for row in ROWS:
                vertices = lines[f"lip_{lip}_full" if row == "full" else f"{row}_{lip}"]
                rows.append((f"{lip}_{row}", vertices, np.clip(x[vertices] / corner, 0, 1)))
        return rows

    def lips(self, lips: Lips, sign: int = 1) -> dict[int, np.ndarray]:
        """Handles of a movement of the lips, symmetric or (``sign`` −1) antisymmetric."""
        handles = {}
        for name, vertices, along in self._lip_rows:
            keys = np.array([*(lips.upper if name.startswith("upper") else lips.lower), lips.corner])
            roll = np.array(lips.rolls.get(name, (0.0, 0.0, 0.0)))
            for vertex, t in zip(vertices.tolist(), along, strict=True):
                base = np.array([np.interp(t, [0, 0.4, 0.75, 1], keys[:, k]) for k in range(3)])
                handles[vertex] = base + roll * (1 - t**2)
                if sign < 0:  # what moves up and forward here moves down and back there: nothing in the middle
                    handles[vertex][1:] *= np.sin(np.pi / 2 * min(t / 0.6, 1.0))
        return handles

    def lids(self, upper: float, lower: float = 0.0) -> dict[int, np.ndarray]:
        """Handles that slide the right eye's lids over the eyeball.

        Args:
            upper: how far the upper lid goes to the lower one: 1 closes the eye, negative opens it wider.
            lower: how far the lower lid goes to the upper one.
        """
        surface = self.surface
        vertices = surface.vertices
        white = surface.parts["white"] & (surface.unrolled[:, 0] > 0)
        depth = RBFInterpolator(vertices[white, :2], vertices[white, 2], kernel="cubic")

        marks = vertices[surface.landmarks[[42, 45]]]
        rim = surface.lines["lid_rim"]
        outer = int(np.flatnonzero(rim == surface.landmarks[45])[0])
        above, below = vertices[rim[: outer + 1]], vertices[rim[outer:]][::-1]
        handles: dict[int, np.ndarray] = {}
        for name, top, share in (("upper", True, upper), ("lower", False, lower)):
            members = self._lid(name)
            x, y = vertices[members, 0], vertices[members, 1]
            own, other = (above, below) if top else (below, above)
            rim_y = np.interp(x, *_sorted(own))
            goal = np.interp(x, *_sorted(other))
            # The plate moves with its edge; what lies towards the crease moves less.
            crease = np.interp(x, *_sorted(vertices[surface.lines["lid_crease"]]))
            fade = 1 - 0.75 * np.clip((y - rim_y) / np.maximum(crease - rim_y, 1.0), 0.0, 1.0)
            inner, far = marks[0, 0], marks[1, 0]
            within = ((x > inner) & (x < far)).astype(float)
            new_y = y + share * (goal - rim_y) * fade * within
            before = np.column_stack([x, y])
            after = np.column_stack([x, new_y])
            dz = depth(after) - depth(before)
            for vertex, dy, d in zip(members.tolist(), new_y - y, dz, strict=True):
                handles[vertex] = np.array([0.0, dy, d])
        return handles

    def _lid(self, name: str) -> np.ndarray:
        """Vertices of one lid of the right eye: its edges, and for the upper lid the plate below the crease."""
        lines, flat = self.surface.lines, self.surface.unrolled
        rim = lines["lid_rim"]
        outer = int(np.flatnonzero(rim == self.surface.landmarks[45])[0])
        edge = lines["lid_edge"]
        split = flat[rim[[0, outer]]]
        level = np.interp(flat[edge, 0], split[:, 0], split[:, 1])
        if name == "lower":
            return np.concatenate([rim[outer + 1 :], edge[flat[edge, 1] < level]])
        crease = lines["lid_crease"]
        low = np.interp(flat[:, 0], *_sorted(flat[rim[: outer + 1]]))
        high = np.interp(flat[:, 0], *_sorted(flat[crease]))
        # The plate's ends and its border with the crease are left to follow: the lid is thin and narrow there.
        margin = 0.2 * (split[1, 0] - split[0, 0])
        between = (flat[:, 1] > low) & (flat[:, 1] < low + 0.7 * (high - low))
        between &= (flat[:, 0] > split[0, 0] + margin) & (flat[:, 0] < split[1, 0] - margin)
        between &= self.surface.parts["skin"]
        return np.unique(np.concatenate([rim[: outer + 1], edge[flat[edge, 1] >= level], np.flatnonzero(between)]))

    def jaw_weights(self) -> np.ndarray:
        """``(V,)`` how far each vertex goes with the lower jaw: 1 on the chin, 0 above the mouth and on the neck."""
        surface = self.surface
        lines, marks = surface.lines, surface.landmarks
        fixed: dict[int, float] = {}
        for name in (
            "outline",
            "helix",
            "tragus",
            "brow",
            "lid_rim",
            "lid_below",
            "lip_upper",
            "lip_upper_full",
            "seam_upper",
            "mouth_upper",
            "wing_crease",
            "nostril",
            "midline",
        ):
            fixed.update(dict.fromkeys(lines[name].tolist(), 0.0))
        for name in ("lip_lower", "lip_lower_full", "seam_lower", "mouth_lower"):
            fixed.update(dict.fromkeys(lines[name].tolist(), 1.0))
        x = surface.vertices[:, 0] / surface.vertices[marks[54], 0]
        # Towards the corner both lips give way to each other.
        for vertex in fixed:
            if vertex in self._lip_vertices:
                keep = np.clip((np.abs(x[vertex]) - 0.35) / 0.65, 0, 1) ** 2
                fixed[vertex] += (0.42 - fixed[vertex]) * keep
        for landmark, weight in zip(range(8, 17), (1, 1, 1, 0.95, 0.8, 0.5, 0.2, 0.04, 0), strict=True):
            fixed[int(marks[landmark])] = weight
        for place, weight in CHIN.items():
            fixed[self.at(place)] = weight
        for vertex, weight in list(fixed.items()):
            fixed[int(surface.mirror[vertex])] = weight
        rows = np.array(list(fixed))
        n = len(surface.vertices)
        data = sparse.csr_matrix((np.ones(len(rows)), (np.arange(len(rows)), rows)), (len(rows), n))
        weights = fair(
            surface.vertices,
            surface.triangles,
            data,
            np.array(list(fixed.values()))[:, None],
            np.full(len(rows), 3.0),
            np.ones(n),
        )[:, 0]
        weights[surface.parts["eyeball"]] = 0
        weights = np.clip(weights, 0, 1)
        return (weights + weights[surface.mirror]) / 2

    @cached_property
    def _lip_vertices(self) -> set[int]:
        return {v for _, vertices, _ in self._lip_rows for v in vertices.tolist()}


# fmt: off
CHIN = {
    (0, -66.5, 91.8): 1.0, (0, -81, 93.3): 1.0, (16, -74, 89): 1.0, (27, -72, 81): 0.95, (40, -64, 69): 0.75,
    (34, -50, 83): 0.45, (48, -45, 67): 0.4, (40, -30, 81.5): 0.12, (40, -12, 84.5): 0.0, (54, -25, 66): 0.1,
    (0, -97, 66): 0.95, (0, -98.5, 53): 0.6, (0, -103.5, 38): 0.2, (0, -112, 30): 0.0, (24, -93, 52): 0.75, (36,
    -90, 25): 0.25,
    (46, -77, 24): 0.5, (46, -81, 7): 0.1, (41, -110, 2): 0.0, (53, -68, -10): 0.0, (66, -10, 40): 0.0,
}
# fmt: on
"""Weights of the jaw at places of the skin (x, y, z), mm."""


def _sorted(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(points[:, 0])
    return points[order, 0], points[order, 1]
