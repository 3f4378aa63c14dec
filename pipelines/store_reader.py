"""Single crops of a store, and a sample of all of them, of either layout; no more is read than what is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from pifa_data.boxes import square_of
from pifa_data.crop_rows import crop_landmarks, crop_params, flip_landmarks, mirror_params
from pifa_data.errors import StoreError
from pifa_data.images import CropSource
from pifa_data.schemes import get_scheme
from pifa_data.store import Store

SAMPLE = 16
"""Chunks of images that are read for what is told of all crops: 1,024 crops, 40 MB decoded, a quarter of a second."""

_SMALL = ("boxes", "valid", "source", "copy", "mirrored")
"""Columns that are read a shard at a time: 28 bytes a row."""


@dataclass(frozen=True)
class Crops:
    """N rows of a store.

    Attributes:
        images: ``(N, S, S, 3)`` uint8 RGB.
        params: ``(N, 8 + K)``, M in crop pixels.
        landmarks, visibility: ``(N, L, 2)`` crop pixels, ``(N, L)`` uint8.
        boxes: ``(N, 4)`` the crops' boxes, source image.
        plain: ``(N, 4)`` the unjittered boxes of their faces.
        copy: ``(N,)`` their numbers.
        mirrored: ``(N,)`` bool, flipped left to right.
    """

    images: np.ndarray
    params: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    boxes: np.ndarray
    plain: np.ndarray
    copy: np.ndarray
    mirrored: np.ndarray


class StoreReader:
    """A store's crops."""

    def __init__(self, store: Store) -> None:
        self.store, self.layout = store, store.layout
        self.scheme = str(store.attributes["scheme"])
        self._grow = float(store.attributes["config"]["grow"])
        self._small: dict[int, dict[str, np.ndarray]] = {}

    def rows_of(self, face: int) -> list[int]:
        """The rows of a face in the order of its copies, mirrored ones last.

        Raises:
            StoreError: some are missing.
        """
        shard = face // self.layout.shard_faces
        small = self._columns(shard)
        rows = np.flatnonzero(small["source"] == face)
        if len(rows) != self.layout.copies:
            raise StoreError(
                f"{self.store.location}: expected {self.layout.copies} crops of face {face} in shard {shard}, found "
                f"{len(rows)}; see `pifa store verify {self.store.location}`"
            )
        order = np.lexsort((small["copy"][rows], small["mirrored"][rows]))
        return (rows[order] + self.layout.row_range(shard).start).tolist()

    def crops(self, rows: Sequence[int]) -> Crops:
        """Rows of one shard."""
        at = np.asarray(rows, np.int64)
        shard = int(at[0]) // self.layout.shard_rows("boxes")
        small = {name: column[at - self.layout.row_range(shard).start] for name, column in self._columns(shard).items()}
        faces = self.layout.face_range(shard)
        own = small["source"] - faces.start
        plain = self.store.read("faces/box", faces)[own].astype(np.float64)
        parts = self._cut(shard, small, plain) if self.layout.kind == "faces" else self._stored(at)
        boxes = small["boxes"].astype(np.float64)
        return Crops(**parts, boxes=boxes, plain=plain, copy=small["copy"], mirrored=small["mirrored"])

    def sample(self, shards: Sequence[int]) -> Iterator[Crops]:
        """The valid crops of whole chunks of images, at equal distances over the shards; a chunk holds mixed faces."""
        step = self.layout.columns()["images"].chunk
        spans = [self.layout.rows_of("images", shard) for shard in even_of(shards, SAMPLE)]
        chunks = [[slice(at, min(at + step, s.stop)) for at in range(s.start, s.stop, step)] for s in spans]
        # The first chunk of each shard, then the second of each, …
        mixed = [chunk for group in zip_longest(*chunks) for chunk in group if chunk is not None]
        for chunk in mixed[:SAMPLE]:
            rows = np.arange(chunk.start, chunk.stop)
            if self.layout.kind == "faces":  # one copy of each face, another of the next
                rows = np.array([self.rows_of(face)[face % self.layout.copies] for face in rows.tolist()])
            shard = int(rows[0]) // self.layout.shard_rows("boxes")
            rows = rows[self._columns(shard)["valid"][rows - self.layout.row_range(shard).start]]
            if len(rows):
                yield self.crops(rows.tolist())

    def _columns(self, shard: int) -> dict[str, np.ndarray]:
        if shard not in self._small:
            rows = self.layout.row_range(shard)
            self._small[shard] = {name: self.store.read(name, rows) for name in _SMALL}
        return self._small[shard]

    def _stored(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What the store holds of each row."""
        return {name: self._rows(name, rows) for name in ("images", "params", "landmarks", "visibility")}

    def _rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Rows of a column in any order, each chunk read once."""
        column = self.layout.columns()[name]
        out = np.empty((len(rows), *column.shape), column.dtype)
        for number in np.unique(rows // column.chunk).tolist():
            at = np.flatnonzero(rows // column.chunk == number)
            start = number * column.chunk
            out[at] = self.store.read(name, slice(start, start + column.chunk))[rows[at] - start]
        return out

    def _cut(self, shard: int, small: dict[str, np.ndarray], plain: np.ndarray) -> dict[str, np.ndarray]:
        """What follows, in layout ``faces``, from the larger crop and the face table."""
        layout, boxes, mirrored = self.layout, small["boxes"].astype(np.float64), small["mirrored"]
        own = small["source"] - layout.face_range(shard).start
        table = {
            name: self.store.read(f"faces/{name}", layout.face_range(shard))[own]
            for name in ("params", "params_mirrored", "landmarks", "visibility")
        }
        sizes: dict[str, Any] = {"grow": self._grow, "size": layout.size}
        params = np.where(
            mirrored[:, None],
            mirror_params(table["params_mirrored"], boxes, **sizes),
            crop_params(table["params"], boxes, **sizes),
        )
        mirror = get_scheme(self.scheme).mirror
        landmarks = crop_landmarks(table["landmarks"], boxes, **sizes)
        landmarks = np.where(mirrored[:, None, None], flip_landmarks(landmarks, mirror, layout.size), landmarks)
        visibility = np.where(mirrored[:, None], table["visibility"][:, mirror], table["visibility"])
        pictures = self._rows("images", small["source"])
        images = np.stack([self._crop(*one) for one in zip(pictures, boxes, plain, mirrored.tolist(), strict=True)])
        landmarks = np.where(visibility[..., None] > 0, landmarks, 0)
        return {"images": images, "params": params, "landmarks": landmarks, "visibility": visibility}

    def _crop(self, picture: np.ndarray, box: np.ndarray, plain: np.ndarray, mirrored: bool) -> np.ndarray:
        size = self.layout.size
        scale = len(picture) / size
        whole = square_of(plain, self._grow * scale, len(picture))
        square = square_of((whole.to_crop(box.reshape(2, 2))).ravel(), self._grow, size)
        crop = CropSource(picture, square).crop(square)
        return crop[:, ::-1] if mirrored else crop


def even_of(items: Sequence[Any], most: int) -> list[Any]:
    """At most ``most`` of the items, at equal distances from the first to the last."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int).tolist()]
