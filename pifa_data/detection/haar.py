"""The embedded detector: the Haar cascades of OpenCV 4's wheel, frontal and profile.

Two cascades look at a small grey copy of the picture: the frontal one once, the profile one, which knows faces that
look to the image's left, also at the mirror image. What overlaps is one face, and the frontal box is kept: where its
tight box lies is known better. The score comes from the number of windows that were merged into a box. On 400 pictures
of ytf68 it tells faces from the rest; the weights of the last stage (``detectMultiScale3``) don't, of the frontal
cascade. Histograms are not equalised: of the same faces 98.5 % were found then, 99.5 % without.

Numbers here are from ``python benchmarks/detection.py`` and ``benchmarks/detector.py`` (``docs/detection.md``).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pifa_data.boxes import DETECTOR_RISE, DETECTOR_SIZE
from pifa_data.detection.base import Detection
from pifa_data.detection.overlap import keep_apart, same_face
from pifa_data.errors import DetectorError

FRONTAL, PROFILE = "haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml"

SIDE = 512
"""Larger side, pixels, of the copy that is searched; a smaller picture is searched as it is."""

SMALLEST = 24
"""Pixels of the smallest face in the copy: the frontal cascade knows no smaller ones than 20."""

SHARE = 0.05
"""The smallest face as a share of the copy's larger side."""

STEP = {FRONTAL: 1.1, PROFILE: 1.2}
"""Each size that is looked for over the one before. With 1.1 and 5 windows the profile cascade finds as many of the
faces turned to 60° and takes twice the time."""

WINDOWS = {FRONTAL: 4, PROFILE: 3}
"""Windows that must agree."""

EVEN = {FRONTAL: 5.0, PROFILE: 3.5}
"""Windows at which the score is a half: of boxes that the frontal cascade found on ytf68 beside the face, four in five
have fewer, of faces one in fifty."""

PROFILE_AHEAD, PROFILE_RISE, PROFILE_SIZE = 0.07, 0.19, 1.2
"""How a profile box lies about the tight one, as ``DETECTOR_…`` in ``boxes.py`` say of frontal ones: its centre the way
that the face looks and higher, in √(w·h) of the tight box, and their ratio. On 120 faces of ytf68 turned to 60° and to
80° that the frontal cascade misses: 0.078 ± 0.054 and 0.060 ± 0.078; 0.201 and 0.175; 1.26 and 1.14
(``benchmarks/detector.py keypoints-csv:ytf68 --morphable builtin --faces 120 --turned 60``)."""

TURN = 0.04
"""A frontal box lies farther the way that its face looks, and the profile cascade tells which way: by this much, in
√(w·h) of the tight box, for each unit of ln((1 + l)/(1 + r)), where l and r are the windows it finds there of faces
looking left and right. Of a horizontal deviation of 0.121 that leaves 0.063 (400 faces of ytf68)."""


@dataclass(frozen=True)
class _Found:
    """A cascade's box ``(4,)`` in the copy's pixels, and how many windows agreed on it."""

    box: np.ndarray
    windows: int


class HaarDetector:
    """Finds frontal and turned faces. Threads may share one: each has cascades of its own."""

    name = "haar"

    def __init__(self) -> None:
        """Look for the cascades; they are read when a thread first needs them.

        Raises:
            DetectorError: this OpenCV has no cascades.
        """
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        self._files = {name: Path(folder, name) for name in (FRONTAL, PROFILE)}
        if not hasattr(cv2, "CascadeClassifier") or not all(file.is_file() for file in self._files.values()):
            raise DetectorError(
                f"detector haar: OpenCV {cv2.__version__} comes without Haar cascades; expected one of version 4 "
                "(pip install 'opencv-python<5'), or name a YuNet model (.onnx) or the boxes instead"
            )
        self._local = threading.local()

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """The faces of ``(H, W, 3)`` uint8 RGB, surest first, each once.

        Raises:
            DetectorError: a cascade can't be read.
        """
        grey, scale = _copy(image)
        left = self._search(grey, PROFILE)
        right = self._search(grey, PROFILE, mirrored=True)
        found = [
            _detection(
                one, scale, _tight(one.box, _turn(one, left, right), DETECTOR_RISE, DETECTOR_SIZE), EVEN[FRONTAL]
            )
            for one in self._search(grey, FRONTAL)
        ]
        sides = [(one, -PROFILE_AHEAD) for one in left] + [(one, PROFILE_AHEAD) for one in right]
        for one, ahead in sorted(sides, key=lambda side: -side[0].windows):
            tight = _tight(one.box, ahead, PROFILE_RISE, PROFILE_SIZE)
            found.append(_detection(one, scale, tight, EVEN[PROFILE]))
        return keep_apart(found)

    def _search(self, grey: np.ndarray, name: str, *, mirrored: bool = False) -> list[_Found]:
        """What a cascade finds, surest first."""
        smallest = max(SMALLEST, round(SHARE * max(grey.shape)))
        if min(grey.shape) < smallest:
            return []
        picture = np.ascontiguousarray(grey[:, ::-1]) if mirrored else grey
        rectangles, counts = self._cascade(name).detectMultiScale2(
            picture, scaleFactor=STEP[name], minNeighbors=WINDOWS[name], minSize=(smallest, smallest)
        )
        found = []
        for (x, y, width, height), count in zip(rectangles, counts, strict=True):
            start = grey.shape[1] - x - width if mirrored else x
            # Rectangles count from the pixels' edges, boxes from their centres.
            found.append(_Found(np.array([start, y, start + width, y + height], np.float64) - 0.5, int(count)))
        return sorted(found, key=lambda one: -one.windows)

    def _cascade(self, name: str) -> cv2.CascadeClassifier:
        """This thread's own: a cascade keeps the picture that it works on."""
        cascades = self._local.__dict__
        if name not in cascades:
            cascade = cv2.CascadeClassifier(str(self._files[name]))
            if cascade.empty():
                raise DetectorError(f"{self._files[name]}: can't be read as a cascade; install opencv-python anew")
            cascades[name] = cascade
        return cascades[name]


def _copy(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A grey copy of at most ``SIDE`` pixels, and the image's pixels for one of its (x, y, x, y)."""
    height, width = image.shape[:2]
    factor = max(height, width) / SIDE
    if factor > 1:
        size = max(1, round(width / factor)), max(1, round(height / factor))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    x, y = width / grey.shape[1], height / grey.shape[0]
    return grey, np.array([x, y, x, y])


def _detection(found: _Found, scale: np.ndarray, tight: np.ndarray, even: float) -> Detection:
    score = 1 / (1 + (even / found.windows) ** 2)
    return Detection((found.box + 0.5) * scale - 0.5, (tight + 0.5) * scale - 0.5, score)


def _turn(frontal: _Found, left: Sequence[_Found], right: Sequence[_Found]) -> float:
    """How far the centre of a frontal box lies to the image's right of the tight box's."""
    windows = [sum(one.windows for one in side if same_face(one.box, frontal.box)) for side in (left, right)]
    return TURN * float(np.log1p(windows[1]) - np.log1p(windows[0]))


def _tight(box: np.ndarray, right: float, up: float, ratio: float) -> np.ndarray:
    """The tight box whose detector's box is ``ratio`` times as large and lies farther right and up by so much of it."""
    size = (box[2] - box[0]) / ratio
    centre = (box[:2] + box[2:]) / 2 + size * np.array([-right, up])
    return np.concatenate([centre - size / 2, centre + size / 2])
