"""Aligning many images: read ahead in threads, computed in batches over images, told in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from pifa_data.boxes import Square
from pifa_data.buckets import ahead
from pifa_data.detection import Detector, input_box
from pifa_data.errors import PifaError
from pifa_data.images import CropSource
from pifa_data.photos import Photo, read_photo
from pifa_model import Aligner, Alignment
from pifa_model.inference import without_doubles
from pipelines.align.boxes import BoxTable
from pipelines.align.inputs import Item

READERS = 4
"""Images read ahead, each in a thread: decoding leaves Python's lock, and a folder on a network is waited for."""

MOST_PIXELS = 2**26
"""Decoded pixels kept for a batch, 0.2 GB: of large photographs a batch holds fewer faces."""


@dataclass
class Work:
    """One image on its way.

    Attributes:
        item: what it is.
        photo: None where it can't be read; its pixels are dropped once nothing needs them any more.
        boxes: of its faces, pixels of the photo.
        squares, crops: what the network is given of each.
        failures: reasons: the image's, or those of boxes that can't be used.
        faces: pixels of the photo.
    """

    item: Item
    photo: Photo | None = None
    boxes: list[np.ndarray] = field(default_factory=list)
    squares: list[Square] = field(default_factory=list)
    crops: list[np.ndarray] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    faces: list[Alignment] = field(default_factory=list)


class ImageAligner:
    """Aligns images with boxes that a table has, or a detector finds."""

    def __init__(
        self,
        aligner: Aligner,
        boxes: BoxTable | Detector,
        *,
        kind: str | None = None,
        min_score: float = 0.0,
        batch_size: int = 32,
        keep: bool = False,
    ) -> None:
        """Make it ready.

        Args:
            aligner: computes.
            boxes: a table of boxes, or what finds them.
            kind: landmark kind.
            min_score: faces below it are none.
            batch_size: crops computed at once.
            keep: images keep their pixels, for pictures that are made of them.
        """
        self._aligner, self._boxes, self._keep = aligner, boxes, keep
        self._kind, self._min_score, self._batch_size = kind, min_score, batch_size

    def __call__(self, items: Iterable[Item]) -> Iterator[Work]:
        """The images in their order, with their faces; whatever is wrong with one is told in its ``failures``."""
        waiting: list[Work] = []
        for work in ahead(self._prepare, items, READERS):
            waiting.append(work)
            crops = sum(len(one.crops) for one in waiting)
            pixels = sum(one.photo.pixels.size // 3 for one in waiting if one.photo)
            if crops >= self._batch_size or pixels > MOST_PIXELS or len(waiting) >= 4 * self._batch_size:
                yield from self._align(waiting)
                waiting = []
        yield from self._align(waiting)

    def _prepare(self, item: Item) -> Work:
        """Read, find and cut, in a thread."""
        work = Work(item)
        try:
            if isinstance(self._boxes, BoxTable):
                given = self._boxes.of(item)
                # Pictures are made in the photo's own pixels.
                wanted = () if self._keep else given
                work.photo = read_photo(item.path, wanted, self._aligner.header.input_size)
                self._take(work, given)
            else:
                work.photo = read_photo(item.path)
                found = self._boxes(work.photo.pixels)
                work.boxes = [input_box(face, self._aligner.header.boxes) for face in found]
                if not found:
                    work.failures.append(f"{item.path}: no face found; name its box with --boxes if there is one")
            self._cut(work)
            if isinstance(self._boxes, BoxTable) and not self._keep:
                work.photo = replace(work.photo, pixels=work.photo.pixels[:1, :1].copy())
        except PifaError as error:
            work.failures.append(str(error))
        except OSError as error:
            work.failures.append(f"{item.path}: {error.strerror or error}")
        except (cv2.error, MemoryError) as error:
            work.failures.append(f"{item.path}: can't be worked on ({type(error).__name__}: {error})"[:300])
        return work

    def _take(self, work: Work, given: list[np.ndarray]) -> None:
        """Boxes in original pixels to the photo's."""
        photo = work.photo
        assert photo is not None
        for box in given:
            if photo.meets(box):
                work.boxes.append(photo.box_from_original(box))
            else:
                work.failures.append(
                    f"{work.item.path}: a box ({', '.join(f'{v:g}' for v in box)}) lies outside the image of "
                    f"{photo.width}x{photo.height} pixels"
                )

    def _cut(self, work: Work) -> None:
        assert work.photo is not None
        work.squares = [self._aligner.square(box) for box in work.boxes]
        work.crops = [CropSource(work.photo.pixels, square).crop(square) for square in work.squares]

    def _align(self, works: list[Work]) -> Iterator[Work]:
        self._compute(works)
        if not isinstance(self._boxes, BoxTable):
            # A detector's box says roughly where the face is; the landmarks found in it say it better.
            for work in works:
                if work.faces:
                    work.boxes = [self._aligner.next_box(face) for face in work.faces]
                    self._cut(work)
            self._compute(works)
            for work in works:
                self._drop_doubtful(work)
        yield from works

    def _compute(self, works: list[Work]) -> None:
        flat = [(work, i) for work in works for i in range(len(work.crops))]
        for work in works:
            work.faces = []
        for start in range(0, len(flat), self._batch_size):
            part = flat[start : start + self._batch_size]
            crops = np.stack([work.crops[i] for work, i in part])
            boxes, squares = [w.boxes[i] for w, i in part], [w.squares[i] for w, i in part]
            for (work, _), face in zip(part, self._aligner.align_cut(crops, boxes, squares, self._kind), strict=True):
                work.faces.append(face)
        for work in works:
            work.crops = []

    def _drop_doubtful(self, work: Work) -> None:
        kept = without_doubles([face for face in work.faces if face.score >= self._min_score])
        if work.faces and not kept:
            work.failures.append(f"{work.item.path}: no face found: nothing that was detected scores {self._min_score}")
        work.faces = kept
