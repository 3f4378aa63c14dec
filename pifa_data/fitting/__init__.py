"""Fitting camera and coefficients to 2D landmarks."""

from pifa_data.fitting.fitter import Fits, LandmarkFitter
from pifa_data.fitting.points import Fitters, landmarks_of
from pifa_data.fitting.silhouette import silhouette

__all__ = ["Fits", "Fitters", "LandmarkFitter", "landmarks_of", "silhouette"]
