"""Face detectors: where the faces of a photograph are."""

from pifa_data.detection.base import Detection, Detector, input_box

__all__ = ["Detection", "Detector", "input_box"]
