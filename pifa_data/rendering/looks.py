"""How a person looks: the colours and features that a texture is painted from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# sRGB. Skin from light to dark; the tone of a person lies between neighbours.
TONES = np.array(
    [(240, 204, 184), (226, 182, 154), (204, 156, 122), (172, 122, 88), (128, 86, 60), (84, 56, 42)], float
)
HAIR_COLOURS = np.array([(24, 19, 17), (46, 32, 24), (74, 50, 32), (112, 78, 48), (168, 130, 84), (140, 72, 40),
                         (150, 146, 142), (206, 202, 196)], float)  # fmt: skip
HAIR_ODDS = (0.3, 0.22, 0.16, 0.1, 0.08, 0.03, 0.07, 0.04)
IRISES = np.array([(72, 46, 28), (96, 66, 38), (104, 98, 60), (92, 114, 134), (70, 100, 90)], float)


@dataclass(frozen=True)
class Looks:
    """What a texture is painted from; all colours sRGB, 0 to 255."""

    skin: np.ndarray
    hair: np.ndarray
    brows: np.ndarray
    lips: np.ndarray
    iris: np.ndarray
    cloth: np.ndarray
    bald: bool
    beard: float
    make_up: float
    age: float

    @classmethod
    def draw(cls, rng: np.random.Generator, bald: bool) -> Looks:
        at = rng.uniform(0, len(TONES) - 1)
        skin = np.array([np.interp(at, np.arange(len(TONES)), TONES[:, c]) for c in range(3)])
        skin *= rng.normal(1, 0.03, 3)
        # Light hair goes with light skin.
        hair = (
            HAIR_COLOURS[rng.choice(len(HAIR_COLOURS), p=HAIR_ODDS)]
            if at < 2.2 or rng.random() < 0.2
            else (HAIR_COLOURS[rng.choice([0, 0, 0, 1, 6])])
        )
        hair = hair * rng.uniform(0.8, 1.2)
        make_up = max(0.0, float(rng.uniform(-1, 1)))
        red = np.array([150, 40, 50]) * rng.uniform(0.7, 1.2)
        natural = skin * (0.84, 0.66, 0.66) + np.array([6, 0, 4])
        lips = natural + (red - natural) * make_up * rng.uniform(0.3, 0.9)
        return cls(
            skin=skin,
            hair=hair,
            brows=hair * 0.75 if hair.mean() < 150 else hair * 0.6,
            lips=lips,
            iris=IRISES[rng.integers(5) if at < 2 else rng.integers(2)] * rng.uniform(0.8, 1.2),
            cloth=rng.uniform(15, 240, 3) * 0.7 + rng.uniform(15, 240) * 0.3,
            bald=bald,
            beard=float(max(0.0, rng.uniform(-1.2, 1))) if make_up == 0 else 0.0,
            make_up=make_up,
            age=float(rng.random()),
        )
