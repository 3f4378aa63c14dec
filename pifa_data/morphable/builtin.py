"""The project's own morphable model, which ships with the package; ``pifa_data.morphable.making`` makes it."""

from __future__ import annotations

from functools import cache
from importlib import resources

from pifa_data.morphable.model import MorphableModel

BUILTIN = "builtin"
"""Its name on the command line."""


@cache
def load_builtin() -> MorphableModel:
    """The ``builtin`` model: 80 identity and 29 expression modes, millimetres, zero between the ears.

    Raises:
        MorphableError: the installed file is damaged.
    """
    with resources.as_file(resources.files("pifa_data.morphable").joinpath("builtin.safetensors")) as path:
        return MorphableModel.load(path)
