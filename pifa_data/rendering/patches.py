"""What a person's texture has below the skin: eyes, the inside of the mouth, hair and clothes."""

from __future__ import annotations

import numpy as np

from pifa_data.rendering.atlas import CLOTH, EYE, HAIR, MOUTH
from pifa_data.rendering.looks import Looks
from pifa_data.rendering.noise import clouds


def paint_eye(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    height, width = EYE.height, EYE.width
    image = np.empty((height, width, 3), np.float32)
    image[:] = np.array([226, 220, 214]) * rng.uniform(0.82, 1.0)
    x, y = np.meshgrid(np.arange(width) - width / 2, np.arange(height) - height / 2)
    image *= 1 - 0.35 * np.clip((np.abs(x) - 14) / 20, 0, 1)[..., None] * (0.6, 1, 1)
    away = np.hypot(x, y)
    iris = 5.9 * EYE.scale
    ring = np.clip(iris + 0.5 - away, 0, 1)[..., None]
    rays = 1 + 0.18 * np.sin(np.arctan2(y, x) * 17 + rng.uniform(0, 6))[..., None]
    shade = np.where(away > 0.82 * iris, 0.45, 1.0)[..., None]
    image += ring * (looks.iris * rays * shade - image)
    pupil = np.clip(rng.uniform(0.3, 0.5) * iris + 0.5 - away, 0, 1)[..., None]
    image += pupil * (np.array([8, 8, 10]) - image)
    glint = np.clip(2.6 - np.hypot(x - rng.uniform(-4, 4), y + rng.uniform(2, 5)), 0, 1)[..., None]
    return image + glint * (250 - image) * rng.uniform(0.3, 1)


def paint_mouth(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    height, width = MOUTH.height, MOUTH.width
    image = np.empty((height, width, 3), np.float32)
    image[:] = np.array([58, 22, 22])
    x, y = np.meshgrid(np.arange(width) - width / 2, np.arange(height) - height / 2)
    tongue = np.exp(-((x / 16) ** 2) - ((y - 10) / 7) ** 2)[..., None]
    image += tongue * (np.array([170, 84, 84]) - image) * 0.8
    teeth = np.array([232, 226, 208]) * rng.uniform(0.75, 1.0)
    lower = rng.uniform(9, 16)  # where the upper teeth end, pixels from the rim
    edge = -14 * np.sqrt(np.clip(1 - (x / 25) ** 2, 0, 1))
    upper = np.clip((edge + lower - y) * 0.8, 0, 1) * np.clip((22 - np.abs(x)) / 4, 0, 1)
    gaps = 1 - 0.22 * (np.abs((x + 3) % 6 - 3) > 2.5)
    return image + upper[..., None] * (teeth * gaps[..., None] - image)


def paint_hair(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    shape = (HAIR.height, HAIR.width)
    if looks.bald:
        skin = np.empty((*shape, 3), np.float32)
        skin[:] = looks.skin
        return skin * (1 + 0.03 * clouds(rng, shape, (6, 12), 1))
    strands = 0.16 * clouds(rng, shape, (4, HAIR.width // 2), 1) + 0.12 * clouds(rng, shape, (3, 40), 1)
    locks = 0.12 * clouds(rng, shape, (3, 14), 1)
    return (looks.hair * (1 + strands + locks) + 6 * rng.random()).astype(np.float32)


def paint_cloth(looks: Looks, rng: np.random.Generator) -> np.ndarray:
    shape = (CLOTH.height, CLOTH.width)
    image = np.empty((*shape, 3), np.float32)
    image[:] = looks.cloth
    kind = rng.integers(4)
    if kind == 1:
        image[:, np.arange(CLOTH.width) % rng.integers(4, 16) < 2] = rng.uniform(0, 255, 3)
    elif kind == 2:
        image[np.arange(CLOTH.height) % rng.integers(4, 16) < 2] = rng.uniform(0, 255, 3)
    elif kind == 3:
        image += 40 * clouds(rng, shape, (12, 16), 3)
    return image * (1 + 0.05 * clouds(rng, shape, (30, 40), 1))
