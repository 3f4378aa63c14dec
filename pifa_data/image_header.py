"""An image's width and height from its first bytes, as OpenCV would decode it, EXIF orientation and all.

For JPEG, PNG, WebP, TIFF, BMP and PPM: what data sets come in. A few reads and seeks, 20 µs, whatever the image's size,
so that what is too large is refused before it is decoded. Pillow would do for most, but its own plug-ins decode a PNG
and prepare a WebP's canvas on the way, follow XMP where OpenCV does not, and warn of large images by a global state.
"""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO

_TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""JPEG's markers that begin a frame: SOF0 to SOF15, without DHT, JPG and DAC."""


_BEGINNINGS = (
    *(b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF", b"II*\0", b"MM\0*", b"BM"),
    *(b"P%d" % number for number in range(1, 7)),
)


def read_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height as decoded; (0, 0) where the header is damaged, None for other formats.

    Args:
        file: at its beginning; its place moves.
    """
    head = file.read(32)
    if not head.startswith(_BEGINNINGS):
        return None
    try:
        return _read_size(file, head) or (0, 0)
    except (struct.error, IndexError):
        return 0, 0


def _read_size(file: BinaryIO, head: bytes) -> tuple[int, int] | None:
    if head[:2] == b"\xff\xd8":
        return _jpeg(file)
    if head[0] == 0x89:
        return _png(file, head)
    if head[:4] == b"RIFF":
        return _webp(file, head)
    if head[:2] == b"BM":
        return _bmp(head)
    if head[0] == ord("P"):
        file.seek(2)
        return _ppm(file.read(4096))
    return _tiff(file)


def _turn(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if orientation in _TURNED else (width, height)


def _jpeg(file: BinaryIO) -> tuple[int, int] | None:
    orientation = 0
    at = 2
    for _ in range(10_000):  # segments; a photograph has about ten
        file.seek(at)
        head = file.read(9)
        if len(head) < 9:
            return None
        if head[0] != 0xFF or head[1] in (0, 0xFF):  # padding, or bytes that belong to nothing: decoders pass over them
            at += 1
            continue
        marker, length = head[1], 2 + int.from_bytes(head[2:4], "big")
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", head[5:9])
            return _turn(width, height, orientation)
        if marker == 0xE1 and not orientation:
            file.seek(at + 10)
            orientation = _orientation(file.read(max(0, length - 10)))
        at += 2 if 0xD0 <= marker <= 0xD8 or marker == 1 else length
    return None


def _png(file: BinaryIO, head: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", head, 16)
    at, orientation = 8, 0
    for _ in range(1000):
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8 or chunk[4:] == b"IDAT":
            break
        length = int.from_bytes(chunk[:4], "big")
        if chunk[4:] == b"eXIf":
            orientation = _orientation(file.read(min(length, 2**20)))
        at += 12 + length
    return _turn(width, height, orientation)


def _webp(file: BinaryIO, head: bytes) -> tuple[int, int] | None:
    kind = head[12:16] if head[8:12] == b"WEBP" else b""
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind != b"VP8X":
        return None
    width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    orientation = 0
    if head[20] & 8:  # has EXIF
        at = 12
        for _ in range(1000):
            file.seek(at)
            chunk = file.read(8)
            if len(chunk) < 8:
                break
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"EXIF":
                orientation = _orientation(file.read(min(length, 2**20)))
                break
            at += 8 + length + length % 2
    return _turn(width, height, orientation)


def _bmp(head: bytes) -> tuple[int, int]:
    if head[14:18] == b"\x0c\0\0\0":  # the header of OS/2
        width, height = struct.unpack_from("<HH", head, 18)
    else:
        width, height = struct.unpack_from("<ii", head, 18)
    return abs(width), abs(height)  # a negative height: rows from the top


def _ppm(text: bytes) -> tuple[int, int] | None:
    found = re.match(rb"(?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})\s", text)
    return (int(found[1]), int(found[2])) if found else None


def _tiff(file: BinaryIO) -> tuple[int, int] | None:
    fields = _fields(file)
    if 256 not in fields or 257 not in fields:
        return None
    return _turn(fields[256], fields[257], fields.get(274, 0))


def _orientation(data: bytes) -> int:
    try:
        value = _fields(io.BytesIO(data)).get(274, 0)
    except struct.error:
        return 0
    return value if 1 <= value <= 8 else 0


def _fields(file: BinaryIO) -> dict[int, int]:
    """The first directory of a TIFF, which EXIF is one of: numbers that stand in it, by their tag."""
    file.seek(0)
    head = file.read(8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        return {}
    file.seek(*struct.unpack(order + "4xI", head))
    (count,) = struct.unpack(order + "H", file.read(2))
    data = file.read(12 * count)
    fields = {}
    for place in range(0, 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if kind in (3, 4):  # short, long
            fields[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, place + 8)[0]
    return fields
