"""Faces followed through a video.

A face is aligned from the box of its landmarks in the frame before, so the detector need not look at every frame. It
does at the start, once a second, and where a face seems lost. What says so: the box leaves the picture, jumps or
changes its size; its crop no longer looks as it did a frame ago (a cut, a hand, a box that slides off); the score is
low; or the detector has not found it again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pifa_data.boxes import box_size, detector_box, tight_box
from pifa_data.detection import Detector, input_box
from pifa_data.images import crop_image
from pifa_model import Aligner, Alignment

LOW = 0.5
"""Score below which a face is taken for lost. Of the uncalibrated score, 1/(1 + m), that is only the grossest: 1 % of
faces are below 0.55, but of background 5 % (``small`` on ytf68), so it is the other signs that matter. Of a calibrated
one it is an even chance."""

SURE = 0.95
"""Score at which a face is believed that the detector does not find: one seen from the side. Of the uncalibrated score
99 % of faces and of background are below."""

EVERY = 1.0
"""Seconds between two looks for new faces: half a second's wait on average, for a detector that takes ten times as long
as an alignment."""

SOON = 0.2
"""The same while there is no face, or one is lost."""

MEMORY = 1.0
"""Seconds after which a face that was lost is a new one when it is found again."""

OVERLAP = 0.3
"""Intersection over union above which a detection is a face that is followed."""

STAYS = 0.4
"""Intersection over union of a box and that of the landmarks found in it, below which the face jumped."""

DOUBLE = 0.5
"""The same of two faces that are one."""

ALIKE = 0.5
"""Correlation of a face's crop with that of the frame before, below which it is something else."""

PATCH = 16
"""Side, pixels, of the copies that are correlated."""

SMALLEST = 8.0
"""Pixels of a face."""


@dataclass
class Track:
    """One face.

    Attributes:
        number: from 0, in order of birth.
        face: last alignment.
        patch: ``(PATCH, PATCH)`` what the crop it came from looked like, mean 0, length 1.
        time: seconds, when it was last seen.
        found, missed: detections that found it, and those in a row that did not.
        judged: seconds, when a detection was last counted.
    """

    number: int
    face: Alignment
    patch: np.ndarray
    time: float
    judged: float
    found: int = 1
    missed: int = 0


class Tracker:
    """Follows the faces of one video."""

    def __init__(
        self,
        aligner: Aligner,
        detector: Detector,
        *,
        kind: str | None = None,
        min_score: float = 0.0,
        every: float = EVERY,
    ) -> None:
        """Begin a video.

        Args:
            aligner, detector: compute.
            kind: landmark kind, by default the one trained with.
            min_score: a face that is found is followed only above it.
            every: seconds between two looks for new faces.
        """
        self._aligner, self._detector = aligner, detector
        self._kind, self._lowest, self._every = kind, max(min_score, LOW), every
        self._tracks: list[Track] = []
        self._lost: list[Track] = []
        self._due = 0.0
        self.born = 0
        self.detections = 0

    def __call__(self, image: np.ndarray, time: float) -> list[tuple[int, Alignment]]:
        """The faces of the next frame, by their numbers.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            time: seconds, later than of the frame before.

        Raises:
            PifaError: as of ``Aligner`` and the detector.
        """
        doubtful = self._follow(image, time)
        if doubtful or time >= self._due:
            self._detect(image, time, doubtful)
            wait = self._every if self._tracks and not self._lost else min(SOON, self._every)
            self._due = time + wait
        self._lost = [track for track in self._lost if time - track.time <= MEMORY]
        self._drop_doubles()
        return [(track.number, track.face) for track in self._tracks]

    def _follow(self, image: np.ndarray, time: float) -> list[Track]:
        """Align faces where they were; gives back those that are not sure to be there any more."""
        boxes = {track.number: follow_box(self._aligner, track.face) for track in self._tracks}
        there = [track for track in self._tracks if _usable(boxes[track.number], image)]
        doubtful = [track for track in self._tracks if not _usable(boxes[track.number], image)]
        aligned = self._align(image, [boxes[track.number] for track in there])
        self._tracks = []
        for track, (face, patch) in zip(there, aligned, strict=True):
            box = boxes[track.number]
            expected = follow_box(self._aligner, face)
            stays = (
                face.score >= LOW and overlap(expected, box) >= STAYS and float((patch * track.patch).sum()) >= ALIKE
            )
            if stays:
                track.face, track.patch, track.time = face, patch, time
            (self._tracks if stays else doubtful).append(track)
        return doubtful

    def _detect(self, image: np.ndarray, time: float, doubtful: Sequence[Track]) -> None:
        """Look for faces: those that are followed, those that are doubtful or lost, and new ones."""
        self.detections += 1
        found = self._detector(image)
        boxes = [input_box(one, self._aligner.header.boxes) for one in found]
        tights = [one.tight for one in found]
        left = set(range(len(found)))
        for track in list(self._tracks):
            here = {i for i in left if overlap(tights[i], _tight(track.face)) >= OVERLAP}
            left -= here
            self._count(track, bool(here), time)
        self._lost += doubtful
        pairs = [(overlap(tights[i], _tight(track.face)), i, track) for i in left for track in self._lost]
        for iou, i, track in sorted(pairs, key=lambda pair: (-pair[0], pair[2].number)):
            if iou >= OVERLAP and i in left and track in self._lost and self._start(image, boxes[i], time, track):
                left.discard(i)
        for i in sorted(left):
            self._start(image, boxes[i], time, None)
        self._tracks.sort(key=lambda track: track.number)

    def _count(self, track: Track, found: bool, time: float) -> None:
        """A detector misses faces and finds some that are none: a face outlives as many misses as it had finds."""
        if found:
            track.found, track.missed, track.judged = track.found + 1, 0, time
        elif track.face.score < SURE and time - track.judged >= 0.9 * self._every:
            track.missed, track.judged = track.missed + 1, time
            if track.missed >= min(track.found, 3):
                self._tracks.remove(track)

    def _start(self, image: np.ndarray, box: np.ndarray, time: float, track: Track | None) -> bool:
        """Follow a face from a detector's box on: a new one, or one that was lost."""
        if not _usable(box, image):
            return False
        # A detector's box says roughly where the face is; the landmarks found in it say it better.
        [(rough, _)] = self._align(image, [box])
        again = follow_box(self._aligner, rough)
        if not _usable(again, image):
            return False
        [(face, patch)] = self._align(image, [again])
        if face.score < self._lowest:
            return False
        if track is None:
            self._tracks.append(Track(self.born, face, patch, time, time))
            self.born += 1
        else:
            self._lost.remove(track)
            track.face, track.patch, track.time, track.missed, track.judged = face, patch, time, 0, time
            self._tracks.append(track)
        return True

    def _align(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[tuple[Alignment, np.ndarray]]:
        """Faces, and small copies of the crops they came from."""
        if not boxes:
            return []
        squares = [self._aligner.square(box) for box in boxes]
        crops = [crop_image(image, square) for square in squares]
        faces = self._aligner.align_cut(np.stack(crops), boxes, squares, self._kind)
        return [(face, _patch(crop)) for face, crop in zip(faces, crops, strict=True)]

    def _drop_doubles(self) -> None:
        """Of two that came to follow one face the elder stays."""
        kept: list[Track] = []
        for track in self._tracks:
            if all(overlap(_tight(track.face), _tight(other.face)) < DOUBLE for other in kept):
                kept.append(track)
        self._tracks = kept


def follow_box(aligner: Aligner, face: Alignment) -> np.ndarray:
    """The box to align a face from in the next frame: where a detector would draw it, if it was trained with those."""
    if aligner.header.boxes == "detector":
        return detector_box(_tight(face), face.pose[0])
    return aligner.next_box(face)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two ``(4,)`` boxes."""
    shared = float((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod())
    areas = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod())
    return shared / max(areas - shared, 1e-12)


def _tight(face: Alignment) -> np.ndarray:
    return tight_box(face.landmarks, np.ones(len(face.landmarks)))


def _usable(box: np.ndarray, image: np.ndarray) -> bool:
    """Whether a face can be in a box: of some size, no larger than pictures show one, and half of it in the picture."""
    height, width = image.shape[:2]
    if not np.isfinite(box).all() or (box[2:] - box[:2]).min() < 1 or box_size(box) < SMALLEST:
        return False
    inside = (np.minimum(box[2:], (width, height)) - np.maximum(box[:2], 0)).clip(0).prod()
    return bool(inside >= 0.5 * box_size(box) ** 2)


def _patch(crop: np.ndarray) -> np.ndarray:
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (PATCH, PATCH), interpolation=cv2.INTER_AREA)
    centred = grey.astype(np.float64) - grey.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-6)
