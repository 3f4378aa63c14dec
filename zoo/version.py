"""The version of the program that a registry is used by."""

import functools


@functools.cache
def pifa_version() -> str:
    """The installed version, or nothing where pifa runs from a copy that was never installed."""
    from importlib import metadata  # brings the whole of email

    try:
        return metadata.version("pifa")
    except metadata.PackageNotFoundError:
        return ""
