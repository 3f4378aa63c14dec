"""The schemes by name and by count."""

from __future__ import annotations

from pifa_data.errors import PifaError
from pifa_data.schemes.aflw import AFLW19, AFLW21, PIFA34
from pifa_data.schemes.afw import AFW6
from pifa_data.schemes.base import Scheme
from pifa_data.schemes.cofw import COFW29
from pifa_data.schemes.composite import SIGN, union
from pifa_data.schemes.ibug import IBUG51, IBUG68
from pifa_data.schemes.lapa import LAPA106
from pifa_data.schemes.wflw import WFLW98

SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme for scheme in (IBUG68, IBUG51, AFLW21, AFLW19, PIFA34, AFW6, COFW29, WFLW98, LAPA106)
}


def get_scheme(name: str) -> Scheme:
    """The scheme of that name, or the union of several, as ``ibug68+aflw21``.

    Raises:
        PifaError: no scheme has that name.
    """
    if SIGN in name:
        return union(name)
    try:
        return SCHEMES[name]
    except KeyError:
        raise PifaError(f"landmark scheme {name!r} is not known; known: {', '.join(SCHEMES)}") from None


def scheme_of_count(count: int) -> Scheme | None:
    """The scheme with that many points, where exactly one has it."""
    found = [scheme for scheme in SCHEMES.values() if len(scheme) == count]
    return found[0] if len(found) == 1 else None
