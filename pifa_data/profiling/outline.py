"""The head's outline in a picture, and anchors around it that carry the surroundings along when the head turns.

Rays leave the face's middle in all directions. On each, the outline is the outermost skin that the picture shows, and
anchors follow from there outwards to a border that stays where it is. Near the head they recede: the farther out, the
deeper, as hair and neck do; so what lies beside the head comes round to its back. (Anchors on the outline, around the
head and on a fixed border are Zhu et al.'s, "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016, section 4
on face profiling, and "High-fidelity pose and expression normalization", CVPR 2015, section 4, for their depth.)

Everything here is in the picture's space: x and y pixels, depth in pixels, larger is farther.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RAYS, RINGS = 96, 10
"""Anchors around, and steps from outline to border."""

RECEDE = 8.0
"""Depth for each pixel outwards. The back of a head is as deep as its face is wide; at 8 all of it gets what lies
within an eighth of a face beside the outline, which is hair where there is some. At 3 walls came onto bald heads."""

INSET = 0.96
"""Share of the outline's radius where anchors start: the fit's outline is not the picture's to the pixel."""


@dataclass(frozen=True)
class Outline:
    """An outline, star-shaped about a centre.

    Attributes:
        centre: ``(2,)`` pixels.
        radius, depth: ``(RAYS,)``.
    """

    centre: np.ndarray
    radius: np.ndarray
    depth: np.ndarray

    @classmethod
    def of(cls, surface: np.ndarray, centre: np.ndarray) -> Outline:
        """The outline of the skin that a picture shows.

        Args:
            surface: ``(N, 3)`` the skin's vertices, N > 0.
            centre: ``(2,)`` a point within.
        """
        angle, radius = _polar(surface, centre)
        sector = np.floor((angle + np.pi) / (2 * np.pi) * RAYS).astype(np.int64) % RAYS
        order = np.argsort(radius, kind="stable")
        outermost = np.full(RAYS, -1)
        outermost[sector[order]] = order  # of several the last
        outermost = outermost[outermost >= 0]
        outermost = outermost[np.argsort(angle[outermost], kind="stable")]
        at = angle[outermost]
        found = [np.interp(_angles(), at, values[outermost], period=2 * np.pi) for values in (radius, surface[:, 2])]
        # A little smoother, so that ear and neck don't make steps.
        smooth = [(np.roll(values, 1) + 2 * values + np.roll(values, -1)) / 4 for values in found]
        return cls(centre, *smooth)

    def beside(self, points: np.ndarray) -> np.ndarray:
        """Where the picture shows what may stand for skin beyond the outline: ``(N, 2)`` pixels of ``(N, 3)`` points.

        The farther back, the farther out, as the anchors recede.
        """
        angle, _ = _polar(points, self.centre)
        radius, depth = (np.interp(angle, _angles(), v, period=2 * np.pi) for v in (self.radius, self.depth))
        radius = INSET * radius + np.maximum(points[:, 2] - depth, 0) / RECEDE
        return self.centre + radius[:, None] * _directions(angle)

    def anchors(self, low: np.ndarray, high: np.ndarray, deepest: float) -> np.ndarray:
        """``(RAYS, RINGS + 1, 3)``: from the outline to the border.

        Args:
            low, high: ``(2,)`` corners of the border, a rectangle around the centre; it gives way where the head
                reaches beyond it.
            deepest: how far behind the outline anchors recede.
        """
        directions = _directions(_angles())
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(directions > 0, high - self.centre, low - self.centre) / directions
        border = np.maximum(np.nanmin(reach, axis=1), 1.05 * self.radius)
        start = INSET * self.radius[:, None]
        radius = start + np.linspace(0, 1, RINGS + 1) * (border[:, None] - start)
        depth = self.depth[:, None] + np.minimum(RECEDE * (radius - start), deepest)
        places = self.centre + radius[..., None] * directions[:, None]
        return np.concatenate([places, depth[..., None]], axis=2)


def ring_triangles() -> np.ndarray:
    """``(T, 3)`` int64 between anchors that are numbered ray by ray, the first of each at the common centre.

    With it every pixel within the border is covered, however the anchors between are moved.
    """
    ray, ring = np.meshgrid(np.arange(RAYS), np.arange(RINGS + 1), indexing="ij")
    a, b, c, d = ((ray + i) % RAYS * (RINGS + 2) + ring + j for i, j in ((0, 0), (0, 1), (1, 1), (1, 0)))
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def stillness() -> np.ndarray:
    """``(RINGS + 1,)`` from 0 at the outline, which turns with the head, smoothly to 1 at the border."""
    t = np.linspace(0, 1, RINGS + 1)
    return t * t * (3 - 2 * t)


def _angles() -> np.ndarray:
    return (np.arange(RAYS) + 0.5) * (2 * np.pi / RAYS) - np.pi


def _directions(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _polar(points: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = (points[:, :2] - centre).T
    return np.arctan2(y, x), np.hypot(x, y)
