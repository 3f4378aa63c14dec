"""Checkpoints: one safetensors file of weights whose header holds everything needed to use them.

The header's key ``pifa`` is a JSON document (``docs/checkpoint.md``). Nothing in the file can run code, and it is
used only if every weight is there, none is left over, and the morphable model is the one it was trained with.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from pifa_data.errors import CheckpointError, PifaError
from pifa_data.morphable import MorphableModel
from pifa_data.schemes import get_scheme
from pifa_data.version import VERSION
from pifa_model.calibration import Calibration
from pifa_model.config import Config, NetworkConfig
from pifa_model.network import Network

FORMAT = "pifa-checkpoint"
FORMAT_VERSION = 2

MAX_HEADER_BYTES = 8 * 2**20
"""Real headers have some ten kilobytes. safetensors takes 100 million bytes, and twelve times that memory for them."""

_TYPES = {torch.float32: "F32", torch.int64: "I64"}
"""safetensors' names of the types that a network's weights and buffers have. Matrices may be stored as F16 too."""


class MorphableReference(BaseModel):
    """Which morphable model a checkpoint needs."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str
    fingerprint: str


class Header(BaseModel):
    """What a checkpoint says of itself."""

    model_config = ConfigDict(extra="allow", frozen=True)

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    pifa_version: str = VERSION
    preset: str
    network: NetworkConfig
    config: Config
    scheme: str
    landmark_kind: Literal["2d", "3d"]
    input_size: Annotated[int, Field(ge=32, le=1024)]
    boxes: Literal["tight", "dataset", "detector"]
    grow: Annotated[float, Field(gt=0, le=10)]
    morphable: MorphableReference
    training: dict[str, Any] = {}
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: its header and its network in evaluation mode."""

    header: Header
    network: Network
    model: MorphableModel


def save_checkpoint(path: Path, header: Header, network: Network) -> None:
    """Write a checkpoint; a reader sees the old file or the new one, never half.

    Raises:
        CheckpointError: no space or no right to write.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    temporary = path.with_name(f".{path.name}.partial")
    try:
        _write(temporary, header, tensors)
        temporary.replace(path)
    except (SafetensorError, OSError) as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: can't be written ({error}); the one before is kept") from error


def check_beside(path: Path, out: Path) -> None:
    """Check that a checkpoint's copy can be loaded from ``out``: the morphable model beside it, if any, is the one that
    the checkpoint needs.

    Raises:
        CheckpointError: not a checkpoint; another morphable model beside ``out``, or a damaged one.
    """
    beside = out.parent / "morphable.safetensors"
    if beside.exists() and not _is_of(beside, read_header(path)):
        raise CheckpointError(f"{beside}: is of another checkpoint; write {out.name} to another folder")


def _is_of(model: Path, header: Header) -> bool:
    try:
        return MorphableModel.load(model).fingerprint == header.morphable.fingerprint
    except PifaError:
        return False


def save_calibrated(path: Path, out: Path, calibration: Calibration) -> None:
    """Write a copy of a checkpoint's file whose header has a calibration, with the morphable model beside it, if any.

    Raises:
        CheckpointError: not a checkpoint; no space or no right to write; another morphable model beside ``out``.
    """
    check_beside(path, out)
    header = read_header(path).model_copy(update={"calibration": calibration})
    temporary = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, header, load_file(path))
        copy_model(path, out)
        temporary.replace(out)
    except (SafetensorError, OSError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CheckpointError(f"{out}: can't be written ({error})") from error


def write_half(path: Path, out: Path) -> None:
    """Write a copy of a checkpoint's file whose matrices are in float16.

    P⁰, the size of P's updates, biases and the statistics of batch norm stay as they are: they are few, and a
    translation of 57 pixels would be cut to 1/32 pixel.

    Raises:
        CheckpointError: not a checkpoint, or a weight that float16 can't hold.
        OSError, SafetensorError: no space or no right to write.
    """
    header, tensors = read_header(path), load_file(path)
    for name, tensor in tensors.items():
        if tensor.ndim > 1 and tensor.dtype == torch.float32:
            tensors[name] = tensor.half()
            if not torch.isfinite(tensors[name]).all():
                raise CheckpointError(f"{path}: {name}: has a weight that float16 can't hold; leave it in float32")
    _write(out, header, tensors)


def _write(out: Path, header: Header, tensors: dict[str, torch.Tensor]) -> None:
    text = json.dumps(header.model_dump(mode="json"), allow_nan=False, sort_keys=True)
    save_file(tensors, out, metadata={"pifa": text})


def copy_model(path: Path, out: Path) -> None:
    """Copy the morphable model beside a checkpoint, if it is the checkpoint's, to beside ``out``, if there is none.

    Raises:
        OSError: no space or no right to write.
    """
    model, beside = path.parent / "morphable.safetensors", out.parent / "morphable.safetensors"
    if not model.is_file() or beside.exists() or not _is_of(model, read_header(path)):
        return
    temporary = beside.with_name(f".{beside.name}.partial")
    try:
        shutil.copyfile(model, temporary)
        temporary.replace(beside)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def people_of(header: Header, key: str) -> set[str]:
    """``train_subjects`` or ``val_subjects`` of a checkpoint; a header from elsewhere may hold anything there.

    Raises:
        CheckpointError: no list of names.
    """
    found = header.training.get(key, [])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise CheckpointError(f"header key training.{key}: expected a list of names")
    return set(found)


def read_header(path: Path) -> Header:
    """The header of a checkpoint's file.

    Raises:
        CheckpointError: missing, not a checkpoint, of another format version, or with keys missing.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        _check_start(path)
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {}).get("pifa", "null"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a safetensors checkpoint ({_shown(error)})") from error
    return parse_header(document, path)


def parse_header(document: object, path: Path) -> Header:
    """Check a header that was read from ``path``.

    Raises:
        CheckpointError: as ``read_header``.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(f"{path}: a safetensors file, but not a PIFA checkpoint (no {FORMAT} header)")
    if document.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {_shown(document.get('format_version'))}; this program reads {FORMAT_VERSION}"
        )
    try:
        return Header.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path}: header key {_shown(where)}: {_shown(first['msg'])}") from error


def load_checkpoint(path: Path, model: MorphableModel, device: str | torch.device = "cpu") -> Checkpoint:
    """Build the network of a checkpoint, in evaluation mode.

    Args:
        path: the file.
        model: its morphable model.
        device: where the network goes.

    Raises:
        CheckpointError: as ``read_header``; another morphable model or number of coefficients; weights missing,
            unexpected, of another shape or type, or not finite.
    """
    header = read_header(path)
    if model.fingerprint != header.morphable.fingerprint:
        raise CheckpointError(
            f"{path}: expected the morphable model {_shown(header.morphable.name)} with fingerprint "
            f"{_shown(header.morphable.fingerprint[:12])}…, found {model.name} with {model.fingerprint[:12]}…"
        )
    try:
        points = len(get_scheme(header.scheme))
        # Compared on the meta device first: a header that claims a huge network must not take the memory for it.
        with torch.device("meta"):
            expected = Network(header.network, model, header.input_size, points).state_dict()
    except PifaError as error:
        raise CheckpointError(f"{path}: {_shown(error)}") from error
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # what torch makes of absurd sizes
        raise CheckpointError(f"{path}: header describes a network that can't be built ({_shown(error)})") from error
    with safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        _check_described(path, slices, expected, model)
        found = {name: file.get_tensor(name) for name in slices}
    for name, tensor in found.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name}: holds numbers that are not finite")
    network = Network(header.network, model, header.input_size, points)
    network.load_state_dict(found)
    return Checkpoint(header, network.to(device).eval(), model)


def _check_described(
    path: Path, found: dict[str, Any], expected: dict[str, torch.Tensor], model: MorphableModel
) -> None:
    """Compare what a file's header says of its tensors with a network's, before any is read.

    Raises:
        CheckpointError: weights missing, unexpected, of another shape or type.
    """
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        # Weights had other names before blocks could be of several kinds; their networks can't be told apart otherwise.
        cure = "; a network of another version of this program is to be trained anew" if missing and extra else ""
        raise CheckpointError(f"{path}: weights missing: {_few(missing)}; unexpected: {_few(extra)}{cure}")
    shapes = {name: tuple(described.get_shape()) for name, described in found.items()}
    if shapes["initial"] != tuple(expected["initial"].shape):
        raise CheckpointError(
            f"{path}: expected P of {len(expected['initial'])} numbers, 8 and the {model.n_coefficients} coefficients "
            f"of {model.name}, found {shapes['initial']}; the file was changed or put together from two"
        )
    for name, tensor in expected.items():
        kinds = [_TYPES[tensor.dtype]] + ["F16"] * (tensor.ndim > 1 and tensor.is_floating_point())
        if shapes[name] != tuple(tensor.shape):
            raise CheckpointError(f"{path}: {name}: expected shape {tuple(tensor.shape)}, found {shapes[name]}")
        if found[name].get_dtype() not in kinds:
            wanted = " or ".join(kinds)
            raise CheckpointError(f"{path}: {name}: expected numbers of type {wanted}, found {found[name].get_dtype()}")


def _check_start(path: Path) -> None:
    """Refuse headers that safetensors takes: of any size, and with two tensors of one name."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > MAX_HEADER_BYTES:
            raise SafetensorError(f"a header of more than {MAX_HEADER_BYTES} bytes")
        json.loads(file.read(size), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) != len(document := dict(pairs)):
        raise ValueError("a key stands there twice")
    return document


def _shown(text: object) -> str:
    """What a file says, as a line that a terminal can show."""
    return "".join(c if c.isprintable() else "?" for c in str(text))[:200]


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{[_shown(name) for name in names[:3]]}{more}" if names else "none"
