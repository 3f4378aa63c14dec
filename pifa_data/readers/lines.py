"""Text files line by line, without ever holding a line of absurd length."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from pifa_data.errors import AnnotationError

LONGEST = 64 * 1024
"""Bytes of one line; a face of 98 points takes 2,500."""

TOO_LONG = f"longer than {LONGEST} bytes"

_BUFFER = 2**18
"""Bytes read at once; with Python's 8192, taking a line of 2,000 costs twice as much."""


def read_lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """Stream a text file's lines, without their ends, and their numbers from 1; None for one that is ``TOO_LONG``.

    Lines end as Unix or Windows ends them, and a byte-order mark is left out. Bytes that are no UTF-8 are replaced:
    they can only spoil a file name, and that face is then skipped as an image that is not there.

    Raises:
        AnnotationError: not a regular file (a pipe would be waited for without end), or it can't be read.
    """
    if not path.is_file():
        raise AnnotationError(f"{path}: expected a text file, found none of that name")
    number = 0
    try:
        with path.open("rb", buffering=_BUFFER) as file:
            while line := file.readline(LONGEST):
                number += 1
                if len(line) < LONGEST or line.endswith(b"\n"):
                    if number == 1:
                        line = line.removeprefix(codecs.BOM_UTF8)
                    yield number, line.rstrip(b"\r\n").decode("utf-8", "replace")
                else:
                    while (rest := file.readline(LONGEST)) and not rest.endswith(b"\n"):
                        pass
                    yield number, None
    except OSError as error:
        raise AnnotationError(f"{path}: can't be read ({error.strerror or error})") from error
