"""Rows to train and measure on, of one store or of several: what both kinds give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from pifa_data.store import Store


@dataclass(frozen=True)
class Labels:
    """What is known of N rows, crop pixels: P ``(N, 8 + K)``, landmarks ``(N, L, 2)``, visibility ``(N, L)`` uint8."""

    params: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray


@dataclass(frozen=True)
class Batch:
    """One batch, NumPy arrays.

    Attributes:
        images: ``(B, S, S, 3)`` uint8 crops, or the larger pictures of faces that ``windows`` are cut out of.
        windows: ``(B, 4)`` float32, see ``cut_crops``; None where the images are the crops.
        params, landmarks, visibility: see ``Labels``.
        marching: ``(B,)`` bool, faces of kind ``2d``.
        rows: ``(B,)`` numbers of the rows.
        draws: ``(B, 24)`` random numbers of a training batch, see ``augmentation.draw``; None of others.
    """

    images: np.ndarray
    windows: np.ndarray | None
    params: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    marching: np.ndarray
    rows: np.ndarray
    draws: np.ndarray | None = None

    def part(self, at: slice) -> Batch:
        """Some of the rows; views, not copies."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[at] for name, value in values.items() if value is not None})

    @staticmethod
    def joined(parts: list[Batch]) -> Batch:
        """The rows of several batches of one kind."""
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(Batch) if getattr(parts[0], field.name) is not None]
        return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


class Rows(ABC):
    """N rows, each a crop of one of F faces. All but the pictures is in memory.

    Attributes:
        store: the store; of several the first, for what all have in common: morphable model, scheme, kind of boxes.
        size, grow: side of a crop, pixels, and over √(w·h) of its box.
        shared: one picture stands for all rows of a face (layout ``faces``).
        source: ``(N,)`` face of each row.
        copy: ``(N,)`` number among the crops of its face.
        valid: ``(N,)`` bool, the row can be used.
        mirrored: ``(N,)`` bool, the store holds the crop flipped left to right.
        subjects: F people.
        marching: ``(F,)`` bool, faces of kind ``2d``.
        is_view: ``(F,)`` bool, the face was turned by face profiling.
        copies: ``(F,)`` how many jittered crops of each face there are, mirrored ones apart.
    """

    store: Store
    size: int
    grow: float
    shared: bool
    source: np.ndarray
    copy: np.ndarray
    valid: np.ndarray
    mirrored: np.ndarray
    subjects: list[str]
    marching: np.ndarray
    is_view: np.ndarray
    copies: np.ndarray

    @property
    @abstractmethod
    def stores(self) -> list[Store]:
        """Where the rows are, in the order of their numbers."""

    @abstractmethod
    def describe(self, rows: np.ndarray) -> str:
        """Where rows are, for a person: each store's name and the numbers of the rows there."""

    @abstractmethod
    def stored_at(self, rows: np.ndarray) -> np.ndarray:
        """Where in the array of pictures each row's is, ``(N,)``; of several stores, in their arrays end to end."""

    @abstractmethod
    def params(self, rows: np.ndarray) -> np.ndarray:
        """P of rows, ``(N, 8 + K)`` float32."""

    @abstractmethod
    def labels(self, rows: np.ndarray, flipped: np.ndarray | None = None) -> Labels:
        """Labels of rows; those of ``flipped`` (N,) bool turned left to right, with the fit of their mirror image."""

    @abstractmethod
    def windows(self, rows: np.ndarray, flipped: np.ndarray) -> np.ndarray:
        """Where the crops of rows lie in their faces' pictures, ``(N, 4)`` float32; see ``cut_crops``."""

    @abstractmethod
    def read_pictures(self, rows: np.ndarray, flipped: np.ndarray | None = None) -> np.ndarray:
        """``(N, H, H, 3)`` uint8: what the store holds for rows in any order, each chunk read once.

        Crops of ``flipped`` (N,) bool are turned left to right; larger pictures stay, their windows are turned.
        """

    def rows_of(self, faces: np.ndarray) -> np.ndarray:
        """Valid rows of the faces marked in ``(F,)`` bool, ascending."""
        return np.flatnonzero(self.valid & faces[self.source])

    def as_photographed(self, rows: np.ndarray) -> np.ndarray:
        """Those of ``rows`` that are neither mirrored nor of turned views: what is measured on."""
        return rows[~self.mirrored[rows] & ~self.is_view[self.source[rows]]]

    def params_by_blocks(self, rows: np.ndarray, length: int = 4096) -> Iterator[np.ndarray]:
        """P of rows, ``(length, 8 + K)`` float32 at a time: of all of a large store's they would fill the memory."""
        for start in range(0, len(rows), length):
            yield self.params(rows[start : start + length])

    def batch(self, rows: np.ndarray, pictures: np.ndarray, flipped: np.ndarray) -> Batch:
        """Rows as a batch, with labels as of ``labels``; ``pictures`` as they were read for the same ``flipped``.

        A flipped row that the store holds mirrored is the face as it was.
        """
        windows = self.windows(rows, flipped) if self.shared else None
        labels, marching = self.labels(rows, flipped), self.marching[self.source[rows]]
        return Batch(pictures, windows, labels.params, labels.landmarks, labels.visibility, marching, rows)
