"""Reading images whole or not at all, and resampling crops from them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pifa_data.boxes import Square
from pifa_data.errors import ImageError

LARGEST_FILE = 256 * 2**20
"""Bytes. A photograph is far smaller; reading more is refused before it fills the memory."""

LARGEST_SIDE = 32766
"""Pixels. OpenCV's warp counts them in 16 bits."""


def read_image(path: Path) -> np.ndarray:
    """Read an image as ``(H, W, 3)`` uint8 RGB, turned upright where its EXIF data says so.

    Raises:
        ImageError: missing, not an image, or cut short.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ImageError(f"{path}: larger than {LARGEST_FILE >> 20} MB; refused")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{str(path)!r}: {error}") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> np.ndarray:
    """As ``read_image``, of a file's bytes."""
    # OpenCV decodes a JPEG or PNG that was cut short to a half-grey picture without an error.
    if _cut_short(data):
        raise ImageError(f"{name}: the image file is cut short; copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise ImageError(f"{name}: the image can't be decoded ({error.err})") from error
    if image is None:
        raise ImageError(f"{name}: not an image that OpenCV can read")
    if max(image.shape[:2]) > LARGEST_SIDE:
        raise ImageError(
            f"{name}: expected sides of at most {LARGEST_SIDE} pixels, found {image.shape[:2]}; scale it down"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _cut_short(data: bytes) -> bool:
    if data.startswith(b"\x89PNG\r\n"):
        return b"IEND" not in data
    if not data.startswith(b"\xff\xd8"):
        return False
    # Walk the segments: an end-of-image marker inside one belongs to an embedded thumbnail.
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:
            return data.rfind(b"\xff\xd9", position) < 0
        position += 1 if marker == 0xFF else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return True


class CropSource:
    """One image, ready to give many crops: large images are halved (area average) until a crop no longer skips pixels.

    The halvings follow the first crop's scale, so that all crops of one face come from the same pixels.
    """

    def __init__(self, image: np.ndarray, first: Square) -> None:
        halvings = max(0, int(np.floor(np.log2(max(first.side / first.size, 1.0)))))
        self._factor = 2**halvings
        if halvings:
            height, width = (max(1, round(n / self._factor)) for n in image.shape[:2])
            # Cut to a whole number of blocks, so that every pixel of the small image is the mean of one block.
            whole = image[: height * self._factor, : width * self._factor]
            image = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
            self._stretch = (whole.shape[1] / width, whole.shape[0] / height)
        else:
            self._stretch = (1.0, 1.0)
        self._image = image

    def crop(self, square: Square) -> np.ndarray:
        """``(S, S, 3)`` uint8 crop of ``square``, bilinear; black outside the image."""
        matrix = square.matrix.copy()
        # Full-size pixel x is small pixel (x + 0.5)/f − 0.5; put the inverse under the crop's matrix.
        for axis, f in enumerate(self._stretch):
            matrix[axis, 2] += matrix[axis, axis] * (0.5 * f - 0.5)
            matrix[axis, axis] *= f
        return cv2.warpAffine(
            self._image,
            matrix,
            (square.size, square.size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0),
        )


def crop_image(image: np.ndarray, square: Square) -> np.ndarray:
    """One crop of one image; see ``CropSource``."""
    return CropSource(image, square).crop(square)
