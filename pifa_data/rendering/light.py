"""Light on a face: one lamp, a weaker second one, and the sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Light:
    """Light in the viewer's frame (x right, y up, z towards the viewer); brightness 1 shows a colour as it is.

    Attributes:
        lamps: ``(2, 3)`` unit vectors towards the lamps.
        colours: ``(2, 3)`` their linear brightness.
        sky, ground: ``(3,)`` the same of what comes from above and from below.
        shine: brightness of the highlights on skin.
    """

    lamps: np.ndarray
    colours: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    shine: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Light:
        lamps = []
        for widest in (75, 150):
            around, above = np.radians([rng.uniform(-widest, widest), rng.uniform(-15, 65)])
            lamps.append((np.sin(around) * np.cos(above), np.sin(above), np.cos(around) * np.cos(above)))
        warm = rng.normal(0, 0.1)
        tint = np.array([1 + warm, 1.0, 1 - warm])
        strong = rng.uniform(0.25, 1.3)
        weak = strong * rng.uniform(0, 0.45) * rng.normal(1, 0.12, 3)
        ambient = rng.uniform(0.25, 0.75)
        return cls(
            lamps=np.array(lamps),
            colours=np.stack([strong * tint, np.maximum(weak, 0)]),
            sky=ambient * tint[::-1] * rng.uniform(0.9, 1.15),
            ground=ambient * rng.uniform(0.35, 0.8) * tint,
            shine=float(max(0.0, rng.normal(0.12, 0.12))),
        )

    def on(self, normals: np.ndarray, openness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Brightness ``(N, 3)`` of matt surfaces, and ``(N,)`` of their highlights.

        Args:
            normals: ``(N, 3)`` unit, viewer's frame.
            openness: ``(N,)`` share of the sky that each sees.
        """
        up = 0.5 + 0.5 * normals[:, 1:2]
        matt = (self.ground + up * (self.sky - self.ground)) * openness[:, None]
        shine = np.zeros(len(normals))
        for lamp, colour in zip(self.lamps, self.colours, strict=True):
            # Skin lets light through: it reaches a little round the edge.
            facing = np.maximum((normals @ lamp + 0.12) / 1.12, 0)
            matt = matt + facing[:, None] * colour * np.sqrt(openness)[:, None]
            half = lamp + np.array([0, 0, 1])
            shine += self.shine * colour.mean() * np.maximum(normals @ (half / np.linalg.norm(half)), 0) ** 18
        return matt, shine * openness
