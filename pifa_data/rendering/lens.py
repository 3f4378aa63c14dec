"""What a camera does to a picture: exposure and colour, blur, noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np


def photograph(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(H, W, 3)`` uint8 of a float32 picture, sRGB 0 to 255."""
    image = picture
    grey = image.mean(2, keepdims=True)
    if rng.random() < 0.08:
        image = np.repeat(grey, 3, axis=2)
    else:
        image = grey + (image - grey) * np.float32(rng.uniform(0.6, 1.15))
        image = image * rng.normal(1, 0.035, 3).astype(np.float32)
    gamma = np.float32(rng.uniform(0.8, 1.25))
    image = 255 * np.clip(image * (1 / 255), 0, 1) ** gamma
    contrast = np.float32(rng.uniform(0.75, 1.12))
    image = (image - 120) * contrast + 120 + np.float32(rng.normal(0, 9))
    # Never quite sharp: it was drawn without smooth edges.
    sigma = rng.uniform(0.4, 0.75) if rng.random() < 0.75 else rng.uniform(0.75, 1.9)
    image = cv2.GaussianBlur(image, (0, 0), sigma * len(image) / 200)
    if rng.random() < 0.06:  # moved
        length = int(rng.integers(3, 8))
        kernel = np.zeros((length, length), np.float32)
        ends = (
            ((0, length // 2), (length - 1, length // 2)) if rng.random() < 0.5 else ((0, 0), (length - 1, length - 1))
        )
        cv2.line(kernel, *ends, 1.0, 1)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    noise = abs(rng.normal(0, 3.5))
    if noise > 0.5:
        image = image + noise * rng.standard_normal(image.shape, np.float32)
    whole = np.clip(np.round(image), 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        quality = int(rng.uniform(35, 96))
        _, data = cv2.imencode(".jpg", whole[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        whole = cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    return whole
