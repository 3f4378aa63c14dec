"""Reading images whole or not at all, and resampling crops from them.

An image may lie within a MATLAB file of version 7.3, as COFW's do: ``COFW_test_color.mat/IsT/17`` is the image that
MATLAB calls ``IsT{17}``.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from pifa_data.boxes import Square
from pifa_data.buckets import TooLarge, ahead, get
from pifa_data.errors import ImageError
from pifa_data.image_header import KNOWN, read_size
from pifa_data.matfile import Damaged, Limit, open_file
from pifa_data.urls import is_url

LARGEST_FILE = 256 * 2**20
"""Bytes. A photograph is far smaller; reading more is refused before it fills the memory."""

LARGEST_SIDE = 32766
"""Pixels. OpenCV's warp counts them in 16 bits."""

LARGEST_PIXELS = 2**27
"""Width times height: the largest cameras have 1.5e8, and such an image takes 0.4 GB. A file of a few kilobytes can
claim any number, so the header is asked before anything is decoded."""


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as ``(H, W, 3)`` uint8 RGB, turned upright where its EXIF data says so.

    Raises:
        ImageError: missing, not an image, cut short, or too large.
    """
    try:
        data = _read(path)
    except NotADirectoryError:
        return _within(path)
    return decode_image(data, str(path))


def read_file(path: str | Path) -> bytes:
    """The bytes of an image's file.

    Raises:
        ImageError: missing, no file, or too large.
    """
    try:
        return _read(path)
    except NotADirectoryError as error:
        raise ImageError(f"{path}: {error.strerror}") from error


def _read(path: str | Path) -> bytes:
    with _open(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST_FILE:
            raise ImageError(f"{path}: larger than {LARGEST_FILE >> 20} MB; refused")
        return file.read(LARGEST_FILE)


def read_images(paths: Sequence[str]) -> Iterator[np.ndarray | ImageError]:
    """``read_image`` of each path or URL; what can't be read comes as the error.

    Raises:
        PifaError: no such kind of URL, or a package is not installed.
        OSError: no credentials, no connection, no such bucket: it is not the image that is at fault.
    """
    fetched = ahead(_fetch, [path for path in paths if is_url(path)])
    for path in paths:
        try:
            if not is_url(path):
                yield read_image(path)
                continue
            data = next(fetched)
            if isinstance(data, ImageError):
                raise data
            yield decode_image(data, path)
        except ImageError as error:
            yield error


def _fetch(url: str) -> bytes | ImageError:
    try:
        return get(url, LARGEST_FILE)
    except FileNotFoundError:
        return ImageError(f"{url}: no such object")
    except TooLarge:
        return ImageError(f"{url}: larger than {LARGEST_FILE >> 20} MB; refused")


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height of an image as ``read_image`` would give it, from its header alone.

    Raises:
        ImageError: missing, not an image, or too large.
    """
    try:
        with _open(path) as file:
            return _checked(read_size(file), str(path))
    except NotADirectoryError:
        return _size_within(path)


def image_exists(path: str | Path) -> bool:
    """Whether there is such a file, or such a cell of a MATLAB file; it may be damaged."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except NotADirectoryError:
        try:
            return bool(_size_within(path))
        except ImageError:
            return False
    except (OSError, ValueError):
        return False


def _within(path: str | Path) -> np.ndarray:
    """``read_image`` of a cell of a MATLAB file."""
    from pifa_data.mat73 import read_array

    with _cell(path) as node:
        width, height = _size_of(node, path)
        image = np.ascontiguousarray(read_array(node, Limit()).T)
    return image if image.shape == (height, width, 3) else np.repeat(image[..., None], 3, axis=2)


def _size_within(path: str | Path) -> tuple[int, int]:
    with _cell(path) as node:
        return _size_of(node, path)


def _size_of(node: Any, path: str | Path) -> tuple[int, int]:
    """Width and height of a cell's image. MATLAB turns over what it stores: (3, width, height), or (width, height)."""
    shape = node.shape
    if node.dtype != np.uint8 or shape is None or len(shape) not in (2, 3) or shape[:-2] not in ((), (3,)):
        raise ImageError(f"{path}: expected an image, found {node.dtype} {(shape or ())[::-1]}")
    return _checked(shape[-2:], str(path))


@contextmanager
def _cell(path: str | Path) -> Iterator[Any]:
    """The data set (h5py) that a path ``FILE/NAME/NUMBER`` means."""
    path = Path(path)
    file, name, number = path.parent.parent, path.parent.name, path.name
    if not (file.is_file() and number.isascii() and number.isdigit() and len(number) < 10):
        raise ImageError(f"{path}: not a folder, nor a cell of a MATLAB file as FILE.mat/NAME/NUMBER")
    from pifa_data.mat73 import open_cell

    try:
        with open_cell(str(file), name, int(number) - 1) as node:
            yield node
    except Damaged as error:
        raise ImageError(f"{path}: {error}") from error


def _open(path: str | Path) -> BinaryIO:
    """Raises ``NotADirectoryError`` where a folder of the path is a file, else ``ImageError``."""
    try:
        return open_file(path)
    except NotADirectoryError:
        raise
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name, or no regular file
        raise ImageError(f"{str(path)!r}: {error}") from error


def known_size(size: tuple[int, int] | None, name: str) -> tuple[int, int]:
    """Give ``read_size``'s answer back, or raise ``ImageError`` where there is none."""
    if size is None:  # OpenCV may know it, but would fill the memory with whatever size it claims
        raise ImageError(f"{name}: not an image, or none of {', '.join(KNOWN)}; convert it")
    if 0 in size:
        raise ImageError(f"{name}: not an image, or one with a damaged header")
    return size


def _checked(found: tuple[int, int] | None, name: str) -> tuple[int, int]:
    size = known_size(found, name)
    if size[0] * size[1] > LARGEST_PIXELS or max(size) > LARGEST_SIDE:
        raise ImageError(
            f"{name}: expected at most {LARGEST_PIXELS} pixels and sides of at most {LARGEST_SIDE}, "
            f"found {size[0]} × {size[1]}; scale it down"
        )
    return size


def decode_image(data: bytes, name: str) -> np.ndarray:
    """As ``read_image``, of a file's bytes."""
    refuse_cut_short(data, name)
    _checked(read_size(io.BytesIO(data)), name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise ImageError(f"{name}: the image can't be decoded ({error.err})") from error
    if image is None:
        raise ImageError(f"{name}: not an image that OpenCV can read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def refuse_cut_short(data: bytes, name: str) -> None:
    """Raises ``ImageError``: OpenCV decodes a JPEG or PNG that was cut short half grey, without an error."""
    if _cut_short(data):
        raise ImageError(f"{name}: the image file is cut short; copy it again")


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

    def sample(self, points: np.ndarray) -> np.ndarray:
        """The image at any places, bilinear; black outside it.

        Args:
            points: ``(H, W, 2)`` image pixels, H and W at most ``LARGEST_SIDE``.

        Returns:
            ``(H, W, 3)`` uint8.
        """
        height, width = self._image.shape[:2]
        x, y = ((points[..., axis] + 0.5) / f - 0.5 for axis, f in enumerate(self._stretch))
        maps = x.astype(np.float32), y.astype(np.float32)
        sampled = cv2.remap(self._image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        sampled[(x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)] = 0
        return sampled


def crop_image(image: np.ndarray, square: Square) -> np.ndarray:
    """One crop of one image; see ``CropSource``."""
    return CropSource(image, square).crop(square)
