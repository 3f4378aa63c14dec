"""Changes of a crop that are drawn anew whenever it is seen: where it lies, its colours, blur, what covers it.

They are made on the device, beside the copies that the store holds. Every number is drawn on the CPU beforehand, as a
function of (seed, step) for the whole batch (``draw``), so that a run is the same on every device, on any number of
them, and however often it was resumed.

A crop that is turned by R, enlarged by k and shifted by t about its centre c moves each of its points from u to

    u' = A u + b,   A = k R,   b = c − A c + t,   c = (S − 1)/2,

pixels, in which M becomes A M (its translation A M₄ + b): with n = 2 (u − c)/S, the units of ``warp_crops``, that is
n' = A n + 2 t/S. Each pixel of the new crop is read at n = A⁻¹ (n' − 2 t/S), and where a crop is a window of a larger
picture, with the middle m and half the sides h, at m + h n of that. So pixels are resampled once, and what lies beyond
the crop is there.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pifa_model.config import AugmentationConfig, Config
from pifa_model.crops import cut_crops, warp_crops

NUMBERS = (
    *("rotation", "scale", "shift_x", "shift_y"),
    *("brightness", "contrast", "saturation", "red", "green", "blue"),
    *("blur", "blur_sigma"),
    *("occlusion", "width", "height", "x", "y", "filling", "fill_red", "fill_green", "fill_blue", "grain"),
    *("grain_x", "grain_y"),
)
"""What is drawn for each crop. A new one comes last, so that the others stay what they were."""

LUMA = (0.299, 0.587, 0.114)
"""Grey of red, green and blue (ITU-R BT.601)."""

SMALLEST_SIDE = 0.3
"""Least side of an occluding rectangle, as a share of the largest."""


def draw(rng: np.random.Generator, count: int) -> np.ndarray:
    """The numbers of so many crops: ``(count, 24)`` float64, uniform in [0, 1); columns as in ``NUMBERS``."""
    return rng.random((len(NUMBERS), count)).T


@torch.no_grad()
def augment(tensors: dict[str, Tensor], config: Config, size: int) -> dict[str, Tensor]:
    """Change each crop of a batch as was drawn for it.

    Args:
        tensors: as ``to_device`` gives them, with ``draws``.
        config: how large the changes are.
        size: S, the side of a crop, pixels.

    Returns:
        A batch as ``to_tensors`` gives it, but ``images`` is ``(B, 3, S, S)`` float32, 0 to 255. ``params`` and
        ``landmarks`` are of the changed crops; a landmark may lie outside of its own.
    """
    out = {name: tensor for name, tensor in tensors.items() if name not in ("windows", "draws")}
    numbers = dict(zip(NUMBERS, tensors["draws"].T, strict=True))
    windows, change = tensors.get("windows"), config.augmentation
    if change.rotation or change.scale or change.shift:
        motion = crop_motion(numbers, change, size).to(out["images"].device, torch.float32)
        out["images"] = warp_crops(out["images"], _inverse(motion, windows, size), size)
        out["params"] = move_params(out["params"], motion)
        out["landmarks"] = move_landmarks(out["landmarks"], out["visibility"], motion)
    elif windows is not None:
        out["images"] = cut_crops(out["images"], windows, size).float()
    else:
        out["images"] = out["images"].float()
    if change.blur:
        out["images"] = _blur(out["images"], numbers, change)
    out["images"] = _colour(out["images"], numbers, config)
    if change.occlusion:
        out["images"] = _occlude(out["images"], numbers, change)
    out["images"] = out["images"].contiguous(memory_format=torch.channels_last)
    return out


def crop_motion(numbers: dict[str, Tensor], config: AugmentationConfig, size: int) -> Tensor:
    """[A b] of each crop, crop pixels: ``(B, 2, 3)`` float64."""
    angle = _signed(numbers["rotation"]) * math.radians(config.rotation)
    k = (1 + config.scale) ** _signed(numbers["scale"])
    cos, sin = k * angle.cos(), k * angle.sin()
    a = torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)
    shift = torch.stack([_signed(numbers["shift_x"]), _signed(numbers["shift_y"])], dim=1) * config.shift * size
    middle = (size - 1) / 2
    return torch.cat([a, (middle - a.sum(2) * middle + shift)[..., None]], dim=2)


def move_params(params: Tensor, motion: Tensor) -> Tensor:
    """P ``(B, 8 + K)`` after crops moved by ``(B, 2, 3)``: M becomes A M, its translation A M₄ + b."""
    camera = params[:, :8].reshape(-1, 2, 4)
    # No matrix product: on a GPU it may round to TF32's 10 bits, a tenth of a pixel.
    moved = motion[:, :, 0:1] * camera[:, 0:1] + motion[:, :, 1:2] * camera[:, 1:2]
    moved[:, :, 3] += motion[:, :, 2]
    return torch.cat([moved.flatten(1), params[:, 8:]], dim=1)


def move_landmarks(landmarks: Tensor, visibility: Tensor, motion: Tensor) -> Tensor:
    """Landmarks ``(B, L, 2)`` after crops moved by ``(B, 2, 3)``; points without a label stay 0."""
    x, y = landmarks[..., 0:1], landmarks[..., 1:2]
    a, b = motion[:, None, :, :2], motion[:, None, :, 2]
    return torch.where(visibility[..., None] > 0, a[..., 0] * x + a[..., 1] * y + b, 0)


def _inverse(motion: Tensor, windows: Tensor | None, size: int) -> Tensor:
    """Where the pixels of moved crops are read, ``(B, 2, 3)`` as ``warp_crops`` wants it."""
    (a, b), (c, d) = motion[:, 0, :2].unbind(1), motion[:, 1, :2].unbind(1)
    inverse = torch.stack([d, -b, -c, a], dim=1).reshape(-1, 2, 2) / (a * d - b * c)[:, None, None]
    middle = (size - 1) / 2
    moved = (motion[..., 2] - middle + motion[..., :2].sum(2) * middle) * (2 / size)  # 2 t/S
    at = -(inverse * moved[:, None]).sum(2)
    if windows is not None:
        half = (windows[:, 2:] - windows[:, :2]) / 2
        at = (windows[:, 2:] + windows[:, :2]) / 2 + half * at
        inverse = half[..., None] * inverse
    return torch.cat([inverse, at[..., None]], dim=2)


def _colour(images: Tensor, numbers: dict[str, Tensor], config: Config) -> Tensor:
    """Contrast about the crop's mean, brightness, saturation and tint, values 0-255."""
    training, change = config.training, config.augmentation
    largest = {"contrast": training.contrast, "brightness": training.brightness, "saturation": change.saturation}
    largest |= dict.fromkeys(("red", "green", "blue"), change.tint)
    if not any(largest.values()):
        return images
    drawn = torch.stack([_signed(numbers[name]) * value for name, value in largest.items()]).to(images)
    contrast, brightness, saturation = drawn[:3, :, None, None, None]
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - middle) * (1 + contrast) + middle + brightness * 255
    if change.saturation:
        grey = sum(weight * images[:, i : i + 1] for i, weight in enumerate(LUMA))
        images = grey + (images - grey) * (1 + saturation)
    if change.tint:
        images = images * (1 + drawn[3:].T[:, :, None, None])
    return images.clamp(0, 255)


def _blur(images: Tensor, numbers: dict[str, Tensor], config: AugmentationConfig) -> Tensor:
    """Gaussian blur of those crops that it was drawn for; the border is repeated."""
    rows = torch.nonzero(numbers["blur"] < config.blur)[:, 0]
    if not len(rows):
        return images
    sigma = (numbers["blur_sigma"][rows] * config.blur_sigma).clamp(min=0.1)  # 0.1 changes nothing
    radius = math.ceil(3 * config.blur_sigma)
    away = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (away / sigma[:, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).to(images)
    rows, size = rows.to(images.device), images.shape[-1]
    part = images[rows]
    for dim, pad in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        padded = F.pad(part, pad, mode="replicate")
        part = torch.zeros_like(part)
        for i in range(2 * radius + 1):
            part.addcmul_(padded.narrow(dim, i, size), weights[:, i, None, None, None])
    return images.index_copy(0, rows, part)


def _occlude(images: Tensor, numbers: dict[str, Tensor], config: AugmentationConfig) -> Tensor:
    """Cover a rectangle of those crops that it was drawn for: one colour, grain of that mean, or the crop turned round.

    A face's own pixels have a face's colours and edges. Another face's would be of another row of the batch, which is
    on another device where there are several.
    """
    rows = torch.nonzero(numbers["occlusion"] < config.occlusion)[:, 0]
    if not len(rows):
        return images
    drawn = torch.stack([numbers[name][rows] for name in NUMBERS]).to(images)
    own, rows, size = dict(zip(NUMBERS, drawn, strict=True)), rows.to(images.device), images.shape[-1]
    places = torch.arange(size, device=images.device)

    def within(centre: Tensor, side: Tensor) -> Tensor:
        half = (SMALLEST_SIDE + (1 - SMALLEST_SIDE) * side) * config.occlusion_size * size / 2
        return (places - centre[:, None] * (size - 1)).abs() <= half[:, None]

    covered = within(own["y"], own["height"])[:, None, :, None] & within(own["x"], own["width"])[:, None, None]
    grain = grain_of(size).to(images)
    down, right = ((places + (own[name] * size).long()[:, None]) % size for name in ("grain_y", "grain_x"))
    grainy = grain[:, down[:, :, None], right[:, None]].transpose(0, 1)
    colour = torch.stack([own["fill_red"], own["fill_green"], own["fill_blue"]], dim=1)[..., None, None] * 255
    part = images[rows]
    filling = own["filling"][:, None, None, None]
    amount = torch.where(filling < 1 / 3, 0, own["grain"][:, None, None, None] * 128)
    fill = torch.where(filling < 2 / 3, (colour + amount * grainy).clamp(0, 255), part.flip(2, 3))
    return images.index_copy(0, rows, torch.where(covered, fill, part))


@lru_cache(maxsize=4)
def grain_of(size: int) -> Tensor:
    """``(3, S, S)`` float32, standard normal; the same on every device."""
    return torch.from_numpy(np.random.default_rng(0).normal(size=(3, size, size)).astype(np.float32))


def _signed(drawn: Tensor) -> Tensor:
    """[0, 1) to [−1, 1)."""
    return 2 * drawn - 1
