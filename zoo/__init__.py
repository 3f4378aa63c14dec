"""The zoo: a registry of pretrained checkpoints as a folder of static files."""

from zoo.cache import cache_folder
from zoo.entry import Entry, FileEntry, Index, Metric, Morphable, Picture
from zoo.errors import (
    CheckpointError,
    HashError,
    MissingFileError,
    OfflineError,
    OldIndexWarning,
    PublishError,
    RegistryError,
    SignatureError,
    StaleIndexError,
    UnknownEntryError,
    UnreachableError,
    YankedWarning,
    ZooError,
)
from zoo.fetch import fetch
from zoo.prune import Pruned, prune
from zoo.publish import publish
from zoo.reference import Reference, matching, parse_reference, resolve
from zoo.registry import Registry, default_registry
from zoo.signatures.keys import TrustedKey, make_key, read_public_key
from zoo.signatures.sign import sign
from zoo.signatures.signer import EXPIRY_DAYS, Signer
from zoo.signatures.trust import Trusted, distrust, trust, trusted
from zoo.verify import Problem, verify
from zoo.withdraw import yank

__all__ = [
    "EXPIRY_DAYS",
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
    "Picture",
    "Problem",
    "Pruned",
    "PublishError",
    "Reference",
    "Registry",
    "RegistryError",
    "SignatureError",
    "Signer",
    "StaleIndexError",
    "Trusted",
    "TrustedKey",
    "UnknownEntryError",
    "UnreachableError",
    "YankedWarning",
    "ZooError",
    "cache_folder",
    "default_registry",
    "distrust",
    "fetch",
    "make_key",
    "matching",
    "parse_reference",
    "prune",
    "publish",
    "read_public_key",
    "resolve",
    "sign",
    "trust",
    "trusted",
    "verify",
    "yank",
]
