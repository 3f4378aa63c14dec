"""The making of the project's own face model, ``builtin``: a surface sculpted by formulas, and its expressions."""

from pifa_data.morphable.making.expressions import expression_mirror, expression_modes
from pifa_data.morphable.making.surface import Surface, make_surface, warp

__all__ = ["Surface", "expression_mirror", "expression_modes", "make_surface", "warp"]
