"""Face detectors: where the faces of a photograph are."""

from pifa_data.detection.base import Detection, Detector, input_box
from pifa_data.detection.opening import open_detector
from pifa_data.detection.overlap import same_face

__all__ = ["Detection", "Detector", "input_box", "open_detector", "same_face"]
