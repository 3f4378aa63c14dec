"""Arrays of MATLAB files that nobody vouches for, of all versions that data sets come in.

``read_mat`` reads what labels are kept in: numbers, texts, cells and structs of version 4, 5 to 7 ("MATLAB 5.0
MAT-file", laid out in MathWorks' "MAT-File Format") and 7.3 (HDF5, ``mat73.py``). SciPy's reader, which the tests take
for the reference, makes what a file claims before it looks whether it is there, follows nested cells until the stack is
full, and takes 0.2 ms for the small file that AFLW2000 has beside each image; this one takes half of that, and
refuses by the file's own words, before memory is taken, what is larger than a ``Limit``.

What arrays become:

    numbers, logical   an array of MATLAB's type and shape
    char               an array of strings, one a row, ``(rows,)``
    cell               an array of objects, of the cell's shape
    struct             an array of dicts from field to value, of the struct's shape

Sparse, complex, object, and function values are refused when they are asked for.
"""

from __future__ import annotations

import math
import os
import stat
import struct
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pifa_data.errors import AnnotationError

LARGEST = 2**28
"""Bytes, of all arrays read from one file. Labels of a million faces with 29 points take less."""

MOST_VALUES = 2**18
"""Arrays, cells and fields of structs in one file together."""

DEEPEST = 16
"""Cells and structs within each other."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of stored numbers: miINT8 … miUINT64."""

_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Types of arrays: mxDOUBLE_CLASS … mxUINT64_CLASS. Their numbers are stored in the smallest type that holds them."""

_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_OTHERS = {3: "an object", 5: "a sparse array", 16: "a function", 17: "an object"}
_MATRIX, _COMPRESSED = 14, 15
_EMPTY = np.zeros((0, 0))
_EMPTY.flags.writeable = False
_VERSION_4 = ("f8", "f4", "i4", "i2", "u2", "u1")


class Damaged(ValueError):
    """What is wrong with a file, without its name."""


@dataclass
class Limit:
    """What is left of what one file may hold: ``bytes`` of arrays, and ``values`` (arrays, cells, fields)."""

    bytes: int = LARGEST
    values: int = MOST_VALUES

    def take(self, size: int, values: int = 1) -> None:
        """Count so many bytes and values more.

        Raises:
            Damaged: too many.
        """
        self.bytes -= size
        self.values -= values
        if self.bytes < 0:
            raise Damaged("its arrays are larger together than is sane; refused")
        if self.values < 0:
            raise Damaged("it has more cells and fields than is sane; refused")


def read_mat(path: str | Path, names: Collection[str], *, largest: int = LARGEST) -> dict[str, np.ndarray]:
    """Those of the arrays ``names`` that a ``.mat`` file has; the others are passed over.

    Args:
        path: of the file.
        names: of top-level arrays.
        largest: bytes that the arrays may have together.

    Raises:
        AnnotationError: no such file, not a ``.mat`` file, a damaged one, or one that claims too much.
    """
    try:
        with open_file(path) as file:
            version = _version(file.read(520))
            if version == 7.3:
                from pifa_data.mat73 import MOST_VALUES as MOST_CELLS
                from pifa_data.mat73 import read_hdf5

                return read_hdf5(str(path), names, Limit(largest, MOST_CELLS))
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            return (_read_4 if version == 4 else _read_5)(file, size, set(names), Limit(largest))
    except Damaged as error:
        raise AnnotationError(f"{path}: {error}") from error
    except (struct.error, zlib.error, IndexError) as error:
        raise AnnotationError(f"{path}: not a .mat file, or a damaged one ({error})") from error
    except (OSError, ValueError) as error:  # a NUL in the name
        raise AnnotationError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def numbers(array: np.ndarray | None, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """What ``read_mat`` found of that name as float64, if it is numbers of that shape (None: any length).

    Raises:
        AnnotationError: no such array, no numbers, or of another shape; the name, and its file, are in the message.
    """
    if (
        array is None
        or array.dtype.kind not in "fiub"
        or array.ndim != len(shape)
        or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True))
    ):
        wanted = ", ".join("N" if length is None else str(length) for length in shape)
        found = "none" if array is None else f"{array.dtype} {array.shape}"
        raise AnnotationError(f"{name}: expected numbers of shape ({wanted}), found {found}")
    with np.errstate(invalid="ignore"):
        return array + np.float64(0)  # a signalling NaN becomes a quiet one, which the checks of faces name later


def open_file(path: str | Path) -> BinaryIO:
    """A regular file, open for reading: a pipe or a device would be waited for without end."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged("not a regular file")
    return os.fdopen(descriptor, "rb")


def _version(head: bytes) -> float:
    # MATLAB puts 512 bytes of its own before what HDF5 begins with.
    if _HDF5 in (head[:8], head[512:520]):
        return 7.3
    if len(head) >= 20 and 0 in head[:4]:
        return 4
    if len(head) >= 128 and head[126:128] in (b"IM", b"MI"):
        return 5
    raise Damaged("not a .mat file of version 4 to 7.3")


def _read_4(file: BinaryIO, size: int, names: set[str], limit: Limit) -> dict[str, np.ndarray]:
    """Version 4: a header of five numbers, the name, and the numbers of each array."""
    found: dict[str, np.ndarray] = {}
    while len(found) < len(names) and (head := file.read(20)):
        limit.take(0)  # a file may be of nothing but empty arrays, as long as one likes
        order = "<" if 0 <= struct.unpack("<i", head[:4])[0] < 5000 else ">"
        kind, rows, columns, imaginary, length = struct.unpack(order + "5i", head)
        thousands, hundreds, tens, ones = kind // 1000, kind // 100 % 10, kind // 10 % 10, kind % 10
        if thousands != (order == ">") or hundreds or tens > 5 or ones > 2 or imaginary not in (0, 1):
            raise Damaged(f"not a .mat file, or a damaged one (header {kind} of an array of version 4)")
        dtype = np.dtype(order + _VERSION_4[tens])
        data = rows * columns * dtype.itemsize * (1 + imaginary)
        start = file.tell() + length
        if min(rows, columns) < 0 or not 0 < length <= 256 or start + data > size:
            raise Damaged(f"damaged: an array of version 4 claims {rows} × {columns} numbers, and is cut short")
        name = file.read(length).rstrip(b"\0").decode("latin-1")
        if name in names and name not in found:
            if ones == 2 or imaginary:
                raise Damaged(f"{name}: expected numbers or text, found {'a sparse array' if ones == 2 else 'complex'}")
            limit.take(data, rows if ones == 1 else 1)  # rows without letters take no bytes
            values = np.frombuffer(file.read(data), dtype).astype(dtype.newbyteorder("="), copy=False)
            array = values.reshape((rows, columns), order="F")
            found[name] = _strings(array) if ones == 1 else array
        file.seek(start + data)
    return found


def _strings(codes: np.ndarray) -> np.ndarray:
    """``(rows,)`` strings of ``(rows, columns)`` letters' numbers."""
    with np.errstate(invalid="ignore"):
        if not ((codes >= 0) & (codes <= 0x10FFFF)).all():
            raise Damaged("damaged: a text has letters that there are not")
    rows = ["".join(map(chr, row)) for row in codes.astype(np.uint32).tolist()]
    return np.array(rows) if rows else np.array([], dtype="U1")


def _read_5(file: BinaryIO, size: int, names: set[str], limit: Limit) -> dict[str, np.ndarray]:
    """Version 5 to 7: after 128 bytes, elements of a type, a size and so many bytes, mostly one deflated array each."""
    order = "<" if file.read(128)[126:] == b"IM" else ">"
    pair = struct.Struct(order + "2I").unpack_from
    wanted = {name.encode("latin-1", errors="replace"): name for name in names}
    found: dict[str, np.ndarray] = {}
    at = 128
    while wanted and (head := file.read(8)):
        limit.take(0)
        kind, length = pair(head)
        at += 8 + length
        if at > size:
            raise Damaged(f"the file is cut short: an array of {length} bytes ends {at - size} behind it")
        data = b""
        if kind == _MATRIX and length:
            data = head + file.read(min(length, 300))
            if name := wanted.pop(_name(data, pair), ""):
                limit.take(length)
                data += file.read(length - len(data) + 8)
        elif kind == _COMPRESSED:
            # The name, which stands first, tells whether all has to be inflated.
            inflate = zlib.decompressobj()
            start = file.read(min(length, 400))
            data = inflate.decompress(start, 160)
            kind, whole = pair(data)
            if name := wanted.pop(_name(data, pair), "") if kind == _MATRIX and whole else "":
                limit.take(whole)
                rest = file.read(min(length, whole + whole // 64 + 1000) - len(start)) if length > len(start) else b""
                data += inflate.decompress(inflate.unconsumed_tail + rest, max(1, whole + 8 - len(data)))
                if len(data) < whole + 8:
                    raise Damaged(f"{name}: the file is damaged: expected {whole} bytes, found {len(data) - 8}")
        else:
            name = ""
        if name:
            try:
                found[name] = _Parser(data, order, limit).matrix()
            except Damaged as error:
                raise Damaged(f"{name}: {error}") from error
        file.seek(at)
    return found


def _name(data: bytes, pair: Callable[[bytes, int], tuple[int, int]]) -> bytes:
    """Of the array that begins the data, though the data may end behind its name: flags, shape, name are its parts."""
    at = 32 + (pair(data, 24)[1] + 7 & ~7)
    kind, length = pair(data, at)
    return data[at + 4 : at + 4 + (kind >> 16)] if kind >> 16 else data[at + 8 : at + 8 + length]


class _Parser:
    """The elements of one inflated array, one after the other."""

    def __init__(self, data: bytes, order: str, limit: Limit) -> None:
        self._data = data
        self._pair = struct.Struct(order + "2I")
        self._order = order
        self._limit = limit
        self._at = 0
        self._end = len(data)

    def matrix(self, depth: int = 0) -> np.ndarray:
        """The array that stands at the parser's place, which moves behind it."""
        kind, start, length = self._element()
        if kind != _MATRIX:
            raise Damaged(f"damaged: expected an array, found type {kind}")
        self._limit.take(0)
        if not length:  # so MATLAB writes what a cell or a field never got
            return _EMPTY
        if depth > DEEPEST:
            raise Damaged(f"cells lie within each other more than {DEEPEST} deep; refused")
        outer, self._at, self._end = (self._end, start, start + length)
        try:
            return self._body(depth)
        finally:
            self._at, self._end = start + length, outer

    def _element(self) -> tuple[int, int, int]:
        """Type, first byte and length of the next element; the parser's place moves behind it."""
        at = self._at
        if at + 8 > self._end:
            raise Damaged("damaged: it is cut short")
        kind, length = self._pair.unpack_from(self._data, at)
        if kind >> 16:  # a small one: its length beside its type, its bytes within the tag
            kind, length, start, self._at = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if length > 4:
                raise Damaged(f"damaged: a small element of {length} bytes")
            return kind, start, length
        if length > self._end - at - 8:
            raise Damaged(f"damaged: an element claims {length} bytes, {self._end - at - 8} are left")
        self._at = at + 8 + length + (-length & 7)
        return kind, at + 8, length

    def _numbers(self) -> np.ndarray:
        """The numbers of the next element, in the type they are stored in."""
        kind, start, length = self._element()
        dtype = _NUMBERS.get(kind)
        if dtype is None:
            raise Damaged(f"damaged: expected numbers, found type {kind}")
        size = int(dtype[1])
        if length % size:
            raise Damaged(f"damaged: {length} bytes are no whole count of numbers")
        return np.frombuffer(self._data, self._order + dtype, length // size, start)

    def _integers(self) -> np.ndarray:
        numbers = self._numbers()
        if numbers.dtype.kind == "f":
            raise Damaged("damaged: expected whole numbers, found others")
        return numbers

    def _body(self, depth: int) -> np.ndarray:
        flags = int(self._integers()[0])
        shape = tuple(self._integers().tolist())
        self._element()  # its name
        kind = flags & 0xFF
        if kind in _OTHERS or flags & 0x800:
            raise Damaged(f"expected numbers, text, a cell or a struct, found {_OTHERS.get(kind, 'complex numbers')}")
        if not 2 <= len(shape) <= 8 or min(shape) < 0:
            raise Damaged(f"damaged: an array of shape {shape[:9]}")
        count = math.prod(shape)
        if kind == _CHAR:
            return self._text(shape, count)
        if kind == _CELL:
            self._fits(count)
            cells = np.empty(count, object)
            for i in range(count):
                cells[i] = self.matrix(depth + 1)
            return cells.reshape(shape, order="F")
        if kind == _STRUCT:
            return self._struct(shape, count, depth)
        if kind not in _CLASSES:
            raise Damaged(f"damaged: an array of class {kind}")
        dtype = np.dtype(bool if flags & 0x200 else _CLASSES[kind])
        values = self._numbers()
        if len(values) != count:
            raise Damaged(f"damaged: an array of shape {shape} has {len(values)} numbers")
        self._limit.take(count * dtype.itemsize)
        with np.errstate(invalid="ignore", over="ignore"):  # damage may be anything
            return values.astype(dtype).reshape(shape, order="F")

    def _fits(self, count: int) -> None:
        """Refuse a claim of more arrays than bytes are left for: 8 each at least."""
        if count > (self._end - self._at) // 8:
            raise Damaged(f"damaged: it claims {count} cells or fields, more than it has bytes for")
        self._limit.take(8 * count, 0)

    def _text(self, shape: tuple[int, ...], count: int) -> np.ndarray:
        kind, start, length = self._element()
        if kind not in _TEXTS:
            raise Damaged(f"damaged: expected a text, found type {kind}")
        self._limit.take(8 * length)
        coding = _TEXTS[kind]
        if coding in ("utf-16", "utf-32"):
            coding += "-le" if self._order == "<" else "-be"
        text = self._data[start : start + length].decode(coding, errors="replace")
        if math.prod(shape[:-1]) == 1:  # the count may be of UTF-16's units, or of bytes
            return np.array(text).reshape(shape[:-1])
        if len(text) != count:
            raise Damaged(f"damaged: a text of shape {shape} has {len(text)} letters")
        rows = len(text) // shape[-1] if shape[-1] else 0
        return np.array([text[row::rows] for row in range(rows)], dtype=str).reshape(
            shape[:-1] if rows else 0, order="F"
        )

    def _struct(self, shape: tuple[int, ...], count: int, depth: int) -> np.ndarray:
        widths = self._integers()
        _, start, length = self._element()
        width = int(widths[0]) if len(widths) else 0
        if not 0 < width <= 256 or length % width:
            raise Damaged(f"damaged: names of fields are {length} bytes long, {width} each")
        names = [
            self._data[at : at + width].partition(b"\0")[0].decode("latin-1")
            for at in range(start, start + length, width)
        ]
        if len(names) > 1000:
            raise Damaged(f"a struct of {len(names)} fields; refused")
        if not names:
            count = 0
        self._fits(count * len(names))
        values = np.empty(count, object)
        for i in range(count):
            fields: dict[str, Any] = {name: self.matrix(depth + 1) for name in names}
            values[i] = fields
        return values.reshape(shape, order="F") if names else np.empty((0, 0), object)
