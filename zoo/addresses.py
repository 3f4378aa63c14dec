"""Addresses of registries as they may be shown: on a terminal, in a log, on a page."""

import re

_USER = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)


def shown_address(url: str) -> str:
    """A registry's address without the name and the password that it may have."""
    return _USER.sub(r"\1", url)
