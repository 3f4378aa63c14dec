"""What a registry says about a checkpoint: the index, its entries, their files and metrics."""

import datetime as dt
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from zoo.documents import Document

INDEX = "index.json"
WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
CARD = "card.md"
PAGE = "card.html"
SIGNATURES = "signatures"

RESERVED = frozenset({INDEX, SIGNATURES, "index.html"})
"""What stands beside the entries' folders in a registry or its site."""

# A bound on what one entry can make a reader download: 16 GiB, far above any checkpoint of this project.
MAX_FILE_BYTES = 2**34

# Thousands of entries fit; a hostile index cannot fill the memory.
MAX_INDEX_BYTES = 16 * 2**20

# A bundle of a signature has two kilobytes.
MAX_SIGNATURE_BYTES = 2**20

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
# Nine digits a part keep a hostile version from being a huge number.
VERSION_PATTERN = r"(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){2}"

# What Windows takes for a device, whatever follows a dot.
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


def _possible(name: str) -> str:
    if name.endswith("."):
        raise ValueError("expected a name that can be one on Windows too, found one that ends in a dot")
    if (stem := name.partition(".")[0].lower()) in _DEVICES:
        raise ValueError(f"expected a name that can be one on Windows too, found {stem}, a device there")
    return name


Name = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$"), AfterValidator(_possible)]
Version = Annotated[str, StringConstraints(pattern=rf"^{VERSION_PATTERN}$")]
# No slash, no leading dot: a file name can name nothing outside its version's folder.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"), AfterValidator(_possible)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# One line of text that is safe to print on a terminal.
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]

# Where else a version's files are: the address of a folder with them. Never file://: an index from elsewhere does not
# choose what is read on this machine.
Mirror = Annotated[str, StringConstraints(max_length=2000, pattern=r"^(?:https?|s3|hf)://[^\x00-\x20\x7f-\x9f]+$")]


def signature_path(sha256: str, fingerprint: str) -> str:
    """Where a registry has a key's signature of the content with that hash.

    Named by both, a signature is there before what it signs, is replaced only where it is damaged, and keys can follow
    each other.
    """
    return f"{SIGNATURES}/{sha256}.{fingerprint[:16]}.sig"


def version_key(version: str) -> tuple[int, int, int]:
    """A version as numbers, so that 1.10.0 is newer than 1.9.0."""
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)


class FileEntry(Document):
    """One file of an entry: its plain name, its SHA-256 (64 lower-case hex digits), its size in bytes."""

    name: FileName
    sha256: Sha256
    size: int = Field(ge=0, le=MAX_FILE_BYTES)


class Metric(Document):
    """One ``pifa eval --json`` object, kept whole.

    Unknown keys stay (an evaluation may say more one day); the known ones are checked. NMEs are percent of
    the named normaliser, ``mape`` is pixels, ``ms_per_face`` milliseconds.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    faces: int = Field(ge=1)
    normaliser: Text
    nme: float
    nme_per_block: tuple[float | None, ...] | None = None
    nme_initial: float | None = None
    nme_interocular: float | None = None
    failure_rate_8: float | None = None
    auc_8: float | None = None
    mape: float | None = None
    nme_by_yaw: dict[str, float | None] | None = None
    ms_per_face: float | None = None
    source: Text | None = None
    subset: Text | None = None
    boxes: Text | None = None
    landmarks: Text | None = None
    checkpoint_sha256: Sha256 | None = None

    @model_serializer(mode="wrap")
    def _only_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}


class Morphable(Document):
    """The morphable model a checkpoint was trained with: name, fingerprint, and where to get it."""

    name: Text
    fingerprint: Text
    where: Text | None = None


class Picture(Document):
    """A picture of an entry's card: one of its files (PNG or JPEG), and what it shows."""

    file: FileName
    caption: Text


class Entry(Document):
    """One published version of one checkpoint; never changes after publication, but for ``yanked``."""

    name: Name
    version: Version
    created: dt.date
    files: tuple[FileEntry, ...] = Field(max_length=64)
    preset: Text
    architecture: Text | None = None
    scheme: Text
    landmark_kind: Literal["2d", "3d"]
    morphable: Morphable
    input_size: int = Field(ge=1, le=65536)
    boxes: Text
    grow: float = Field(gt=0)
    training_data: tuple[Text, ...] = Field(max_length=256)
    metrics: tuple[Metric, ...] = Field(default=(), max_length=64)
    licence: Text | None = None
    source_commit: Text | None = None
    min_pifa: Version | None = None
    mirrors: tuple[Mirror, ...] = Field(default=(), max_length=16)
    pictures: tuple[Picture, ...] = Field(default=(), max_length=32)
    yanked: Text | None = None

    @model_validator(mode="after")
    def _files_complete(self) -> Self:
        names = {file.name for file in self.files}
        if len({name.lower() for name in names}) != len(self.files):
            raise ValueError("files: two have the same name")
        if missing := {WEIGHTS, CONFIG} - names:
            raise ValueError(f"files: {', '.join(sorted(missing))} missing")
        if self.name in RESERVED:
            raise ValueError(f"name: {self.name} is the registry's own")
        if unlisted := {picture.file for picture in self.pictures} - names:
            raise ValueError(f"pictures: {', '.join(sorted(unlisted))} not among the files")
        if len({picture.file for picture in self.pictures}) != len(self.pictures):
            raise ValueError("pictures: one file is listed twice")
        return self

    @property
    def label(self) -> str:
        """``NAME@VERSION``."""
        return f"{self.name}@{self.version}"

    def file(self, name: str) -> FileEntry | None:
        """The file of that name, or None."""
        return next((file for file in self.files if file.name == name), None)


class Index(Document):
    """A registry's ``index.json``.

    ``serial`` grows by one with every change. ``signed_by`` are the fingerprints of the keys whose signatures lie at
    `signature_path`, and a client that checks them trusts no index after ``expires``.
    """

    schema_version: Literal[1] = 1
    serial: int = Field(ge=0, le=2**53)
    updated: AwareDatetime
    expires: AwareDatetime | None = None
    signed_by: tuple[Sha256, ...] = Field(default=(), max_length=16)
    entries: tuple[Entry, ...] = ()

    @model_validator(mode="after")
    def _no_version_twice(self) -> Self:
        if len({entry.label for entry in self.entries}) != len(self.entries):
            raise ValueError("entries: one version is listed twice")
        return self

    def get(self, name: str, version: str) -> Entry | None:
        """The entry of exactly that name and version, yanked or not, or None."""
        return next((entry for entry in self.entries if (entry.name, entry.version) == (name, version)), None)
