"""Morphable models: the model and its file, and the importers."""

from pifa_data.morphable.bfm2009 import import_bfm2009
from pifa_data.morphable.bfm2017 import import_bfm2017, import_bfm2019
from pifa_data.morphable.builtin import BUILTIN, load_builtin
from pifa_data.morphable.flame import import_flame
from pifa_data.morphable.ict import import_ict_npz
from pifa_data.morphable.ict_facekit import import_ict
from pifa_data.morphable.importing import Importer
from pifa_data.morphable.model import Contour, MorphableModel
from pifa_data.morphable.surrey import import_surrey

IMPORTERS: dict[str, Importer] = {
    "bfm2009": import_bfm2009,
    "bfm2017": import_bfm2017,
    "bfm2019": import_bfm2019,
    "flame": import_flame,
    "ict": import_ict,
    "ict-npz": import_ict_npz,
    "surrey": import_surrey,
}

__all__ = [
    "BUILTIN",
    "IMPORTERS",
    "Contour",
    "Importer",
    "MorphableModel",
    "import_bfm2009",
    "import_bfm2017",
    "import_bfm2019",
    "import_flame",
    "import_ict",
    "import_ict_npz",
    "import_surrey",
    "load_builtin",
]
