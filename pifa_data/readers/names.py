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
        self._table = array("q", bytes(8 * 1024))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: str) -> bool:
        return bool(self._table[self._place(hash(name) or 1)])

    def add(self, name: str) -> bool:
        """Remember a name; whether it is new."""
        if self._count >= _FULL * len(self._table):
            old = self._table
            self._table = array("q", bytes(16 * len(old)))
            for value in old:
                if value:
                    self._table[self._place(value)] = value
        value = hash(name) or 1  # 0 marks an empty place
        place = self._place(value)
        if self._table[place]:
            return False
        self._table[place] = value
        self._count += 1
        return True

    def _place(self, value: int) -> int:
        """Where a hash is, or would be: the first free place from its own on."""
        table, mask = self._table, len(self._table) - 1
        place = value & mask
        while table[place] and table[place] != value:
            place = (place + 1) & mask
        return place
