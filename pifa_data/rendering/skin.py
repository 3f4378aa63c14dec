"""A person's texture: the skin with its variation, brows, lids, lips and beard; the rest is in ``patches.py``."""

from __future__ import annotations

import cv2
import numpy as np

from pifa_data.rendering.atlas import CLOTH, EYE, HAIR, HEIGHT, MOUTH, SKIN, TOP, WIDTH, on_skin
from pifa_data.rendering.bust import Bust
from pifa_data.rendering.looks import Looks
from pifa_data.rendering.noise import clouds
from pifa_data.rendering.patches import paint_cloth, paint_eye, paint_hair, paint_mouth

_SHIFT = 4  # cv2 draws at sub-pixel positions given as integers with this many fractional bits


def paint(bust: Bust, looks: Looks, rng: np.random.Generator) -> np.ndarray:
    """``(HEIGHT, WIDTH, 3)`` uint8 RGB."""
    texture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    texture[: SKIN + 2] = paint_skin(bust, looks, rng)
    texture[EYE.area] = paint_eye(looks, rng)
    texture[MOUTH.area] = paint_mouth(looks, rng)
    texture[HAIR.area] = paint_hair(looks, rng)
    texture[CLOTH.area] = paint_cloth(looks, rng)
    return np.clip(texture, 0, 255).astype(np.uint8)


def paint_skin(bust: Bust, looks: Looks, rng: np.random.Generator) -> np.ndarray:
    shape = (SKIN + 2, WIDTH)
    skin = np.empty((*shape, 3), np.float32)
    skin[:] = looks.skin
    skin *= 1 + 0.035 * clouds(rng, shape, (8, 16), 1) + 0.018 * clouds(rng, shape, (40, 84), 3)
    skin *= 1 + 0.03 * clouds(rng, shape, (SKIN // 2, WIDTH // 2), 1)
    marks = on_skin(bust.rest[bust.landmarks])

    def blot(at: np.ndarray, reach: tuple[float, float], factor: np.ndarray) -> None:
        """Multiply a soft spot by a colour's factors."""
        x0, x1 = (int(np.clip(at[0] + k * 3 * reach[0], 0, WIDTH)) for k in (-1, 1))
        y0, y1 = (int(np.clip(at[1] + k * 3 * reach[1], 0, shape[0])) for k in (-1, 1))
        dx = (np.arange(x0, x1) - at[0]) / reach[0]
        dy = (np.arange(y0, y1) - at[1]) / reach[1]
        weight = np.exp(-0.5 * (dx**2 + dy[:, None] ** 2))[..., None]
        skin[y0:y1, x0:x1] *= 1 + weight * (factor - 1)

    blush = np.array([1.05, 0.9, 0.9])
    flush = blush ** rng.uniform(0.2, 1.6)
    for eye, jaw in ((slice(36, 42), 3), (slice(42, 48), 13)):
        middle = marks[eye].mean(0)
        cheek = _moved((middle + marks[jaw]) / 2, 0, 8)
        blot(cheek, (24, 18), flush)
        socket = np.array([0.86, 0.8, 0.8]) ** rng.uniform(0.3, 1.3)
        blot(_moved(middle, 0, -2), (17, 9), socket)
        blot(_moved(middle, 0, 11), (14, 5), np.array([0.9, 0.86, 0.88]) ** (2 * looks.age))
        if looks.make_up:
            blot(_moved(middle, 0, -6), (16, 6), 1 - 0.5 * looks.make_up * rng.uniform(0, 0.8, 3))
    blot(marks[30], (13, 10), blush ** rng.uniform(0, 1.5))
    for wing, base in ((31, 32), (35, 34)):
        blot((marks[wing] + marks[base]) / 2 + (0, 1.0), (3.6, 2.0), np.array([0.3, 0.22, 0.2]))
        corner = marks[48 if wing == 31 else 54]
        for t in np.linspace(0.1, 0.8, 5):  # the fold from nose to mouth
            outward = np.array([(-9 if wing == 31 else 9) * (0.6 + 0.4 * t), 0])
            blot(
                marks[wing] + t * (corner - marks[wing]) + outward,
                (3, 5),
                np.array([0.95, 0.93, 0.93]) ** (2.5 * looks.age),
            )
    if looks.age > 0.6:
        for k in range(3):
            y = marks[19][1] - 16 - 9 * k
            blot(np.array([WIDTH / 2 + rng.normal(0, 4), y]), (28, 1.2), np.full(3, 0.93))
    if looks.beard:
        _beard(skin, looks, marks, rng)
    if rng.random() < 0.3 and looks.skin.mean() > 150:
        for at in rng.normal((WIDTH / 2, marks[30][1] - 8), (55, 16), (60, 2)):
            blot(at, (0.9, 0.9), np.array([0.88, 0.8, 0.74]))
    _scalp(skin, looks)
    _brows(skin, looks, marks, rng)
    _lids(skin, looks, marks, rng)
    _lips(skin, looks, marks)
    return skin


def _moved(points: np.ndarray, x: float, y: float) -> np.ndarray:
    return points + np.array([x, y])


def _draw(
    skin: np.ndarray, lines: list[np.ndarray], colour: np.ndarray, strength: float, soft: float, width: int = 0
) -> None:
    """Fill polygons, or draw lines of a width, with soft edges.

    Args:
        lines: each ``(N, 2)`` texture pixels.
        soft: deviation of the blur, pixels.
        width: of lines, pixels; 0 fills.
    """
    points = np.concatenate(lines)
    reach = 3 * soft + width + 2
    low = np.maximum(np.floor(points.min(0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(points.max(0) + reach) + 1, (skin.shape[1], skin.shape[0])).astype(int)
    area = slice(low[1], high[1]), slice(low[0], high[0])
    mask: np.ndarray = np.zeros(skin[area].shape[:2], np.uint8)
    fixed = [np.round((line - low) * (1 << _SHIFT)).astype(np.int32) for line in lines]
    if width:
        cv2.polylines(mask, fixed, False, 255, width, cv2.LINE_AA, shift=_SHIFT)
    else:
        cv2.fillPoly(mask, fixed, 255, cv2.LINE_AA, shift=_SHIFT)
    blurred = cv2.GaussianBlur(mask, (0, 0), soft)
    _lay(skin[area], blurred * np.float32(strength / 255), colour)


def _lay(image: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    image += alpha[..., None] * (colour.astype(np.float32) - image)


def _beard(skin: np.ndarray, looks: Looks, marks: np.ndarray, rng: np.random.Generator) -> None:
    """From stubble to a full beard: around the mouth and on the chin, and mostly up to the ears."""
    nose, lips = marks[33], marks[48:60]
    if rng.random() < 0.6:
        inner = [
            *(_moved(marks[14], -10, -8), _moved(marks[12], -16, 0)),
            *(_moved(nose, 22, 6), _moved(nose, 0, 5), _moved(nose, -22, 6)),
            *(_moved(marks[4], 16, 0), _moved(marks[2], 10, -8)),
        ]
        line = np.concatenate([_moved(marks[1:16], 0, 4), inner])
    else:
        chin = _moved(marks[[11, 10, 9, 8, 7, 6, 5]] * (0.8, 1), 0.1 * WIDTH, 4)
        line = np.concatenate([[_moved(nose, x, y) for x, y in ((-24, 8), (0, 5), (24, 8))], chin])
    mask: np.ndarray = np.zeros(skin.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(line).astype(np.int32)], 255)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 4))
    cv2.fillPoly(mask, [np.round(lips + (lips - lips.mean(0)) * 0.05).astype(np.int32)], 0)
    grain = 1 + 0.5 * clouds(rng, (len(skin), WIDTH), (SKIN // 2, WIDTH), 1)[..., 0]
    stubble = looks.skin * 0.5 + looks.brows * 0.3 + np.array([10, 14, 18])
    colour = stubble * (1 - looks.beard) + looks.brows * looks.beard
    _lay(skin, np.clip(mask * grain * np.float32((0.35 + 0.55 * looks.beard) / 255), 0, 1), colour)


def _scalp(skin: np.ndarray, looks: Looks) -> None:
    """Hair's colour under the hair, so that its rim is soft; its mesh lies over it."""
    if not looks.bald:
        angle = np.linspace(-180, 180, 73)
        hairline = np.interp(np.abs(angle), [0, 30, 50, 66, 78, 180], [92, 90, 78, 50, 26, 20])
        line = np.column_stack([(angle / 180 + 1) * WIDTH / 2, TOP - hairline])
        _draw(skin, [np.concatenate([line, [(WIDTH, -20), (0, -20)]])], looks.hair, 0.85, 5)


def _brows(skin: np.ndarray, looks: Looks, marks: np.ndarray, rng: np.random.Generator) -> None:
    thick, dense = rng.uniform(2.2, 4.2), rng.uniform(0.75, 1.0)
    for points, inner in ((slice(17, 22), 4), (slice(22, 27), 0)):
        at = rng.uniform(0, 4, 130)
        path = np.column_stack([np.interp(at, range(5), marks[points, c]) for c in range(2)])
        width = thick * np.interp(np.abs(at - inner), [0, 0.4, 2.5, 4], [0.7, 1.0, 0.85, 0.3])
        # Hairs, outward and up.
        start = path + np.column_stack([np.zeros(len(at)), rng.uniform(-1, 1, len(at)) * width])
        outward = np.sign(path[:, 0] - WIDTH / 2) * rng.uniform(2, 4.5, len(at))
        tips = start + np.column_stack([outward, -rng.uniform(-1.2, 2.2, len(at))])
        _draw(skin, list(np.stack([start, tips], axis=1)), looks.brows, dense, 0.6, 1)


def _lids(skin: np.ndarray, looks: Looks, marks: np.ndarray, rng: np.random.Generator) -> None:
    dark = looks.skin * 0.25
    lashes, fold, deep = rng.uniform(0.5, 0.9), rng.uniform(2.2, 4), rng.uniform(0.3, 0.8)
    for eye in (marks[36:42], marks[42:48]):
        upper, lower = eye[:4], eye[[0, 5, 4, 3]]
        _draw(skin, [_moved(upper, 0, -0.3)], dark, lashes + 0.1 * looks.make_up, 0.7, 2)
        _draw(skin, [_moved(lower, 0, 0.6)], dark * 1.8, 0.6, 0.6, 1)
        crease = _moved(upper + (upper - eye.mean(0)) * (0.05, 0.25), 0, -fold)
        _draw(skin, [crease], looks.skin * 0.55, deep, 0.9, 1)


def _lips(skin: np.ndarray, looks: Looks, marks: np.ndarray) -> None:
    outer, inner = marks[48:60], marks[60:68]
    _draw(skin, [outer], looks.lips, 0.9, 1.0)
    lower = np.concatenate([outer[[6, 7, 8, 9, 10, 11, 0]], inner[[0, 7, 6, 5, 4]]])
    _draw(skin, [lower], looks.lips * 1.15, 0.5, 1.2)
    seam = np.concatenate([outer[:1], inner[:5], outer[6:7]])
    _draw(skin, [seam], looks.lips * 0.35, 1.0, 0.8, 1)
