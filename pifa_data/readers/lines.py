"""Text files line by line, without ever holding a line of absurd length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pifa_data.errors import AnnotationError

LONGEST = 64 * 1024
"""Characters of one line; a face of 98 points takes 2,500."""

TOO_LONG = f"longer than {LONGEST} characters"


def read_lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """Stream a text file's lines, without their ends, and their numbers from 1; None for one that is ``TOO_LONG``.

    Any of the three line ends will do, and a byte-order mark is left out. Bytes that are no UTF-8 are replaced: they
    can only spoil a file name, and that face is then skipped as an image that is not there.

    Raises:
        AnnotationError: not a regular file (a pipe would be waited for without end), or it can't be read.
    """
    if not path.is_file():
        raise AnnotationError(f"{path}: expected a text file, found none of that name")
    number = 0
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            while line := file.readline(LONGEST):
                number += 1
                if line[-1] == "\n":
                    yield number, line[:-1]
                elif len(line) < LONGEST:
                    yield number, line
                else:
                    while (rest := file.readline(LONGEST)) and rest[-1] != "\n":
                        pass
                    yield number, None
    except OSError as error:
        raise AnnotationError(f"{path}: can't be read ({error.strerror or error})") from error
