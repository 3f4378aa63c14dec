"""Batches from a store: whole chunks in random order, mixed in groups, read ahead by a thread.

The order of an epoch is a function of (seed, epoch) and is laid out as row numbers before anything is read, so a run
resumed at step n sees exactly the batches it would have seen.

In the layout ``faces`` a chunk holds pictures of faces, each of which stands for C rows. An epoch is then C passes over
the chunks, each of which takes of every face one row that is still to come: read in one go, the C crops of a face would
lie in the same few batches. A face with fewer crops than others takes part in as many of the passes, evenly spread.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pifa_data.buckets import ahead
from pifa_data.errors import ConfigError
from pifa_data.store import CHUNK
from pifa_model.augmentation import draw
from pifa_model.crops import cut_crops
from pifa_model.read_ahead import read_ahead
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
        mirror_shift: float = 0.0,
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
            mirror_shift: how far labels lie to the right of the face, crop pixels. A flipped label lies as far to the
                left, so it is moved back by twice as much.
            rank: which part of every batch this stream gives.
            world: how many ranks share a batch.

        Raises:
            ConfigError: a batch needs more rows than there are, or has no equal parts.
        """
        if batch_size > len(rows):
            raise ConfigError(f"training.batch_size: {batch_size} is more than the {len(rows)} training crops")
        self._data, self._rows, self._batch, self._seed, self._mirror = data, rows, batch_size, seed, mirror
        self._mirror_shift = mirror_shift
        self._orders: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # of one epoch, that of the last call
        self.steps_per_epoch = len(rows) // batch_size
        self._set_rank(rank, world)

    def of_rank(self, rank: int, world: int) -> TrainingStream:
        """The part of one rank of the same batches.

        Raises:
            ConfigError: a batch has no equal parts.
        """
        stream = copy.copy(self)
        stream._set_rank(rank, world)
        return stream

    def _set_rank(self, rank: int, world: int) -> None:
        if self._batch % world:
            raise ConfigError(
                f"training.batch_size: {self._batch} rows of all devices together are no multiple of {world} devices"
            )
        self._rank, self._world = rank, world

    def total_steps(self, epochs: float) -> int:
        """Batches in so many passes over the rows, which need not be whole; at least one."""
        return max(1, round(epochs * self.steps_per_epoch))

    def order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of an epoch in the order they are seen, and the first position of each group of chunks."""
        if (found := self._orders.get(epoch)) is None:
            found = self._new_order(epoch)
            self._orders.clear()
            self._orders[epoch] = found
        return found

    def _new_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
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
        turn, most = np.empty(len(place), np.int64), count.max()
        turn[order] = np.arange(len(place)) - np.repeat(first, count)
        if count.min() < most:
            # A picture of fewer rows, as of a store with fewer copies, comes as evenly through the epoch as the others.
            late = np.repeat(rng.random(len(count)), count)
            turn[order] = ((turn[order] + late) * (most / np.repeat(count, count))).astype(np.int64).clip(max=most - 1)
        return [self._rows[turn == i] for i in range(turn.max() + 1)]

    def read(self, first: int, count: int) -> Iterator[Batch]:
        """Batches ``first`` to ``first + count``, the next group of chunks being read while these are used."""
        return read_ahead(self._read(first, count), 8)

    def _read(self, first: int, count: int) -> Iterator[Batch]:
        pieces = ahead(self._piece, self._plan(first, first + count), 1)
        held: list[tuple[int, int, Batch]] = []  # those that the current batch touches, with first position and last
        length = self._batch // self._world
        for step in range(first, first + count):
            start, stop = step * length, (step + 1) * length
            held = [piece for piece in held if piece[1] > start]
            while not held or held[-1][1] < stop:
                held.append(next(pieces))
            # A view of what was read in its order; a copy only where a batch is of two groups.
            yield Batch.joined([piece.part(slice(max(start - begin, 0), stop - begin)) for begin, _, piece in held])

    def _plan(self, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
        """What this rank needs for steps ``first`` to ``last``, group by group: the first position, and the rows.

        Positions count this rank's rows from the first step of the run.
        """
        for epoch in range(first // self.steps_per_epoch, -(-last // self.steps_per_epoch)):
            order, starts = self.order(epoch)
            begin = epoch * self.steps_per_epoch
            steps = range(max(first - begin, 0), min(last - begin, self.steps_per_epoch))
            # Positions in the epoch: of each step, those of all ranks, and of these this one's.
            shared = np.arange(steps.start * self._batch, steps.stop * self._batch).reshape(len(steps), -1)
            at = shared[:, self._share].ravel()
            ends = np.searchsorted(at, starts)
            position = (begin + steps.start) * (self._batch // self._world)
            for start, stop in itertools.pairwise(ends.tolist()):
                if start < stop:
                    yield position + start, order[at[start:stop]]

    def _piece(self, plan: tuple[int, np.ndarray]) -> tuple[int, int, Batch]:
        """Read what belongs to a group: first position, the one after the last, and the rows as one batch."""
        start, rows = plan
        length = self._batch // self._world
        steps = range(start // length, -(-(start + len(rows)) // length))
        flips, draws = (np.concatenate(drawn) for drawn in zip(*map(self._drawn, steps), strict=True))
        own = slice(start - steps.start * length, start - steps.start * length + len(rows))
        batch = self._data.batch(rows, self._data.read_pictures(rows, flips[own]), flips[own])
        if self._mirror_shift:
            mirrored = self._data.mirrored[rows] ^ flips[own]
            moved = np.where(mirrored, np.float32(2 * self._mirror_shift), np.float32(0))
            batch.params[:, 3] += moved  # x of M's translation
            batch.landmarks[..., 0] += moved[:, None] * (batch.visibility > 0)
        return start, start + len(rows), replace(batch, draws=draws[own])

    def _drawn(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Which of this rank's rows of a step are mirrored, and what augmentation draws for each."""
        rng = np.random.default_rng([self._seed, step // self.steps_per_epoch, step])
        flips = rng.random(self._batch) < self._mirror
        return flips[self._share], draw(rng, self._batch)[self._share]

    @property
    def _share(self) -> slice:
        """The part of a batch that is this rank's."""
        length = self._batch // self._world
        return slice(self._rank * length, (self._rank + 1) * length)


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
