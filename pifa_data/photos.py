"""A user's photograph, of whatever size and kind, as pixels to look for faces in.

Unlike ``images.read_image``, which gives a data set's image pixel by pixel, this decodes a huge photograph at a half, a
quarter or an eighth of its size, blends transparent pixels with grey, and keeps what a camera with 10 or 12 bits wrote
into 16 from being black. Whoever asks gets places in pixels of the original.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pifa_data.boxes import box_size
from pifa_data.errors import ImageError
from pifa_data.image_header import read_orientation, read_size
from pifa_data.images import LARGEST_PIXELS, LARGEST_SIDE, known_size, read_file, refuse_cut_short

SANE_PIXELS = 2**25
"""Width times height above which a photograph is decoded smaller. A face of 160 pixels in a larger one is a fortieth of
its height, and still has 80 after a halving."""

_ROWS = 256
"""Rows blended at once."""

_LARGE = threading.Lock()
"""Held while an image above ``SANE_PIXELS`` is decoded: several at once would fill the memory."""

_FACTORS = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
_FACTORS[8] = cv2.IMREAD_REDUCED_COLOR_8

_LEFT, _UP = (2, 3, 6, 7), (3, 4, 7, 8)
"""EXIF orientations whose upright image has the pixel that is stored first on the right, and at the bottom."""

_DEEP = ((1023, 2), (4095, 4))
"""Largest value of sensors of 10 and 12 bits, and by how many bits their 16-bit files are brought to 8."""


@dataclass(frozen=True)
class Photo:
    """A decoded photograph.

    Attributes:
        pixels: ``(h, w, 3)`` uint8 RGB, turned upright by its EXIF data.
        width, height: of the original, upright; larger than w and h where it was decoded smaller.
        factor: original pixels a decoded pixel: 1, 2, 4 or 8.
        shift: ``(2,)``; x of the original = factor · x + shift.
    """

    pixels: np.ndarray
    width: int
    height: int
    factor: int
    shift: np.ndarray

    def to_original(self, points: np.ndarray) -> np.ndarray:
        """``(..., 2)`` pixels of ``pixels`` to pixels of the original."""
        return np.asarray(points, np.float64) * self.factor + self.shift

    def from_original(self, points: np.ndarray) -> np.ndarray:
        """The inverse of ``to_original``."""
        return (np.asarray(points, np.float64) - self.shift) / self.factor

    def meets(self, box: np.ndarray) -> bool:
        """Whether a ``(4,)`` box, original pixels, is not wholly outside."""
        return bool(box[2] > 0 and box[3] > 0 and box[0] < self.width and box[1] < self.height)

    def box_from_original(self, box: np.ndarray) -> np.ndarray:
        """A ``(4,)`` box of the original in pixels of ``pixels``."""
        return self.from_original(box.reshape(2, 2)).ravel()


def read_photo(path: str | Path, boxes: Sequence[np.ndarray] = (), size: int = 0) -> Photo:
    """Read a photograph.

    Args:
        path: the file.
        boxes: where its faces are, original pixels, if that is known: then it is decoded no larger than they need.
        size: side of the crops that will be cut of them, pixels.

    Raises:
        ImageError: missing, not an image, cut short, or too large.
    """
    return decode_photo(read_file(path), str(path), boxes, size)


def decode_photo(
    data: bytes, name: str, boxes: Sequence[np.ndarray] = (), size: int = 0, largest: int | None = None
) -> Photo:
    """As ``read_photo``, of a file's bytes; ``largest`` refuses more pixels, counted before anything is decoded."""
    width, height, reducible = _examine(data, name, largest)
    factor = max(_smallest(width, height, reducible), _enough(boxes, size))
    with _LARGE if width * height > SANE_PIXELS else nullcontext():
        pixels = _decode(data, name, factor)
    excess = np.array([pixels.shape[1] * factor - width, pixels.shape[0] * factor - height])
    if (np.abs(excess) >= factor).any():
        raise ImageError(f"{name}: the header says {width} × {height} pixels, but the image is of another size")
    # The blocks of a reduced JPEG begin at the first pixel that is stored, which turning may have made the last one.
    orientation = read_orientation(io.BytesIO(data)) if _is_jpeg(data) else 1
    flipped = np.array([orientation in _LEFT, orientation in _UP])
    return Photo(pixels, width, height, factor, (factor - 1) / 2 - np.where(flipped, excess, 0))


def _examine(data: bytes, name: str, largest: int | None) -> tuple[int, int, bool]:
    """Width, height, and whether the decoder can make it smaller without decoding all of it."""
    refuse_cut_short(data, name)
    size = known_size(read_size(io.BytesIO(data)), name)
    pixels = size[0] * size[1]
    if largest is not None and pixels > largest:
        raise ImageError(f"{name}: expected at most {largest} pixels, found {size[0]} × {size[1]}; scale it down")
    reducible = _is_jpeg(data) and not _progressive(data)
    # A reduced JPEG needs the memory of what comes out; anything else that of the whole.
    most = LARGEST_PIXELS * (64 if reducible else 1)
    side = LARGEST_SIDE * (8 if reducible else 1)
    if pixels > min(most, 2**30 - 1) or max(size) > side:
        raise ImageError(
            f"{name}: {size[0]} × {size[1]} pixels are more than can be decoded; expected at most "
            f"{LARGEST_PIXELS} (baseline JPEG: {2**30 - 1}); scale it down"
        )
    return *size, reducible


def _smallest(width: int, height: int, reducible: bool) -> int:
    factor = 1
    while factor < 8 and width * height > SANE_PIXELS * factor**2:
        factor *= 2
    while reducible and factor < 8 and max(width, height) > LARGEST_SIDE * factor:
        factor *= 2
    return factor


def _enough(boxes: Sequence[np.ndarray], size: int) -> int:
    """How much smaller the image may be for crops of boxes that still have two pixels for each of theirs."""
    if not size or not len(boxes):
        return 1
    scale = min(float(box_size(box)) for box in boxes) / size
    return next((factor for factor in (8, 4, 2) if scale >= 2 * factor), 1)


def _decode(data: bytes, name: str, factor: int) -> np.ndarray:
    buffer = np.frombuffer(data, np.uint8)
    jpeg = _is_jpeg(data)
    try:
        if jpeg:
            image = cv2.imdecode(buffer, _FACTORS[factor])
        else:
            # Only these may have an alpha channel that means something: a BMP's fourth byte is mostly padding.
            deep = data.startswith((b"\x89PNG", b"RIFF", b"II", b"MM"))
            image = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED if deep else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
            if image is not None:
                image = _opaque(_eight_bits(image))
                if data[:2] not in (b"II", b"MM"):  # its TIFF decoder turns for itself
                    image = _turned(image, read_orientation(io.BytesIO(data)))
    except cv2.error as error:
        raise ImageError(f"{name}: the image can't be decoded ({error.err})") from error
    if image is None:
        raise ImageError(f"{name}: not an image that OpenCV can read")
    if not jpeg and factor > 1:
        # Whole blocks, so that every pixel of the smaller image is the mean of one.
        height, width = (max(1, n // factor) for n in image.shape[:2])
        image = cv2.resize(image[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _eight_bits(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        colours = image[..., :3] if image.ndim == 3 else image
        top = int(colours.max(initial=0))
        # An alpha channel of 65535 says that the whole range is meant.
        shift = 8 if image.ndim == 3 and image.shape[2] == 4 else next((by for most, by in _DEEP if top <= most), 8)
        return np.right_shift(image, shift, out=image).astype(np.uint8)
    if image.dtype in (np.float32, np.float64):  # TIFF: 0 to 1
        return np.round(np.nan_to_num(image.astype(np.float32)).clip(0, 1) * 255).astype(np.uint8)
    return image.clip(0, 255).astype(np.uint8)


def _opaque(image: np.ndarray) -> np.ndarray:
    """``(H, W, 3)``: grey spread over three channels, what is transparent blended with mid-grey."""
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] == 2:
        image = np.concatenate([np.repeat(image[..., :1], 3, axis=2), image[..., 1:]], axis=2)
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3]
    if int(alpha.min(initial=255)) == 255:
        return np.ascontiguousarray(image[..., :3])
    blended = np.empty((*alpha.shape, 3), np.uint8)
    for row in range(0, len(image), _ROWS):  # by rows: all at once would take several times the image's memory
        part = image[row : row + _ROWS].astype(np.uint16)
        share = part[..., 3:]
        blended[row : row + _ROWS] = (part[..., :3] * share + 127 * (255 - share) + 127) // 255
    return blended


def _turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Upright, by EXIF's orientation: OpenCV turns nothing that it decodes with its alpha."""
    if orientation in (5, 6, 7, 8):
        image = np.swapaxes(image, 0, 1)
    if orientation in _LEFT:
        image = image[:, ::-1]
    if orientation in _UP:
        image = image[::-1]
    return np.ascontiguousarray(image)


def _is_jpeg(data: bytes) -> bool:
    return data[:2] == b"\xff\xd8"


def _progressive(data: bytes) -> bool:
    """Whether a JPEG's decoder must hold all of its coefficients: progressive, or of a kind that is rarer yet."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker not in (0xC0, 0xC1)
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True
