"""Faces that wait on disk until their turn comes, so that a source of any size takes no memory."""

from __future__ import annotations

import io
import pickle
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pifa_data.faces import Face


class Spool:
    """A list of faces that can only grow, as bytes in a temporary file of this process (``$TMPDIR``).

    The bytes are pickles: nobody else can write that file, and a worker gets them from the run that made them.
    """

    def __init__(self) -> None:
        self._file: Any = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this)
        self._ends = array("q")

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, face: Face) -> None:
        """Add a face.

        Raises:
            OSError: no space for temporary files.
        """
        data = pickle.dumps(face, protocol=5)
        with _named():
            self._file.write(data)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(data))

    def packed(self, numbers: Iterable[int]) -> bytes:
        """The faces of these numbers, as ``unpack`` takes them."""
        out = []
        with _named():  # what was written last may come to the disk only now
            for number in numbers:
                start = self._ends[number - 1] if number else 0
                self._file.seek(start)
                out.append(self._file.read(self._ends[number] - start))
            self._file.seek(0, 2)
        return b"".join(out)

    def close(self) -> None:
        """Give the space back."""
        with suppress(OSError):  # what there was no space for
            self._file.close()


@contextmanager
def _named() -> Iterator[None]:
    """Errors of a file without a name, as ones that say where it is."""
    try:
        yield
    except OSError as error:
        what = f"{error.strerror}, for a temporary file; set TMPDIR to a folder that has it"
        raise OSError(error.errno, what, tempfile.gettempdir()) from error


def unpack(data: bytes) -> list[Face]:
    """The faces of ``Spool.packed``."""
    file = io.BytesIO(data)
    faces = []
    while file.tell() < len(data):
        faces.append(pickle.load(file))
    return faces
