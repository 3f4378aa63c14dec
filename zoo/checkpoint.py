"""The checkpoint file, as far as a registry must know it: a safetensors file that carries its configuration.

The header's ``__metadata__`` has one key ``pifa``, a JSON document with the resolved configuration. Nothing
is loaded but that header; the safetensors library checks it against the file's length.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue
from safetensors import SafetensorError, safe_open

from zoo.documents import Document, load_json, validated
from zoo.entry import Entry, Text
from zoo.errors import CheckpointError
from zoo.plain import plain

# Real configurations have a few kilobytes; as a file they are indented, hence larger.
MAX_CONFIG_CHARS = 4 * 2**20
MAX_CONFIG_BYTES = 64 * 2**20

# Real headers have some ten kilobytes. safetensors takes 100 million bytes, and twelve times that memory for them.
MAX_HEADER_BYTES = 8 * 2**20


class MorphableOf(Document):
    """The morphable model as a checkpoint names it."""

    model_config = ConfigDict(extra="allow")

    name: Text
    fingerprint: Text


class TrainingOf(Document):
    """How a checkpoint was trained, as it says itself; ``data`` is a free-text list."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    data: tuple[Text, ...]


class CheckpointConfig(Document):
    """The keys that a registry reads; the rest of the resolved configuration is the network's own."""

    model_config = ConfigDict(extra="allow")

    format: Literal["pifa-checkpoint"]
    format_version: Literal[2]
    preset: Text
    scheme: Text
    landmark_kind: Literal["2d", "3d"]
    input_size: int = Field(ge=1, le=65536)
    boxes: Text
    grow: float = Field(gt=0)
    morphable: MorphableOf
    training: TrainingOf
    pifa_version: Text


@dataclass(frozen=True)
class Header:
    """A checkpoint's configuration: the checked keys, and the whole document as it stands in the file."""

    config: CheckpointConfig
    document: JsonValue


def read_header(path: Path, where: str | None = None) -> Header:
    """Read a checkpoint's configuration from its header; ``where`` names the file in messages.

    Raises:
        CheckpointError: not a safetensors file (a pickle, a truncated file), or one without PIFA's metadata.
    """
    where = where or str(path)
    cure = "give the model.safetensors that `pifa train` wrote"
    try:
        _refuse_huge(path)
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            # The library quotes the header's own words.
            f"{where}: expected a safetensors file, found something else ({plain(str(error), 200)}); {cure}"
        ) from error
    if "pifa" not in metadata:
        raise CheckpointError(f"{where}: expected the metadata key 'pifa', found {len(metadata)} other keys; {cure}")
    text = metadata["pifa"]
    if len(text) > MAX_CONFIG_CHARS:
        raise CheckpointError(
            f"{where}: expected a configuration of at most {MAX_CONFIG_CHARS} characters, found {len(text)}; {cure}"
        )
    source = f"{where}, metadata key 'pifa'"
    document = load_json(text, source, CheckpointError)
    return Header(validated(CheckpointConfig, text, source, CheckpointError), document)


def _refuse_huge(path: Path) -> None:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise SafetensorError(f"a header of more than {MAX_HEADER_BYTES} bytes")


def disagreement(header: Header, entry: Entry) -> str | None:
    """What a checkpoint says of itself otherwise than its entry does, or None where they agree."""
    config = header.config
    pairs: dict[str, tuple[object, object]] = {
        "preset": (entry.preset, config.preset),
        "scheme": (entry.scheme, config.scheme),
        "landmark_kind": (entry.landmark_kind, config.landmark_kind),
        "input_size": (entry.input_size, config.input_size),
        "boxes": (entry.boxes, config.boxes),
        "grow": (entry.grow, config.grow),
        "morphable name": (entry.morphable.name, config.morphable.name),
        "morphable fingerprint": (entry.morphable.fingerprint, config.morphable.fingerprint),
    }
    for what, (promised, found) in pairs.items():
        if promised != found:
            return f"{what}: expected {promised!r} as in the index, found {found!r} in the checkpoint's header"
    return None


def config_fault(path: Path, header: Header, where: str) -> str | None:
    """What is wrong with the ``config.json`` at ``path``, which must repeat the header; None: nothing."""
    cure = "publish it anew under a new version, or tell the registry's publisher"
    if path.stat().st_size > MAX_CONFIG_BYTES:
        return f"{where}: expected at most {MAX_CONFIG_BYTES} bytes, found more; {cure}"
    try:
        document = load_json(path.read_bytes(), where, CheckpointError)
    except CheckpointError as error:
        return str(error)
    if document != header.document:
        return f"{where}: expected the configuration in the weights' header, found another; {cure}"
    return None
