"""Many numbers of a text at once.

A row of numbers between commas is a JSON array without brackets, and pydantic's JSON parser reads one four times as
fast as ``float`` does. What JSON does not know (``+1``, ``.5``, ``01``, ``nan``) goes the slow way.
"""

from __future__ import annotations

import numpy as np
from pydantic_core import from_json

LONGEST = 400
"""Characters of one number; no writer needs more than 25."""


def parse_numbers(text: str, separator: str | None = None) -> np.ndarray:
    """The numbers of a text, ``(n,)`` float64.

    Args:
        text: numbers between separators.
        separator: between two numbers, or None for any white space.

    Raises:
        ValueError: a part that is no number; the message has the part.
    """
    flat = text if separator == "," else text.replace(separator or " ", ",")
    if not _foreign(flat) and "[" not in flat:
        try:
            values = from_json(f"[{flat}]")
            return np.fromiter(values, np.float64, len(values))
        except (ValueError, OverflowError):
            pass
    return np.array([_number(part) for part in text.split(separator)], dtype=np.float64)


def parse_rows(text: str) -> np.ndarray:
    """The numbers of lines that are all as long, with white space between them, ``(n, m)`` float64.

    Raises:
        ValueError: a part that is no number, or lines of different lengths.
    """
    text = text.strip()
    if not text:
        raise ValueError("found 0 rows")
    array = None if "[" in text else _parse_table(text.replace("\n", "],[").replace(" ", ","))
    if array is not None:
        return array
    rows = [[_number(part) for part in line.split()] for line in text.splitlines()]
    lengths = sorted(set(map(len, rows)))
    if len(lengths) != 1:
        found = " or ".join(map(str, lengths)) or "no"
        raise ValueError(f"found {len(rows)} rows of {found} numbers")
    return np.array(rows, dtype=np.float64)


def _parse_table(text: str) -> np.ndarray | None:
    """The array that rows within brackets stand for, or None if they have to be read the slow way."""
    if _foreign(text):
        return None
    try:
        array = np.array(from_json(f"[[{text}]]"))
    except ValueError:
        return None
    return array.astype(np.float64, copy=False) if array.dtype.kind in "fi" and array.ndim == 2 else None


def _foreign(text: str) -> bool:
    """Whether it holds JSON that is no number: strings, objects, true, false, null, NaN, Infinity."""
    # Numbers have no letters a, f and u. Written out, as a loop over the letters takes six times as long.
    return '"' in text or "{" in text or "a" in text or "f" in text or "u" in text


def _number(part: str) -> float:
    try:
        if len(part) <= LONGEST and "_" not in part:  # Python's float takes 1_000
            return float(part)
    except ValueError:
        pass
    raise ValueError(f"not a number: {part[:40]!r}")
