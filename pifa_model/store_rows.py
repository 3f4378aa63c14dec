"""A store's rows in memory, but for the pictures: labels, P, and batches, of either layout."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import cv2
import numpy as np
import torch

from pifa_data.buckets import AT_ONCE, ahead
from pifa_data.crop_rows import crop_landmarks, crop_params, crop_windows, flip_landmarks, mirror_params
from pifa_data.schemes import get_scheme
from pifa_data.store import Store
from pifa_data.store.location import Folder
from pifa_model.chunks import PictureChunks
from pifa_model.crops import cut_crops
from pifa_model.rows import Labels, Rows

CUT = 16
"""Rows whose crops are cut at a time. A picture takes 0.26 MB as the floats that it is resampled from: 16 at a time
take 0.47 ms a crop on one busy core, 1 takes 0.8 ms and 256 take 0.9 ms (``benchmarks/layouts.py``)."""

LOCAL_AT_ONCE = min(4, os.cpu_count() or 1)
"""Chunks of a folder that are decoded side by side."""

KEPT = 2**29
"""Bytes of larger pictures that stay in memory once read: 8,000 of them. Every epoch takes a face's picture as many
times as it has rows; decoding each time gives 3,600 rows a second of processor time, keeping them 16,000
(``benchmarks/layouts.py``)."""


class StoreRows(Rows):
    """Everything of a store but its pictures, in memory; gives rows and batches.

    What a row is labelled with follows, in either layout, from its face and its box (``pifa_data/crop_rows.py``), so
    that the memory a row takes is its box and four numbers.

    Attributes:
        boxes: ``(N, 4)`` each row's box in the source image, pixels.
        pictures: how many the store holds.
    """

    def __init__(self, store: Store, kept: int | None = None) -> None:
        """Read a store; of larger pictures ``kept`` bytes stay in memory (``KEPT``)."""
        self.store = store
        self.grow, self.size = float(store.attributes["config"]["grow"]), store.layout.size
        self.shared = store.layout.kind == "faces"
        self.boxes = store.read("boxes")
        self.source = store.read("source")
        self.copy = store.read("copy")
        self.valid = store.read("valid")
        self.mirrored = store.read("mirrored")
        self.is_view = store.read("faces/profile") != 0
        self.subjects = store.text("subject")
        self.marching = np.array([kind == "2d" for kind in store.text("kind")])
        self._params = store.read("faces/params")
        self._params_mirrored = store.read("faces/params_mirrored")
        self._landmarks = store.read("faces/landmarks")
        self._visibility = store.read("faces/visibility")
        self._face_boxes = store.read("faces/box")
        self.copies = np.full(len(self.subjects), store.attributes["config"]["copies"])
        self._pictures = store.array("images")
        self.pictures = int(self._pictures.shape[0])
        location = store.location
        self._chunks = PictureChunks(location.path / "images", self._pictures) if isinstance(location, Folder) else None
        self._lock = threading.Lock()
        self._kept: dict[int, np.ndarray] = {}
        self._room = KEPT if kept is None else kept
        self._mirror = get_scheme(store.attributes["scheme"]).mirror

    @property
    def stores(self) -> list[Store]:
        return [self.store]

    def describe(self, rows: np.ndarray) -> str:
        return f"{self.store.location}: rows {', '.join(map(str, rows))}"

    def stored_at(self, rows: np.ndarray) -> np.ndarray:
        return self.source[rows] if self.shared else rows

    def params(self, rows: np.ndarray) -> np.ndarray:
        return self._row_params(rows, self.mirrored[rows])

    def labels(self, rows: np.ndarray, flipped: np.ndarray | None = None) -> Labels:
        mirrored = self.mirrored[rows] if flipped is None else self.mirrored[rows] ^ flipped
        source, at = self.source[rows], np.flatnonzero(mirrored)
        landmarks = crop_landmarks(self._landmarks[source], self.boxes[rows], self.grow, self.size)
        visibility = self._visibility[source]
        landmarks[at] = flip_landmarks(landmarks[at], self._mirror, self.size)
        visibility[at] = visibility[at][:, self._mirror]
        landmarks = np.where(visibility[..., None] > 0, landmarks, 0)
        return Labels(self._row_params(rows, mirrored), landmarks.astype(np.float32), visibility)

    def read_pictures(self, rows: np.ndarray, flipped: np.ndarray | None = None) -> np.ndarray:
        out = np.empty((len(rows), *self._pictures.shape[1:]), np.uint8)
        turned = np.zeros(len(rows), bool) if flipped is None or self.shared else flipped

        def copy(at: np.ndarray, chunk: np.ndarray, places: np.ndarray) -> None:
            for target, place, turn in zip(at, places, turned[at], strict=True):
                if turn:
                    cv2.flip(chunk[place], 1, out[target])  # 15 times as fast as NumPy, which copies single bytes
                else:
                    out[target] = chunk[place]

        self._visit(rows, copy)
        return out

    def read_images(self, rows: np.ndarray) -> np.ndarray:
        """``(N, S, S, 3)`` uint8 crops of rows in any order, each chunk read once."""
        if not self.shared:
            return self.read_pictures(rows)
        out = np.empty((len(rows), self.size, self.size, 3), np.uint8)

        def cut(at: np.ndarray, chunk: np.ndarray, places: np.ndarray) -> None:
            for start in range(0, len(at), CUT):
                part = at[start : start + CUT]
                pictures = torch.from_numpy(chunk[places[start : start + CUT]]).permute(0, 3, 1, 2)
                windows = torch.from_numpy(self.windows(rows[part], np.zeros(len(part), bool)))
                out[part] = cut_crops(pictures, windows, self.size).permute(0, 2, 3, 1).numpy()

        self._visit(rows, cut)
        return out

    def windows(self, rows: np.ndarray, flipped: np.ndarray) -> np.ndarray:
        share = self._pictures.shape[1] / self.size
        mirrored, face_boxes = self.mirrored[rows] ^ flipped, self._face_boxes[self.source[rows]]
        return crop_windows(self.boxes[rows], mirrored, face_boxes, self.grow, share)

    def _row_params(self, rows: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        source, boxes, at = self.source[rows], self.boxes[rows], np.flatnonzero(mirrored)
        params = crop_params(self._params[source], boxes, self.grow, self.size)
        params[at] = mirror_params(self._params_mirrored[source[at]], boxes[at], self.grow, self.size)
        return params.astype(np.float32)

    def _visit(self, rows: np.ndarray, use: Callable[[np.ndarray, np.ndarray, np.ndarray], None]) -> None:
        """Read each chunk needed, several at a time.

        Calls ``use`` of positions in ``rows``, the chunk's pictures, and which of them each position means, in any
        thread and in any order.
        """
        stored = self.stored_at(rows)
        length = self._pictures.chunks[0]
        order = np.argsort(stored, kind="stable")
        numbers, starts = np.unique(stored[order] // length, return_index=True)
        parts = zip(numbers.tolist(), np.split(order, starts[1:])[: len(numbers)], strict=True)

        def visit(part: tuple[int, np.ndarray]) -> None:
            number, at = part
            use(at, self._chunk(number), stored[at] - number * length)

        # An object store's answers take long: many are under way. A folder's are decoded on as many cores.
        for _ in ahead(visit, parts, AT_ONCE if self.store.location.remote else LOCAL_AT_ONCE):
            pass

    def _chunk(self, number: int) -> np.ndarray:
        """A chunk's pictures, valid until the thread's next call."""
        if number in self._kept:
            return self._kept[number]
        chunk = self._chunks.read(number) if self._chunks else None
        if chunk is None:
            chunk = self._by_zarr(number)
        chunk = chunk[: self.pictures - number * self._pictures.chunks[0]]  # the last one is filled up
        with self._lock:
            if self.shared and chunk.nbytes <= self._room and number not in self._kept:
                self._room -= chunk.nbytes
                self._kept[number] = chunk.copy()
        return chunk

    def _by_zarr(self, number: int) -> np.ndarray:
        length = self._pictures.chunks[0]
        rows = slice(number * length, (number + 1) * length)
        with self.store.reading("images", rows):
            chunk = np.asarray(self._pictures[rows])
        if not chunk.any():
            self.store.check_files()  # Zarr takes a file that is gone for zeros
        return chunk
