"""Mutation fuzzing of readers: ``COUNT`` mutated files a reader, 300 in the suite, ``$PIFA_FUZZ`` in a nightly run."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import PifaError
from pifa_data.faces import Face
from pifa_data.readers import FORMATS, read_faces
from pifa_data.schemes import get_scheme

COUNT = int(os.environ.get("PIFA_FUZZ", "300"))

WORDS = (
    *(b"\0", b'"', b"'", b",", b"\n", b"\r", b" ", b"\t", b"<", b">", b"&", b"{", b"}", b"[", b"]", b":", b"/", b"-1"),
    *(b"nan", b"-inf", b"1e999", b"9" * 400, b"true", b"null", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
    *(b"../", b"/etc/passwd", b"..\\", b"C:\\", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"),
)


def mutants(good: bytes, count: int = COUNT, words: tuple[bytes, ...] = WORDS) -> Iterator[bytes]:
    """Copies of a file with bits flipped, bytes changed, cut out, doubled, or replaced by hostile words."""
    # The same files every time, and others for another file.
    rng = np.random.default_rng(zlib.crc32(good))
    for _ in range(count):
        data = bytearray(good)
        for _ in range(rng.integers(1, 5)):
            at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 60))
            kind = rng.integers(6)
            if kind == 0:
                data[at : at + 1] = bytes([rng.integers(256)])
            elif kind == 1:
                del data[at : at + length]
            elif kind == 2:
                data[at:at] = data[at : at + length]
            elif kind == 3:
                data[at:at] = words[rng.integers(len(words))]
            elif kind == 4:
                word = words[rng.integers(len(words))]
                data[at : at + len(word)] = word
            elif at < len(data):
                data[at] ^= 1 << int(rng.integers(8))
        if rng.integers(20) == 0:
            del data[int(rng.integers(len(data) + 1)) :]
        yield bytes(data)


def survives(source: str, root: Path | None = None) -> int:
    """Read a source to its end: faces as they should be, or our errors, and no image outside its folder.

    Args:
        source: ``FORMAT:PATH``.
        root: the data set's folder, where it is not the source's own path.

    Returns:
        How many faces were read.
    """
    folder = (root or Path(source.partition(":")[2].partition(",")[0])).resolve()
    count = 0
    try:
        for face in read_faces(source, FORMATS, fittable=False):
            if isinstance(face, Face):
                points = len(get_scheme(face.scheme))
                assert face.landmarks.shape == (points, 2)
                assert face.landmarks.dtype == np.float64
                assert face.visibility.shape == (points,)
                assert set(np.unique(face.visibility).tolist()) <= {0, 1, 2}
                assert np.isfinite(face.landmarks[face.visibility > 0]).all()
                assert face.box is None or (face.box.shape == (4,) and np.isfinite(face.box).all())
                assert face.pose is None or (face.pose.shape == (3,) and np.isfinite(face.pose).all())
                assert face.kind in ("2d", "3d")
                assert "\0" not in face.file
                assert face.image.resolve().is_relative_to(folder)
                count += 1
    except PifaError:
        pass
    return count


def fuzz(path: Path, source: str, root: Path | None = None) -> None:
    """Read a source with mutants in the place of one of its files, which gives faces as it is; it is put back."""
    good = path.read_bytes()
    assert survives(source, root), "without faces nothing is tried"
    for data in mutants(good):
        path.write_bytes(data)
        survives(source, root)
    path.write_bytes(good)
