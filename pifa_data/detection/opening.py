"""A detector by its name."""

from __future__ import annotations

from pathlib import Path

from pifa_data.detection.base import Detector
from pifa_data.detection.haar import HaarDetector
from pifa_data.detection.yunet import YuNetDetector
from pifa_data.errors import DetectorError


def open_detector(name: str | Path) -> Detector:
    """The detector ``haar``, or YuNet with a model's file ``*.onnx``.

    Raises:
        DetectorError: another name; OpenCV lacks the detector; a file that is no such model.
    """
    if str(name) == HaarDetector.name:
        return HaarDetector()
    if str(name).lower().endswith(".onnx"):
        return YuNetDetector(Path(name))
    raise DetectorError(f"detector {str(name)!r}: expected haar, or the file of a YuNet model (.onnx)")
