"""Several stores as one: the rows of the first, then those of the second, and so on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pifa_data.errors import ConfigError, StoreError
from pifa_data.store import CHUNK, Store
from pifa_model import store_rows
from pifa_model.rows import Labels, Rows
from pifa_model.store_rows import StoreRows

NAMED = 5
"""People whom an error names."""

COMMON = {
    "morphable model": "--morphable",
    "crop size": "--size",
    "crop over box": "--grow",
    "landmark scheme": "--scheme",
}
"""What every row that one network sees has to have in common, and the option of ``pifa prep`` that decides it."""

JOINED = COMMON | {"kind of boxes": "--boxes", "layout": "--layout"}
"""The same for stores that are trained on together: a checkpoint tells one kind of boxes, a batch has one layout."""


class JoinedRows(Rows):
    """The rows of several stores, or of one, numbered through; a subject of the same name is the same person."""

    def __init__(self, stores: list[Store]) -> None:
        """Read the stores.

        Raises:
            StoreError: two of them can't be trained on together; names both, what differs, and the cure.
        """
        for index, store in enumerate(stores):
            for before in stores[:index]:
                if before.attributes["digest"] == store.attributes["digest"]:
                    raise StoreError(
                        f"{before.location} and {store.location}: hold the same crops, which would be seen twice; "
                        "give one of them"
                    )
            check_alike(stores[0], store, JOINED)
        self._parts = parts = [StoreRows(store, store_rows.KEPT // len(stores)) for store in stores]
        first = parts[0]
        self.store, self.size, self.grow, self.shared = first.store, first.size, first.grow, first.shared
        self._rows = _starts([len(part.valid) for part in parts])
        faces = _starts([len(part.subjects) for part in parts])
        # Rounded up, so that a chunk is of one store.
        self._pictures = _starts([-(-part.pictures // CHUNK) * CHUNK for part in parts])
        self.source = np.concatenate([part.source + start for part, start in zip(parts, faces, strict=True)])
        for name in ("copy", "valid", "mirrored", "marching", "is_view", "copies"):
            setattr(self, name, np.concatenate([getattr(part, name) for part in parts]))
        self.subjects = [subject for part in parts for subject in part.subjects]

    @property
    def stores(self) -> list[Store]:
        return [part.store for part in self._parts]

    def describe(self, rows: np.ndarray) -> str:
        return "; ".join(part.describe(own) for part, _, own, _ in self._split(rows))

    def stored_at(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty(len(rows), np.int64)
        for part, at, own, index in self._split(rows):
            out[at] = part.stored_at(own) + self._pictures[index]
        return out

    def params(self, rows: np.ndarray) -> np.ndarray:
        return self._gather(rows, lambda part, own, _: part.params(own))

    def labels(self, rows: np.ndarray, flipped: np.ndarray | None = None) -> Labels:
        split = list(self._split(rows))
        found = [part.labels(own, None if flipped is None else flipped[at]) for part, at, own, _ in split]
        order = np.argsort(np.concatenate([at for _, at, _, _ in split]))
        params, landmarks, visibility = (
            np.concatenate([getattr(labels, name) for labels in found])[order]
            for name in ("params", "landmarks", "visibility")
        )
        return Labels(params, landmarks, visibility)

    def windows(self, rows: np.ndarray, flipped: np.ndarray) -> np.ndarray:
        return self._gather(rows, lambda part, own, at: part.windows(own, flipped[at]))

    def read_pictures(self, rows: np.ndarray, flipped: np.ndarray | None = None) -> np.ndarray:
        return self._gather(
            rows, lambda part, own, at: part.read_pictures(own, None if flipped is None else flipped[at])
        )

    def _split(self, rows: np.ndarray) -> Iterator[tuple[StoreRows, np.ndarray, np.ndarray, int]]:
        """Each store that some of the rows are of: it, their positions, their numbers in it, its own number."""
        numbers = np.searchsorted(self._rows, rows, "right") - 1
        for index in np.unique(numbers).tolist() or [0]:  # no rows are none of the first
            at = np.flatnonzero(numbers == index)
            yield self._parts[index], at, rows[at] - self._rows[index], index

    def _gather(
        self, rows: np.ndarray, function: Callable[[StoreRows, np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """What a function of (store, rows there, their positions) gives, in the order of ``rows``."""
        (part, at, own, _), *rest = self._split(rows)
        values = function(part, own, at)
        if not rest:
            return values
        out = np.empty((len(rows), *values.shape[1:]), values.dtype)
        out[at] = values
        for part, at, own, _ in rest:
            out[at] = function(part, own, at)
        return out


def check_alike(first: Store, other: Store, what: dict[str, str] = COMMON) -> None:
    """Refuse two stores that one network can't take.

    Raises:
        StoreError: names both, what was expected and found, and the option of ``pifa prep`` that decides it.
    """
    expected, found = _properties(first), _properties(other)
    for name, option in what.items():
        if expected[name] != found[name]:
            raise StoreError(
                f"{other.location}: expected the {name} of {first.location}, {expected[name]}, found {found[name]}; "
                f"make one of them again with the {option} of the other (`pifa prep`)"
            )


def check_validation(train: Rows, validation: Rows) -> None:
    """Refuse a store to validate on that the network can't take, or that shares people with the training's.

    Raises:
        StoreError: as of ``check_alike``.
        ConfigError: people are in both; names them.
    """
    for store in validation.stores:
        check_alike(train.store, store)
    if shared := sorted({*train.subjects} & {*validation.subjects}):
        names = ", ".join(shared[:NAMED]) + (", …" if len(shared) > NAMED else "")
        where, others = (" and ".join(str(store.location) for store in rows.stores) for rows in (validation, train))
        raise ConfigError(
            f"{where}: {len(shared)} of its {len({*validation.subjects})} people are also in {others} ({names}), so "
            "the validation would measure what was learnt by heart; leave them out of one (`pifa prep --where`), or "
            "give --val-fraction in place of --val"
        )


def _properties(store: Store) -> dict[str, str]:
    attributes, config = store.attributes, store.attributes["config"]
    return {
        "morphable model": attributes["morphable"]["fingerprint"],  # a name may be any file's
        "crop size": f"{store.layout.size} pixels",
        "crop over box": f"{float(config['grow']):g}",
        "landmark scheme": attributes["scheme"],
        "kind of boxes": config["boxes"],
        "layout": store.layout.kind,
    }


def _starts(lengths: list[int]) -> np.ndarray:
    """The first number of each of several ranges end to end."""
    return np.cumsum([0, *lengths[:-1]])
