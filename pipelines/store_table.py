"""What the page about a store knows of its faces: columns of the face table."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pifa_data.boxes import box_size
from pifa_data.store import Layout, Store, decode_text
from pipelines.inspect_survey import MOST_NAMES, Points
from pipelines.progress import Advance

SHARDS = 8192
"""Shards whose faces are read, a million faces in about a minute; of a larger store, as many finished ones. Faces stand
in a store in random order, so the first shards are a fair choice."""

_BLOCK = 32  # shards that are read at once


@dataclass(frozen=True)
class FaceTable:
    """The usable rows of the face table that were read, F of them: faces, and their turned views.

    Attributes:
        read: rows that were read, usable or not.
        number: ``(F,)`` int64, which row of the store's face table each is.
        nme: ``(F,)`` percent of the tight box, of the fit; a view's is its face's.
        pose: ``(F, 3)`` degrees, of the fit.
        own: ``(G, 3)`` degrees, the data set's own, of those that have one.
        size: ``(F,)`` pixels of the source image, √(w·h) of the unjittered box; a view's are of its own picture.
        profile: ``(F,)`` degrees that face profiling added to the yaw; 0 for a face as it was photographed.
        points: how often each landmark is labelled, views counted.
        names: faces by ``split``, ``subsets``, ``scheme`` and ``kind``, views not counted.
        subjects: ``(U,)`` faces of each subject that is named, views not counted.
    """

    read: int
    number: np.ndarray
    nme: np.ndarray
    pose: np.ndarray
    own: np.ndarray
    size: np.ndarray
    profile: np.ndarray
    points: Points
    names: dict[str, Counter[str]]
    subjects: np.ndarray

    @property
    def photographed(self) -> np.ndarray:
        """``(F,)`` bool: faces, and not views of them."""
        return self.profile == 0


def read_faces(store: Store, shards: Sequence[int], advance: Advance) -> FaceTable:
    """The face table's rows of ``shards``, which are in ascending order."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("number", "nme", "pose", "own", "size", "profile")}
    names: dict[str, Counter[str]] = {name: Counter() for name in ("split", "subsets", "scheme", "kind")}
    length = store.layout.points
    points = Points(np.zeros((length, 3), np.int64), np.zeros(length, np.int64))
    subjects: list[np.ndarray] = []
    read = 0
    for where in _spans(store.layout, shards):
        good = store.read("faces/valid", where)
        read += len(good)
        columns["number"].append(np.flatnonzero(good) + where.start)
        columns["nme"].append(store.read("faces/fit_nme", where)[good])
        columns["pose"].append(np.degrees(store.read("faces/pose", where)[good]))
        columns["size"].append(box_size(store.read("faces/box", where)[good]))
        profile = store.read("faces/profile", where)
        columns["profile"].append(np.degrees(profile[good]))
        own = store.read("faces/dataset_pose", where)[good]
        columns["own"].append(np.degrees(own[np.isfinite(own).all(1)]))
        visibility = store.read("faces/visibility", where)[good]
        points.faces += len(visibility)
        points.visibility += np.stack([(visibility == value).sum(0) for value in range(3)], axis=1)
        faces = good & (profile == 0)
        for name, counter in names.items():
            for text, count in _texts(store.read(f"faces/{name}", where)[faces]):
                for word in text.split() if name == "subsets" else [text]:
                    if word in counter or len(counter) < MOST_NAMES:
                        counter[word] += count
        # People by a hash of their name: sixteen bytes each, however long the names are.
        named = [(_hash(text), count) for text, count in _texts(store.read("faces/subject", where)[faces]) if text]
        subjects.append(np.array(named, np.uint64).reshape(-1, 2))
        advance(len(good))
    empty = {"number": np.empty(0, np.int64), "pose": np.empty((0, 3)), "own": np.empty((0, 3))}
    found = {name: np.concatenate(parts) if parts else empty.get(name, np.empty(0)) for name, parts in columns.items()}
    keys, counts = np.concatenate(subjects).T if subjects else np.empty((2, 0), np.uint64)
    different, which = np.unique(keys, return_inverse=True)
    people = np.bincount(which, weights=counts, minlength=len(different)).astype(np.int64)
    return FaceTable(read=read, points=points, names=names, subjects=people, **found)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _spans(layout: Layout, shards: Sequence[int]) -> Iterator[slice]:
    """The faces of shards, those that lie side by side together."""
    numbers = np.asarray(shards, np.int64)
    for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
        for part in (run[i : i + _BLOCK] for i in range(0, len(run), _BLOCK)):
            yield slice(layout.face_range(int(part[0])).start, layout.face_range(int(part[-1])).stop)


def _texts(column: np.ndarray) -> Iterator[tuple[str, int]]:
    """The different texts of a column, and how often each is there."""
    if len(column):
        different, counts = np.unique(column, axis=0, return_counts=True)
        yield from zip(decode_text(different), counts.tolist(), strict=True)
