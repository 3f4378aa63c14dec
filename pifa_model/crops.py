"""Cutting crops out of pictures on the device: the store layout ``faces``, and crops that are turned or moved."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cut_crops(pictures: Tensor, windows: Tensor, size: int) -> Tensor:
    """Resample a window of each picture to a crop, bilinear, black outside the picture.

    What ``cv2.warpAffine`` with ``INTER_LINEAR`` gives for the same window, but for its coordinates, which it rounds to
    1/32 pixel: at most 2 grey levels on a photograph.

    Args:
        pictures: ``(B, 3, H, H)`` uint8.
        windows: ``(B, 4)`` float32, edges x0, y0, x1, y1 of the crop in units of the picture, whose edges are −1 and 1
            (half a pixel beyond the outermost centres). With x0 > x1 the crop is flipped left to right.
        size: side S of a crop, pixels.

    Returns:
        ``(B, 3, S, S)`` uint8, rounded.
    """
    share = (torch.arange(size, device=windows.device) + 0.5) / size  # of the way to each pixel's centre
    x, y = (windows[:, [i]] + (windows[:, [i + 2]] - windows[:, [i]]) * share for i in (0, 1))
    grid = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], dim=-1)
    crops = functional.grid_sample(pictures.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (crops + 0.5).to(torch.uint8)


def warp_crops(pictures: Tensor, affine: Tensor, size: int) -> Tensor:
    """Resample pictures to crops that may be turned, bilinear; what lies beyond a picture is its reflection.

    Args:
        pictures: ``(B, 3, H, H)`` uint8.
        affine: ``(B, 2, 3)`` float32, from places in the crop to places in the picture, each in units in which the
            edges of the one or the other are −1 and 1.
        size: side S of a crop, pixels.

    Returns:
        ``(B, 3, S, S)`` float32.
    """
    n = (2 * torch.arange(size, device=affine.device) + 1) / size - 1
    x, y = n[None, :, None], n[:, None, None]  # of each pixel's centre
    # No matrix product: on a GPU it may round to TF32's 10 bits, a tenth of a pixel.
    grid = affine[:, None, None, :, 0] * x + affine[:, None, None, :, 1] * y + affine[:, None, None, :, 2]
    return functional.grid_sample(
        pictures.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
