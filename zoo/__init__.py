"""The zoo: a registry of pretrained checkpoints as a folder of static files."""

from zoo.cache import cache_folder
from zoo.entry import Entry, FileEntry, Index, Metric, Morphable
from zoo.errors import (
    CheckpointError,
    HashError,
    MissingFileError,
    OfflineError,
    OldIndexWarning,
    PublishError,
    RegistryError,
    SignatureError,
    UnknownEntryError,
    UnreachableError,
    YankedWarning,
    ZooError,
)
from zoo.fetch import fetch
from zoo.publish import publish
from zoo.reference import Reference, matching, parse_reference, resolve
from zoo.registry import Registry, default_registry
from zoo.verify import Problem, verify
from zoo.withdraw import yank

__all__ = [
    "CheckpointError",
    "Entry",
    "FileEntry",
    "HashError",
    "Index",
    "Metric",
    "MissingFileError",
    "Morphable",
    "OfflineError",
    "OldIndexWarning",
    "Problem",
    "PublishError",
    "Reference",
    "Registry",
    "RegistryError",
    "SignatureError",
    "UnknownEntryError",
    "UnreachableError",
    "YankedWarning",
    "ZooError",
    "cache_folder",
    "default_registry",
    "fetch",
    "matching",
    "parse_reference",
    "publish",
    "resolve",
    "verify",
    "yank",
]
