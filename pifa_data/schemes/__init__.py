"""Landmark schemes: what landmark *i* means, how points group, and which point is its mirror image.

"right" and "left" are the subject's own, as in anatomy: the right eye of a frontal face is on the image's left.
"""

from pifa_data.schemes.base import Scheme, other_side
from pifa_data.schemes.composite import correspondence, leading_scheme, members, to_scheme, union_name
from pifa_data.schemes.registry import SCHEMES, get_scheme, scheme_of_count

__all__ = [
    "SCHEMES",
    "Scheme",
    "correspondence",
    "get_scheme",
    "leading_scheme",
    "members",
    "other_side",
    "scheme_of_count",
    "to_scheme",
    "union_name",
]
