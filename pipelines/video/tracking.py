"""Faces followed through a video.

A face is aligned from the box of its landmarks in the frame before, so the detector need not look at every frame. It
does at the start, once a second, and where a face seems lost. What says so: the box leaves the picture, jumps or
changes its size; it no longer looks as it did a frame ago (a cut, a hand, landmarks that slide off); the score is
low; or the detector has not found it again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pifa_data.boxes import Square, box_size, detector_box, overlap, square_of
from pifa_data.detection import Detector, input_box
from pifa_data.images import CropSource, crop_image
from pifa_model import Aligner, Alignment

UNCALIBRATED = (0.35, 0.95)
"""Scores: below the first a face is taken for lost; from the second on one is believed that the detector does not find,
as one seen from the side. 1/(1 + m) tells little: of 150 faces of ytf68 ``small`` gives none less than 0.51, but 0.45
to 0.95 to background too, and 0.44 to a face tipped by 25°. So the first is for what has gone quite wrong, and the
other signs matter more; 99 % of faces and of background are below the second."""

CALIBRATED = (0.35, 0.8)
"""The same of a calibrated score. Of 70 faces of ytf68 99 % score above 0.32 and 95 % above 0.74; of 79 steps on places
without a face 95 % below 0.35 and 99 % below 0.8 (``pifa68-small@0.2.0``, boxes that follow landmarks)."""

EVERY = 1.0
"""Seconds between two looks for new faces: half a second's wait on average, for a detector that takes ten times as long
as an alignment."""

MISSES = 2
"""Looks of the detector in a row, ``EVERY`` seconds apart, that end a face which none of them finds."""

SOON = 0.2
"""The same while there is no face, or one is lost."""

MEMORY = 1.0
"""Seconds after which a face that was lost is a new one when it is found again."""

OVERLAP = 0.3
"""Intersection over union above which a detection is a face that is followed."""

MOVED = 0.75
"""Intersection over union of a box and that of the landmarks found in it, below which the face is aligned once more:
it moved by more than the boxes that networks are trained with."""

STAYS = 0.4
"""The same, below which the face jumped."""

DOUBLE = 0.5
"""The same of two faces that are one."""

ALIKE = 0.5
"""Correlation of a face's picture with that of the frame before, below which it is something else."""

PATCH = 16
"""Side, pixels, of the crops that are correlated."""

ALONE = 80
"""Pixels, the size of a face that is shown to the detector alone, in twice as much."""

SMALLEST = 8.0
"""Pixels of a face."""


@dataclass
class Track:
    """One face.

    Attributes:
        number: from 0, in order of birth.
        face: last alignment.
        patch: ``(PATCH, PATCH)`` what it looked like.
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
    ) -> None:
        """Begin a video.

        Args:
            aligner, detector: compute.
            kind: landmark kind, by default the one trained with.
            min_score: a new face is followed only from it on; followed, it may score less.
        """
        self._aligner, self._detector = aligner, detector
        self._kind, self._min_score = kind, min_score
        self._low, self._sure = CALIBRATED if aligner.header.calibration else UNCALIBRATED
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
            self._due = time + (EVERY if self._tracks and not self._lost else SOON)
        self._lost = [track for track in self._lost if time - track.time <= MEMORY]
        self._drop_doubles()
        return [(track.number, track.face) for track in self._tracks]

    def _follow(self, image: np.ndarray, time: float) -> list[Track]:
        """Align faces where they were; gives back those that are not sure to be there any more."""
        boxes = {track.number: follow_box(self._aligner, track.face) for track in self._tracks}
        there = [track for track in self._tracks if _usable(boxes[track.number], image)]
        doubtful = [track for track in self._tracks if not _usable(boxes[track.number], image)]
        faces = self._align(image, [boxes[track.number] for track in there])
        self._tracks = []
        for track, face in zip(there, faces, strict=True):
            if overlap(follow_box(self._aligner, face), boxes[track.number]) < MOVED:
                face = self._again(image, face) or face
            patch = self._patch(image, face)
            stays = overlap(follow_box(self._aligner, face), boxes[track.number]) >= STAYS
            stays = stays and face.score >= self._low and float((patch * track.patch).sum()) >= ALIKE
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
            here = {i for i in left if overlap(tights[i], track.face.tight) >= OVERLAP}
            left -= here
            if here:
                # The box of landmarks that lie too large makes the next too large; the detector's is another opinion.
                self._anchor(image, track, boxes[min(here)])
            self._count(track, bool(here) or self._looks_like_a_face(image, track.face), time)
        self._lost += doubtful
        pairs = [(overlap(tights[i], track.face.tight), i, track) for i in left for track in self._lost]
        for iou, i, track in sorted(pairs, key=lambda pair: (-pair[0], pair[2].number)):
            if iou >= OVERLAP and i in left and track in self._lost and self._start(image, boxes[i], time, track):
                left.discard(i)
        for track in list(self._lost):
            box = follow_box(self._aligner, track.face)
            if _usable(box, image) and self._looks_like_a_face(image, track.face):
                self._start(image, box, time, track)
        for i in sorted(left):
            self._start(image, boxes[i], time, None)
        self._tracks.sort(key=lambda track: track.number)

    def _anchor(self, image: np.ndarray, track: Track, box: np.ndarray) -> None:
        """Align a face that is followed anew, from a detector's box, if its own is far from what is found there."""
        face = self._again(image, self._align(image, [box])[0]) if _usable(box, image) else None
        if face is not None and face.score >= self._low and overlap(face.tight, track.face.tight) < MOVED:
            track.face, track.patch = face, self._patch(image, face)

    def _count(self, track: Track, found: bool, time: float) -> None:
        """A detector misses faces and finds some that are none: one find is not worth two misses."""
        if found:
            track.found, track.missed, track.judged = track.found + 1, 0, time
        elif track.face.score < self._sure and time - track.judged >= 0.9 * EVERY:
            track.missed, track.judged = track.missed + 1, time
            if track.missed >= min(track.found, MISSES):
                self._tracks.remove(track)

    def _start(self, image: np.ndarray, box: np.ndarray, time: float, track: Track | None) -> bool:
        """Follow a face from a detector's box on: a new one, or one that was lost."""
        if not _usable(box, image):
            return False
        # A detector's box says roughly where the face is; the landmarks found in it say it better.
        face = self._again(image, self._align(image, [box])[0])
        if face is None or face.score < (self._low if track else max(self._low, self._min_score)):
            return False
        patch = self._patch(image, face)
        if track is None:
            self._tracks.append(Track(self.born, face, patch, time, time))
            self.born += 1
        else:
            self._lost.remove(track)
            track.face, track.patch, track.time, track.missed, track.judged = face, patch, time, 0, time
            self._tracks.append(track)
        return True

    def _align(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[Alignment]:
        return self._aligner.batch([image], [boxes], self._kind)[0]

    def _again(self, image: np.ndarray, face: Alignment) -> Alignment | None:
        """The face aligned once more, from the box of its landmarks; None where no face can be in that."""
        box = follow_box(self._aligner, face)
        return self._align(image, [box])[0] if _usable(box, image) else None

    def _looks_like_a_face(self, image: np.ndarray, face: Alignment) -> bool:
        """Whether the detector finds a face when it is shown that one alone, upright: it misses those that are tipped.

        Raises:
            PifaError: as of the detector.
        """
        box = face.tight
        middle, size = (box[:2] + box[2:]) / 2, float(box_size(box))
        turn = cv2.getRotationMatrix2D(middle.tolist(), np.degrees(face.pose[2]), ALONE / size)
        turn[:, 2] += ALONE - middle
        grid = np.stack(np.meshgrid(np.arange(2.0 * ALONE), np.arange(2.0 * ALONE)), axis=-1)
        back = cv2.invertAffineTransform(turn)
        source = CropSource(image, Square(float(middle[0]), float(middle[1]), side=2 * size, size=2 * ALONE))
        picture = source.sample(grid @ back[:, :2].T + back[:, 2])
        half = (box[2:] - box[:2]) / 2 * (ALONE / size)
        expected = np.concatenate([ALONE - half, ALONE + half])
        return any(overlap(one.tight, expected) >= OVERLAP for one in self._detector(picture))

    def _patch(self, image: np.ndarray, face: Alignment) -> np.ndarray:
        """``(PATCH, PATCH)`` what the face looks like, of mean 0 and length 1."""
        crop = crop_image(image, square_of(face.tight, 1.0, PATCH))
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float64)
        return (grey - grey.mean()) / max(float(np.linalg.norm(grey - grey.mean())), 1e-6)

    def _drop_doubles(self) -> None:
        """Of two that came to follow one face the elder stays."""
        kept: list[Track] = []
        for track in self._tracks:
            if all(overlap(track.face.tight, other.face.tight) < DOUBLE for other in kept):
                kept.append(track)
        self._tracks = kept


def follow_box(aligner: Aligner, face: Alignment) -> np.ndarray:
    """The box to align a face from in the next frame: where a detector would draw it, if it was trained with those."""
    if aligner.header.boxes == "detector":
        return detector_box(face.tight, face.pose[0])
    return aligner.next_box(face)


def _usable(box: np.ndarray, image: np.ndarray) -> bool:
    """Whether a face can be in a box: of some size, no larger than pictures show one, and half of it in the picture."""
    height, width = image.shape[:2]
    if not np.isfinite(box).all() or (box[2:] - box[:2]).min() < 1 or box_size(box) < SMALLEST:
        return False
    inside = (np.minimum(box[2:], (width, height)) - np.maximum(box[:2], 0)).clip(0).prod()
    return bool(inside >= 0.5 * box_size(box) ** 2)
