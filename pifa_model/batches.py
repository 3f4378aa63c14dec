"""Batches from a store: whole chunks in random order, mixed in groups, read ahead by a thread.

The order of an epoch is a function of (seed, epoch) and is laid out as row numbers before anything is read, so a run
resumed at step n sees exactly the batches it would have seen.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pifa_data.build import mirror_params
from pifa_data.errors import ConfigError
from pifa_data.schemes import get_scheme
from pifa_data.store import CHUNK, Store

GROUP = 32
"""Chunks mixed with each other: 2,048 rows, 80 MB of crops."""


@dataclass(frozen=True)
class Batch:
    """One batch, NumPy arrays: ``images`` (B, S, S, 3) uint8 and the rest as in the store."""

    images: np.ndarray
    params: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    marching: np.ndarray
    rows: np.ndarray


class StoreRows:
    """Everything of a store but its images, in memory; gives rows and batches."""

    def __init__(self, store: Store) -> None:
        self.store = store
        config = store.attributes["config"]
        self.grow, self.size = float(config["grow"]), int(config["size"])
        self.params = store.read("params")
        self.landmarks = store.read("landmarks")
        self.visibility = store.read("visibility")
        self.boxes = store.read("boxes")
        self.source = store.read("source")
        self.copy = store.read("copy")
        self.valid = store.read("valid")
        self.params_mirrored = store.read("faces/params_mirrored")
        self.subjects = store.text("subject")
        self.marching = np.array([kind == "2d" for kind in store.text("kind")])
        self._images = store.array("images")
        self._mirror = get_scheme(store.attributes["scheme"]).mirror

    def rows_of(self, faces: np.ndarray) -> np.ndarray:
        """Valid rows of the faces marked in ``(F,)`` bool, ascending."""
        return np.flatnonzero(self.valid & faces[self.source])

    def read_images(self, rows: np.ndarray) -> np.ndarray:
        """``(N, S, S, 3)`` crops of rows in any order, each chunk read once."""
        out = np.empty((len(rows), self.size, self.size, 3), np.uint8)
        chunk_rows = self._images.chunks[0]
        chunk_of = rows // chunk_rows
        for chunk in np.unique(chunk_of):
            at = np.flatnonzero(chunk_of == chunk)
            start = int(chunk) * chunk_rows
            out[at] = np.asarray(self._images[start : start + chunk_rows])[rows[at] - start]
        return out

    def batch(self, rows: np.ndarray, images: np.ndarray, flipped: np.ndarray) -> Batch:
        """Rows as a batch, those of ``flipped`` (B,) bool turned left to right with their own fit."""
        source = self.source[rows]
        params, landmarks = self.params[rows].copy(), self.landmarks[rows].copy()
        visibility = self.visibility[rows].copy()
        at = np.flatnonzero(flipped)
        if len(at):
            images = images.copy()
            images[at] = images[at, :, ::-1]
            params[at] = mirror_params(self.params_mirrored[source[at]], self.boxes[rows[at]], self.grow, self.size)
            landmarks[at] = landmarks[at][:, self._mirror] * [-1, 1] + [self.size - 1, 0]
            visibility[at] = visibility[at][:, self._mirror]
        return Batch(images, params, landmarks, visibility, self.marching[source], rows)


class TrainingStream:
    """The endless sequence of training batches; ``read(step, count)`` gives any stretch of it."""

    def __init__(self, data: StoreRows, rows: np.ndarray, batch_size: int, seed: int, mirror: float) -> None:
        """Make a stream of ``rows``.

        Raises:
            ConfigError: a batch needs more rows than there are.
        """
        if batch_size > len(rows):
            raise ConfigError(f"training.batch_size: {batch_size} is more than the {len(rows)} training crops")
        self._data, self._rows, self._batch, self._seed, self._mirror = data, rows, batch_size, seed, mirror
        self.steps_per_epoch = len(rows) // batch_size

    def total_steps(self, epochs: float) -> int:
        """Batches in so many passes over the rows, which need not be whole; at least one."""
        return max(1, round(epochs * self.steps_per_epoch))

    def order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of an epoch in the order they are seen, and the first position of each group of chunks."""
        rng = np.random.default_rng([self._seed, epoch])
        chunk_of = self._rows // CHUNK
        chunks = rng.permutation(np.unique(chunk_of))
        group_of = np.empty(chunks.max() + 1, np.int64)
        group_of[chunks] = np.arange(len(chunks)) // GROUP
        groups = group_of[chunk_of]
        # Sorting by group and, within it, at random mixes the rows of the chunks that are read together.
        order = np.lexsort((rng.random(len(self._rows)), groups))
        starts = np.searchsorted(groups[order], np.arange(groups.max() + 2))
        return self._rows[order], starts

    def read(self, first: int, count: int) -> Iterator[Batch]:
        """Batches ``first`` to ``first + count``, the next group of chunks being read while these are used."""
        return _ahead(self._read(first, count))

    def _read(self, first: int, count: int) -> Iterator[Batch]:
        groups: dict[int, np.ndarray] = {}  # images of the groups that the current batch touches
        epoch = -1
        for step in range(first, first + count):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order, starts = self.order(epoch)
                groups = {}
            start = (step % self.steps_per_epoch) * self._batch
            stop = start + self._batch
            touched = range(
                int(np.searchsorted(starts, start, "right")) - 1, int(np.searchsorted(starts, stop, "left"))
            )
            groups = {
                g: groups[g] if g in groups else self._data.read_images(order[starts[g] : starts[g + 1]])
                for g in touched
            }
            images = np.concatenate([groups[g][max(start - starts[g], 0) : max(stop - starts[g], 0)] for g in touched])
            rows = order[start:stop]
            flips = np.random.default_rng([self._seed, epoch, step]).random(len(rows)) < self._mirror
            yield self._data.batch(rows, images, flips)


def _ahead(batches: Iterator[Batch], depth: int = 8) -> Iterator[Batch]:
    """Run an iterator in a thread, ``depth`` items ahead; its errors are raised here."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for batch in batches:
                put(batch)
                if stop.is_set():
                    return
            put(None)
        except Exception as error:  # handed over, not hidden
            put(error)

    thread = threading.Thread(target=work, daemon=True, name="pifa-reader")
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
