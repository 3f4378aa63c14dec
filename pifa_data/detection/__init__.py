"""Face detectors: where the faces of a photograph are."""

from pifa_data.detection.base import Detection, Detector, input_box
from pifa_data.detection.opening import open_detector

__all__ = ["Detection", "Detector", "input_box", "open_detector"]
