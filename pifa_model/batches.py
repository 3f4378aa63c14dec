"""Batches from a store: whole chunks in random order, mixed in groups, read ahead by a thread.

The order of an epoch is a function of (seed, epoch) and is laid out as row numbers before anything is read, so a run
resumed at step n sees exactly the batches it would have seen.

In the layout ``faces`` a chunk holds pictures of faces, each of which stands for C rows. An epoch is then C passes over
the chunks, each of which takes of every face one row that is still to come: read in one go, the C crops of a face would
lie in the same few batches.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pifa_data.errors import ConfigError
from pifa_data.store import CHUNK
from pifa_model.augmentation import draw
from pifa_model.crops import cut_crops
from pifa_model.rows import Batch, Rows

GROUP = 32
"""Chunks mixed with each other: 2,048 rows, 80 MB of crops or 135 MB of the larger pictures of the layout ``faces``."""


class TrainingStream:
    """The endless sequence of training batches; ``read(step, count)`` gives any stretch of it."""

    def __init__(
        self,
        data: Rows,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        mirror: float,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Make a stream of ``rows``.

        Args:
            data: what the rows are of.
            rows: ``(N,)`` ascending.
            batch_size: rows of a batch, of all ranks together.
            seed: decides the order, and what is mirrored.
            mirror: probability that a row is flipped left to right.
            rank: which part of every batch this stream gives.
            world: how many ranks share a batch.

        Raises:
            ConfigError: a batch needs more rows than there are, or has no equal parts.
        """
        if batch_size > len(rows):
            raise ConfigError(f"training.batch_size: {batch_size} is more than the {len(rows)} training crops")
        if batch_size % world:
            raise ConfigError(
                f"training.batch_size: {batch_size} rows of all devices together are no multiple of {world} devices"
            )
        self._data, self._rows, self._batch, self._seed, self._mirror = data, rows, batch_size, seed, mirror
        self._rank, self._world = rank, world
        self.steps_per_epoch = len(rows) // batch_size

    def of_rank(self, rank: int, world: int) -> TrainingStream:
        """The part of one rank of the same batches.

        Raises:
            ConfigError: a batch has no equal parts.
        """
        return TrainingStream(self._data, self._rows, self._batch, self._seed, self._mirror, rank, world)

    def total_steps(self, epochs: float) -> int:
        """Batches in so many passes over the rows, which need not be whole; at least one."""
        return max(1, round(epochs * self.steps_per_epoch))

    def order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of an epoch in the order they are seen, and the first position of each group of chunks."""
        rng = np.random.default_rng([self._seed, epoch])
        rows, starts = [], [np.zeros(1, np.int64)]
        for part in self._passes(rng):
            chunk_of = self._data.stored_at(part) // CHUNK
            chunks = rng.permutation(np.unique(chunk_of))
            group_of = np.empty(chunks.max() + 1, np.int64)
            group_of[chunks] = np.arange(len(chunks)) // GROUP
            groups = group_of[chunk_of]
            # Sorting by group and, within it, at random mixes the rows of the chunks that are read together.
            order = np.lexsort((rng.random(len(part)), groups))
            starts.append(starts[-1][-1] + np.searchsorted(groups[order], np.arange(1, groups.max() + 2)))
            rows.append(part[order])
        return np.concatenate(rows), np.concatenate(starts)

    def _passes(self, rng: np.random.Generator) -> list[np.ndarray]:
        """The rows in parts, none of which has two rows of one picture; each in ascending order."""
        place = self._data.stored_at(self._rows)
        order = np.lexsort((rng.random(len(place)), place)) if self._data.shared else np.arange(len(place))
        _, first, count = np.unique(place[order], return_index=True, return_counts=True)
        turn = np.empty(len(place), np.int64)
        turn[order] = np.arange(len(place)) - np.repeat(first, count)
        return [self._rows[turn == i] for i in range(turn.max() + 1)]

    def read(self, first: int, count: int) -> Iterator[Batch]:
        """Batches ``first`` to ``first + count``, the next group of chunks being read while these are used."""
        return _ahead(self._read(first, count))

    def _read(self, first: int, count: int) -> Iterator[Batch]:
        groups: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # of the groups that the current batch touches
        epoch = -1
        for step in range(first, first + count):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order, starts = self.order(epoch)
                groups = {}
            start = (step % self.steps_per_epoch) * self._batch
            touched = range(
                int(np.searchsorted(starts, start, "right")) - 1,
                int(np.searchsorted(starts, start + self._batch, "left")),
            )
            groups = {g: groups[g] if g in groups else self._group(order, starts[g], starts[g + 1]) for g in touched}
            share = self._share
            rows = order[start + share.start : start + share.stop]
            pictures = np.concatenate(
                [read[slice(*np.searchsorted(at, [start, start + self._batch]))] for at, read in groups.values()]
            )
            rng = np.random.default_rng([self._seed, epoch, step])
            flips = rng.random(self._batch) < self._mirror
            draws = draw(rng, self._batch)
            yield replace(self._data.batch(rows, pictures, flips[share]), draws=draws[:, share])

    @property
    def _share(self) -> slice:
        """The part of a batch that is this rank's."""
        length = self._batch // self._world
        return slice(self._rank * length, (self._rank + 1) * length)

    def _group(self, order: np.ndarray, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """This rank's positions of ``order`` from ``first`` to ``stop``, and the pictures there."""
        at = np.arange(first, min(stop, self.steps_per_epoch * self._batch))
        at = at[at % self._batch // (self._batch // self._world) == self._rank]
        return at, self._data.read_pictures(order[at])


def to_device(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """A batch on the device, its crops not yet cut: what ``augment`` takes.

    Args:
        batch: of a store.
        device: where the tensors go.

    Returns:
        ``images`` (B, 3, H, H) uint8, ``windows`` where these are larger pictures, the labels by their names, and
        of a training batch ``draws``, which stay on the CPU: what they decide is computed there.
    """

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    names = ["params", "landmarks", "visibility", "marching"] + ["windows"] * (batch.windows is not None)
    tensors = {name: tensor(getattr(batch, name)) for name in names}
    # Crops arrive channels last, the order that convolutions are fast in.
    tensors["images"] = tensor(batch.images).permute(0, 3, 1, 2)
    return tensors if batch.draws is None else tensors | {"draws": torch.from_numpy(batch.draws)}


def to_tensors(batch: Batch, size: int, device: torch.device) -> dict[str, Tensor]:
    """A batch on the device: ``images`` (B, 3, S, S) uint8, cut where they are larger, and the labels by their names.

    Args:
        batch: of a store.
        size: S, the side of a crop.
        device: where the tensors go.
    """
    tensors = to_device(batch, device)
    tensors.pop("draws", None)
    images, windows = tensors["images"], tensors.pop("windows", None)
    if windows is not None:
        images = cut_crops(images, windows, size)
    return tensors | {"images": images.contiguous(memory_format=torch.channels_last)}


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
