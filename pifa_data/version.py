"""The program's version, read from the installed package so that it stands in one place (``pyproject.toml``)."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("pifa")
except PackageNotFoundError:  # run from a source tree that was never installed
    VERSION = "0+unknown"
