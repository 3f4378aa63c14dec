"""What is behind a face and what is before it."""

from __future__ import annotations

import cv2
import numpy as np

from pifa_data.rendering.looks import TONES
from pifa_data.rendering.noise import clouds

OCCLUDED = 0.25
"""Share of the pictures in which something lies before the face."""


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(size, size, 3)`` float32, sRGB 0 to 255: gradients, clouds, shapes and lines, more or less out of focus."""
    low, high = rng.uniform(0, 255, (2, 3)) * 0.75 + rng.uniform(0, 255, (2, 1)) * 0.25
    direction = rng.uniform(-1, 1, 2)
    t = np.linspace(-1, 1, size)
    ramp = (t * direction[0])[None, :] + (t * direction[1])[:, None]
    ramp = (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6)
    image = (low + ramp[..., None] * (high - low)).astype(np.float32)
    if rng.random() < 0.7:
        cells = int(rng.integers(2, 14))
        image += rng.uniform(8, 45) * clouds(rng, (size, size), (cells, cells), 3 if rng.random() < 0.5 else 1)
    for _ in range(rng.integers(0, 9)):
        _shape(image, rng, rng.uniform(0, 255, 3), size)
    if rng.random() < 0.25:
        step, colour = int(rng.integers(8, 40)), rng.uniform(0, 255, 3)
        wide = max(1, step // int(rng.integers(3, 9)))
        image[:, np.arange(size) % step < wide] = colour
        if rng.random() < 0.5:
            image[np.arange(size) % step < wide] = colour
    if rng.random() < 0.7:
        image = cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.003, 0.05))
    if rng.random() < 0.4:
        image += rng.uniform(3, 14) * clouds(rng, (size, size), (size // 2, size // 2), 1)
    return image


def _shape(image: np.ndarray, rng: np.random.Generator, colour: np.ndarray, size: int) -> None:
    kind = rng.integers(4)
    at = rng.uniform(-0.1, 1.1, 2) * size
    reach = rng.uniform(0.05, 0.4, 2) * size
    paint = tuple(float(c) for c in colour)
    if kind == 0:
        angle = rng.uniform(0, 180)
        cv2.ellipse(image, (at.tolist(), (2 * reach).tolist(), angle), paint, -1, cv2.LINE_AA)
    elif kind == 1:
        cv2.fillPoly(image, [_turned_box(at, reach, rng.uniform(0, np.pi))], paint, cv2.LINE_AA)
    elif kind == 2:
        corners = at + rng.uniform(-1, 1, (rng.integers(3, 7), 2)) * reach
        cv2.fillPoly(image, [np.round(corners).astype(np.int32)], paint, cv2.LINE_AA)
    else:
        ends = rng.uniform(-0.2, 1.2, (2, 2)) * size
        first, second = np.round(ends).astype(int).tolist()
        cv2.line(image, first, second, paint, max(1, int(rng.uniform(0.005, 0.06) * size)), cv2.LINE_AA)


def draw_occluders(rng: np.random.Generator, box: np.ndarray, size: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Things before the face.

    Args:
        box: ``(4,)`` of the face, pixels.
        size: side of the picture.

    Returns:
        ``(size, size, 3)`` float32 colours, or None where there are no such things, and ``(size, size)`` float32 how
        much of each pixel they cover.
    """
    cover = np.zeros((size, size), np.uint8)
    if rng.random() >= OCCLUDED:
        return None, cover.astype(np.float32)
    colours = np.zeros((size, size, 3), np.float32)
    low, high = box[:2], box[2:]
    for _ in range(rng.integers(1, 3)):
        mask = np.zeros((size, size), np.uint8)
        extent = float(np.sqrt(np.prod(high - low)))
        # From outside onto the face: what covers a face mostly covers its rim.
        angle = rng.uniform(0, 2 * np.pi)
        outward = np.array([np.cos(angle), np.sin(angle)])
        at = (low + high) / 2 + outward * extent * rng.uniform(0.25, 0.75)
        kind = rng.integers(4)
        if kind == 0:
            axes = extent * rng.uniform(0.15, 0.55, 2)
            cv2.ellipse(mask, (at.tolist(), axes.tolist(), float(rng.uniform(0, 180))), 255, -1, cv2.LINE_AA)
        elif kind == 1:
            reach = extent * rng.uniform(0.1, 0.3, 2)
            cv2.fillPoly(mask, [_turned_box(at, reach, rng.uniform(0, np.pi))], 255, cv2.LINE_AA)
        elif kind == 2:  # a bar, as a microphone or an arm
            along = np.array([-outward[1], outward[0]]) * extent * rng.normal(0, 0.5)
            ends = np.round([at, at + outward * size + along]).astype(int).tolist()
            cv2.line(mask, ends[0], ends[1], 255, max(2, int(extent * rng.uniform(0.08, 0.3))), cv2.LINE_AA)
        else:  # fingers
            side = np.array([-outward[1], outward[0]])
            width = max(2, int(extent * rng.uniform(0.08, 0.12)))
            for k in range(4):
                tip = at + side * (k - 1.5) * width * 1.08 - outward * extent * rng.uniform(0, 0.08)
                ends = np.round([tip, tip + outward * extent * 0.9]).astype(int).tolist()
                cv2.line(mask, ends[0], ends[1], 255, width, cv2.LINE_AA)
        colour = rng.uniform(0, 255, 3) if kind < 3 else TONES[rng.integers(len(TONES))]
        texture = colour * (1 + rng.uniform(0.02, 0.3) * clouds(rng, (size, size), (9, 9), 1))
        # Rounder: darker towards its edge.
        depth = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
        texture = texture * (0.55 + 0.45 * np.clip(depth / (0.06 * extent), 0, 1))[..., None]
        alpha = (mask / np.float32(255))[..., None]
        colours += alpha * (texture.astype(np.float32) - colours)
        cover = np.maximum(cover, mask)
    return colours, cover / np.float32(255)


def _turned_box(at: np.ndarray, reach: np.ndarray, angle: float) -> np.ndarray:
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * reach
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.round(at + corners @ turn.T).astype(np.int32)
