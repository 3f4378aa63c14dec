"""Names seen before, of millions of faces, in a few bytes each."""

from __future__ import annotations

from array import array

_FULL = 0.6
"""Share of the table's places in use at which it is doubled."""


class Names:
    """A set of names that keeps only their hashes: 13 to 27 bytes a name, where a set of strings needs 150.

    Two names of the same 64-bit hash are taken for one: among a million names, with a chance of 3 in 10⁸.
    """

    def __init__(self) -> None:
        self._grow(array("q"), 1024)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: str) -> bool:
        return bool(self._table[self._place(hash(name) or 1)])

    def add(self, name: str) -> bool:
        """Remember a name; whether it is new."""
        value = hash(name) or 1  # 0 marks an empty place
        place = self._place(value)
        if self._table[place]:
            return False
        self._table[place] = value
        self._count += 1
        if self._count > self._most:
            self._grow(self._table, 2 * len(self._table))
        return True

    def _grow(self, old: array[int], size: int) -> None:
        """Make the table of so many places, a power of two, and put into it what the old one has."""
        self._table, self._mask, self._most = array("q", bytes(8 * size)), size - 1, int(_FULL * size)
        for value in old:
            if value:
                self._table[self._place(value)] = value

    def _place(self, value: int) -> int:
        """Where a hash is, or would be: the first free place from its own on."""
        table, mask = self._table, self._mask
        place = value & mask
        while found := table[place]:
            if found == value:
                break
            place = (place + 1) & mask
        return place
