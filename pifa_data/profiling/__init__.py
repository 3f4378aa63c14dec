"""Turning a fitted face to larger yaw, with the image as its texture."""

from pifa_data.profiling.turner import FaceTurner, TurnedFace

__all__ = ["FaceTurner", "TurnedFace"]
