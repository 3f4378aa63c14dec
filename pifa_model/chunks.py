"""Chunks of a store's pictures on disk, decoded into memory that is used again.

Through Zarr a chunk takes twice as much of the processor as its decompression: its bytes, what comes out of them, and
the rows that were asked for are new memory each time, whose pages the system has to clear (``benchmarks/training.py``).
Here a chunk is read and decompressed as Zarr's documents say (codecs ``sharding_indexed``, ``blosc``, ``crc32c``) into
buffers that each thread keeps. What is not as expected is left to Zarr, which has the errors for it.
"""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs import blosc

CHUNK_CODECS, INDEX_CODECS = ["bytes", "blosc", "crc32c"], ["bytes", "crc32c"]
"""What ``pifa prep`` writes chunks and the index of a shard with."""

CHECKSUM, ENTRY, HEADER = 4, 16, 16
"""Bytes of a checksum, of a chunk's offset and length in the index, and of what Blosc puts first."""


class PictureChunks:
    """Reads chunks of an array of uint8 in a folder, each of which is whole along all axes but the first."""

    def __init__(self, folder: Path, array: zarr.Array) -> None:
        """Read ``array``, whose files are in ``folder``."""
        self._folder, self._shape = folder, tuple(array.chunks)
        self._a_shard = array.shards[0] // array.chunks[0] if array.shards else None
        self._buffers = threading.local()
        self._known = _written_by_prep(array)

    def read(self, number: int) -> np.ndarray | None:
        """A chunk, valid until this thread's next call; None where it can't be read."""
        if not self._known:
            return None
        out = self._buffer("chunk", math.prod(self._shape))
        try:
            encoded = self._encoded(number)
            if len(encoded) < HEADER:
                return None
            length, compressed = np.frombuffer(encoded, "<u4", 4)[[1, 3]].tolist()
            if (length, compressed) != (len(out), len(encoded)):
                return None
            blosc.decompress(encoded, out)
        except (OSError, ValueError, RuntimeError):
            return None
        return out.reshape(self._shape)

    def _encoded(self, number: int) -> np.ndarray:
        """The compressed bytes of a chunk; ValueError where a checksum is wrong."""
        shard, place = (number, None) if self._a_shard is None else divmod(number, self._a_shard)
        path = self._folder.joinpath("c", str(shard), *["0"] * (len(self._shape) - 1))
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if self._a_shard is None:
                return self._checked(file, 0, size, "encoded")
            index = self._a_shard * ENTRY + CHECKSUM
            entries = self._checked(file, size - index, index, "index").view("<u8").reshape(-1, 2)
            start, length = entries[place].tolist()
            if start + length > size:
                raise ValueError("the index points beyond the file")  # or a buffer of any size would be made
            return self._checked(file, start, length, "encoded")

    def _checked(self, file: Any, start: int, length: int, name: str) -> np.ndarray:
        """Bytes of a file less the checksum at their end."""
        if length < CHECKSUM:
            raise ValueError("shorter than a checksum")
        out = self._buffer(name, length)
        file.seek(start)
        if file.readinto(out) != length:
            raise ValueError("the file ends too early")
        data = out[:-CHECKSUM]
        data.flags.writeable = False  # the checksum is taken of nothing else
        if google_crc32c.value(data) != int.from_bytes(out[-CHECKSUM:].tobytes(), "little"):
            raise ValueError("wrong checksum")
        return data

    def _buffer(self, name: str, length: int) -> np.ndarray:
        """``(length,)`` uint8 of this thread."""
        buffer = getattr(self._buffers, name, None)
        if buffer is None or len(buffer) < length:
            buffer = np.empty(length, np.uint8)
            setattr(self._buffers, name, buffer)
        return buffer[:length]


def _written_by_prep(array: zarr.Array) -> bool:
    codecs: Any = array.metadata.to_dict()["codecs"]
    if array.shards:
        [shard] = codecs
        settings = shard["configuration"]
        index = [codec["name"] for codec in settings["index_codecs"]]
        if shard["name"] != "sharding_indexed" or index != INDEX_CODECS or settings["index_location"] != "end":
            return False
        codecs = settings["codecs"]
    names = [codec["name"] for codec in codecs]
    return names == CHUNK_CODECS and array.dtype == np.uint8 and array.chunks[1:] == array.shape[1:]
