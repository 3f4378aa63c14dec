"""YuNet, a small network (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023), run by OpenCV.

The model's file is the user's to bring (OpenCV's zoo has ``face_detection_yunet_2023mar.onnx``, 230 kB): no wheel has
it. Besides a box it gives five points of each face, which tell where the tight box lies better than the box does.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pifa_data.detection.base import Detection
from pifa_data.detection.overlap import keep_apart
from pifa_data.errors import DetectorError

SIDE = 640
"""Larger side, pixels, of the copy that is searched: it was trained on pictures of that size."""

SCORE = 0.6
"""The smallest score that is taken."""

NMS, MOST = 0.3, 5000
"""Intersection over union above which OpenCV drops the weaker of two boxes, and boxes that it looks at: its defaults
but for the score's."""

LARGEST = 16 * 2**20
"""Bytes of a model; the published ones have less than half a million."""

CENTRE, SIZE = (0.134, -0.905), (2.017, 0.162)
"""The tight box about the five points, see ``tight_of_points``: ``benchmarks/five_points.py`` on 200 faces of ytf68 as
they are and turned to 60° and 80°."""

_LOG = threading.Lock()


class YuNetDetector:
    """Finds faces with a YuNet model. Threads may share one: each has a network of its own."""

    def __init__(self, path: Path) -> None:
        """Read a model and try it.

        Raises:
            DetectorError: no such file, too large, or not YuNet.
        """
        self.name = path.name
        self._path = path
        try:
            with path.open("rb") as file:
                self._data = file.read(LARGEST + 1)
        except OSError as error:
            raise DetectorError(f"{path}: the detector's model can't be read ({error.strerror})") from error
        if len(self._data) > LARGEST:
            raise DetectorError(f"{path}: expected a YuNet model of at most {LARGEST} bytes, found more")
        self._local = threading.local()
        with _quiet():
            self(np.full((64, 64, 3), 127, np.uint8))

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """The faces of ``(H, W, 3)`` uint8 RGB, surest first, each once.

        Raises:
            DetectorError: the model does not give what YuNet gives.
        """
        height, width = image.shape[:2]
        factor = max(height, width) / SIDE
        if factor > 1:
            size = max(1, round(width / factor)), max(1, round(height / factor))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        scale = np.array([width / image.shape[1], height / image.shape[0]])
        try:
            network = self._network()
            network.setInputSize((image.shape[1], image.shape[0]))
            found = network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
        except (cv2.error, SystemError, ValueError) as error:
            raise DetectorError(f"{self._path}: expected a YuNet model that OpenCV can run ({_line(error)})") from error
        rows = np.zeros((0, 15)) if found is None else np.asarray(found, np.float64)
        if rows.ndim != 2 or rows.shape[1] != 15:
            raise DetectorError(f"{self._path}: expected YuNet's 15 numbers a face, found an array {rows.shape}")
        faces = []
        for row in rows:
            if np.isfinite(row).all() and (row[2:4] > 0).all():
                # YuNet's places count from the pixels' edges.
                box = np.concatenate([row[:2], row[:2] + row[2:4]]) * np.tile(scale, 2) - 0.5
                tight = tight_of_points(row[4:14].reshape(5, 2) * scale - 0.5)
                faces.append(Detection(box, tight, float(row[14].clip(0, 1))))
        return keep_apart(sorted(faces, key=lambda face: -face.score))

    def _network(self) -> cv2.FaceDetectorYN:
        """This thread's own: it keeps the size and the memory of the picture that it works on."""
        if not hasattr(self._local, "network"):
            data = np.frombuffer(self._data, np.uint8)
            create = cv2.FaceDetectorYN.create
            self._local.network = create("onnx", data, np.zeros(0, np.uint8), (64, 64), SCORE, NMS, MOST)
        return self._local.network


def tight_of_points(points: np.ndarray) -> np.ndarray:
    """Where the tight box of a face's 68 landmarks lies.

    Args:
        points: ``(5, 2)`` pixels: the eyes, the tip of the nose, the corners of the mouth.

    Returns:
        ``(4,)`` a square. With e and m the middles of eyes and mouth, n the nose, d = m − e and w the eyes' distance,
        its centre is (e + m)/2 + a d + b (n − (e + m)/2), its side c ‖d‖ + f w, at least a pixel.
    """
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    middle = (eyes + mouth) / 2
    centre = middle + CENTRE[0] * (mouth - eyes) + CENTRE[1] * (points[2] - middle)
    side = SIZE[0] * np.linalg.norm(mouth - eyes) + SIZE[1] * np.linalg.norm(points[1] - points[0])
    half = max(float(side), 1.0) / 2
    return np.concatenate([centre - half, centre + half])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV writes a page about a wrong model to stderr; the error has what there is to know."""
    with _LOG:
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(level)


def _line(error: Exception) -> str:
    """What OpenCV says, short."""
    text = str(getattr(error, "err", None) or error)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
