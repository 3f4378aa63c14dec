"""Morphable models: the model and its file, and the importers."""

from pifa_data.morphable.ict import import_ict_npz
from pifa_data.morphable.model import Contour, MorphableModel

IMPORTERS = {"ict-npz": import_ict_npz}

__all__ = ["IMPORTERS", "Contour", "MorphableModel", "import_ict_npz"]
