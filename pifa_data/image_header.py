"""An image's width and height from its first bytes, as OpenCV would decode it, EXIF orientation and all.

For JPEG, PNG, WebP, TIFF, BMP and PPM: what data sets come in. A few reads and seeks, 30 µs (of a large PNG some ms, as
its EXIF may stand behind the pixels), so that what is too large is refused before it is decoded. Pillow would do for
most, but its own plug-ins decode a PNG and prepare a WebP's canvas on the way, follow XMP where OpenCV does not, and
warn of large images by a global state.
"""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO

KNOWN = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "PBM", "PGM", "PPM")
"""Formats whose headers are read."""

_TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""JPEG's markers that begin a frame: SOF0 to SOF15, without DHT, JPG and DAC."""


Header = tuple[int, int, int]
"""Width and height as they are stored, and EXIF's orientation."""

_BEGINNINGS = (
    *(b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF", b"II*\0", b"MM\0*", b"BM"),
    *(b"P%d" % number for number in range(1, 7)),
)


def read_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height as decoded; (0, 0) where the header is damaged, None for other formats.

    Args:
        file: at its beginning; its place moves.
    """
    found = _read(file)
    return found and _turn(*found)


def read_orientation(file: BinaryIO) -> int:
    """EXIF's orientation, 1 to 8; 1, upright, where there is none or OpenCV would not follow it."""
    found = _read(file)
    return found[2] if found and found[2] in range(1, 9) else 1


def _read(file: BinaryIO) -> Header | None:
    head = file.read(32)
    if not head.startswith(_BEGINNINGS):
        return None
    try:
        return _read_header(file, head) or (0, 0, 1)
    except (struct.error, IndexError):
        return 0, 0, 1


def _read_header(file: BinaryIO, head: bytes) -> Header | None:
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


def _jpeg(file: BinaryIO) -> Header | None:
    size = orientation = None
    at = 2
    for _ in range(10_000):  # segments; a photograph has about ten
        file.seek(at)
        head = file.read(10)
        if len(head) < 9:
            return None
        if head[0] != 0xFF or head[1] in (0, 0xFF):  # padding, or bytes that belong to nothing: decoders pass over them
            at += 1
            continue
        marker, length = head[1], 2 + int.from_bytes(head[2:4], "big")
        if marker == 0xDA:  # the pixels; EXIF may stand anywhere before them, also behind the frame
            return size and (*size, orientation or 1)
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", head[5:9])
            size = width, height
        elif marker == 0xE1 and head[4:] == b"Exif\0\0" and orientation is None:  # the first that says it counts
            orientation = _orientation(file.read(max(0, length - 10)))
        at += 2 if 0xD0 <= marker <= 0xD8 or marker == 1 else length
    return None


def _png(file: BinaryIO, head: bytes) -> Header:
    width, height = struct.unpack_from(">II", head, 16)
    at, orientation = 8, None
    for _ in range(20_000):  # chunks, of usually 8 kB; EXIF may stand behind the pixels
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8 or chunk[4:] == b"IEND" or (chunk[4:] == b"IDAT" and orientation is not None):
            break
        length = int.from_bytes(chunk[:4], "big")
        if chunk[4:] == b"acTL":  # OpenCV turns no animation
            return width, height, 1
        if chunk[4:] == b"eXIf":
            orientation = _orientation(file.read(min(length, 2**20)))
        at += 12 + length
    return width, height, orientation or 1


def _webp(file: BinaryIO, head: bytes) -> Header | None:
    kind = head[12:16] if head[8:12] == b"WEBP" else b""
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF, 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1
    if kind != b"VP8X":
        return None
    width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    orientation = None
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
    return width, height, orientation or 1


def _bmp(head: bytes) -> Header:
    if head[14:18] == b"\x0c\0\0\0":  # the header of OS/2
        width, height = struct.unpack_from("<HH", head, 18)
    else:
        width, height = struct.unpack_from("<ii", head, 18)
    return abs(width), abs(height), 1  # a negative height: rows from the top


def _ppm(text: bytes) -> Header | None:
    found = re.match(rb"(?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})\s", text)
    return (int(found[1]), int(found[2]), 1) if found else None


def _tiff(file: BinaryIO) -> Header | None:
    order, fields = _directory(file)
    numbers = {
        tag: struct.unpack_from(order + ("H" if kind == 3 else "I"), value)[0]
        for tag, (kind, value) in fields.items()
        if kind in (3, 4)  # short, long
    }
    if 256 not in numbers or 257 not in numbers:
        return None
    return numbers[256], numbers[257], numbers.get(274, 1)


def _orientation(data: bytes) -> int | None:
    """What EXIF says, None if nothing; read as OpenCV does, as a short whatever the field calls itself."""
    try:
        order, fields = _directory(io.BytesIO(data))
        return struct.unpack_from(order + "H", fields[274][1])[0] if 274 in fields else None
    except struct.error:
        return None


def _directory(file: BinaryIO) -> tuple[str, dict[int, tuple[int, bytes]]]:
    """The first directory of a TIFF, which EXIF is one of: its byte order; each tag's type and four bytes of value."""
    file.seek(0)
    head = file.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if order is None:
        return "", {}
    file.seek(*struct.unpack(order + "4xI", head))
    (count,) = struct.unpack(order + "H", file.read(2))
    fields: dict[int, tuple[int, bytes]] = {}
    for _ in range(count):
        entry = file.read(12)
        if len(entry) < 12:
            break
        tag, kind = struct.unpack_from(order + "HH", entry)
        fields.setdefault(tag, (kind, entry[8:]))  # of a tag that stands there twice, decoders take the first
    return order, fields
