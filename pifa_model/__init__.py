"""The network on the device: visualization layer, blocks, losses, metrics, batches, training, inference."""

from pifa_model.inference import Aligner
from pifa_model.results import Alignment

__all__ = ["Aligner", "Alignment"]
