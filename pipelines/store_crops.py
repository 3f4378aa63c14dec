"""What is told of all crops of a store: their mean, where landmarks lie in them, and how the boxes are jittered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pifa_data.boxes import box_size
from pipelines.store_reader import StoreReader

PICTURE = 342
"""Side of the drawn pictures, pixels."""


@dataclass(frozen=True)
class CropSample:
    """Of a sample of N crops.

    Attributes:
        crops: N.
        mean: ``(S, S, 3)`` float64, the mean image.
        heat: ``(S, S)`` labelled points a pixel.
        outside: ``(L,)`` crops in which each labelled point lies outside.
        whole: crops with all of their labelled points.
        shift: ``(J, 2)`` x, y of the jittered boxes' centres from the unjittered, shares of its size.
        scale: ``(J, 2)`` width and height of the jittered boxes over the unjittered.
    """

    crops: int
    mean: np.ndarray
    heat: np.ndarray
    outside: np.ndarray
    whole: int
    shift: np.ndarray
    scale: np.ndarray


def sample_crops(reader: StoreReader, shards: Sequence[int]) -> CropSample:
    """Look at some chunks of crops."""
    size, points = reader.layout.size, reader.layout.points
    total, heat = np.zeros((size, size, 3)), np.zeros((size, size))
    outside = np.zeros(points, np.int64)
    crops = whole = 0
    shifts, scales = [np.empty((0, 2))], [np.empty((0, 2))]
    for part in reader.sample(shards):
        crops += len(part.images)
        total += part.images.sum(0, dtype=np.int64)
        at, labelled = part.landmarks, part.visibility > 0
        out = ((at < -0.5) | (at > size - 0.5)).any(2) & labelled
        outside += out.sum(0)
        whole += int((~out.any(1)).sum())
        x, y = np.clip(np.round(at[labelled & ~out]), 0, size - 1).astype(int).T
        np.add.at(heat, (y, x), 1)
        jittered = part.copy > 0
        box, plain = part.boxes[jittered], part.plain[jittered]
        shifts.append(((box[:, :2] + box[:, 2:]) - (plain[:, :2] + plain[:, 2:])) / 2 / box_size(plain)[:, None])
        scales.append((box[:, 2:] - box[:, :2]) / (plain[:, 2:] - plain[:, :2]))
    return CropSample(
        *(crops, total / max(crops, 1), heat, outside, whole),
        shift=np.concatenate(shifts),
        scale=np.concatenate(scales),
    )


def draw_mean(sample: CropSample) -> np.ndarray:
    """The mean crop, enlarged: ``(H, W, 3)`` uint8 RGB."""
    return enlarge(np.round(sample.mean).astype(np.uint8))


def draw_heat(sample: CropSample) -> np.ndarray:
    """Where landmarks lie, as heat over the mean crop: ``(H, W, 3)`` uint8 RGB."""
    ground = cv2.cvtColor(draw_mean(sample), cv2.COLOR_RGB2GRAY)[..., None] * 0.55
    heat = cv2.GaussianBlur(sample.heat, (0, 0), sample.heat.shape[0] / 100)
    # The square root, so that the jaw's points, spread widely, can be seen beside the eyes'.
    share = np.sqrt(enlarge(heat / max(heat.max(), 1e-9)).clip(0, 1))
    colours = cv2.cvtColor(cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    alpha = np.minimum(1, 1.6 * share)[..., None]
    return np.round(ground * (1 - alpha) + colours * alpha).astype(np.uint8)


def enlarge(image: np.ndarray, size: int = PICTURE) -> np.ndarray:
    """A square picture as one of ``size``."""
    method = cv2.INTER_CUBIC if size >= len(image) else cv2.INTER_AREA
    return cv2.resize(image, (size, size), interpolation=method)
