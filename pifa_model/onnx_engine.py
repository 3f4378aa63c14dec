"""An exported network in ONNX Runtime: the same results as PyTorch's, without it.

A file is hostile until checked: it is read whole and once, has no data in other files, no operations but those that
``export`` writes, and the inputs and outputs that its header tells.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import CheckpointError, ConfigError, PifaError
from pifa_data.morphable import MorphableModel
from pifa_data.schemes import get_scheme
from pifa_model.checkpoint import Header, parse_header
from pifa_model.engine import DISTANCE, check_crops
from pifa_model.results import CropResult

FORMAT_VERSION = 1
"""Of what an exported file holds; files of another are to be exported anew."""

MAX_BYTES = 2**30
"""Largest file; ``compact`` has 18 MB."""

OPERATIONS = frozenset(
    (
        *("Add", "And", "ArgMax", "AveragePool", "Cast", "Clip", "Col2Im", "Concat", "Conv"),
        *("Div", "Equal", "Exp", "Expand", "Flatten", "Gather", "GatherElements", "Gemm", "Greater"),
        *("GridSample", "Identity", "MatMul", "Max", "MaxPool", "Mul", "Or", "Relu", "Reshape"),
        *("Round", "ScatterElements", "Shape", "Slice", "Split", "Sqrt", "Sub", "Transpose", "Where"),
    )
)
"""What ``export`` writes; none holds a graph, reads a file, or runs code."""

_ATTRIBUTES = frozenset({1, 2, 3, 6, 7})
"""AttributeProto's types of numbers and text: FLOAT, INT, STRING, FLOATS, INTS."""

_EXTERNAL = 1
"""TensorProto's data location."""


class OnnxEngine:
    """An exported file, ready to align crops. Threads may share one."""

    def __init__(
        self, path: str | Path, model: MorphableModel | Callable[[str], MorphableModel], threads: int | None = None
    ) -> None:
        """Load a file.

        Args:
            path: the ``.onnx`` file.
            model: the morphable model of the network, or what finds it by its fingerprint. The file itself has what
                aligning needs of it, but no mesh.
            threads: that one call computes with; by default one a core.

        Raises:
            CheckpointError: missing, too large, not an exported network, of another version, with operations that
                ``export`` does not write, or of another morphable model.
            ConfigError: onnx or onnxruntime is not installed.
        """
        path = Path(path)
        data = _read(path)
        self.path, self.header = path, _checked_header(data, path)
        wanted = self.header.morphable.fingerprint
        self.model = model if isinstance(model, MorphableModel) else model(wanted)
        if self.model.fingerprint != wanted:
            raise CheckpointError(
                f"{path}: expected the morphable model with fingerprint {_shown(wanted[:12])}…, found "
                f"{self.model.name} with {self.model.fingerprint[:12]}…"
            )
        self.scheme = self.header.scheme
        self._session = _session(data, path, threads)
        self._outputs = self._checked_outputs()

    def align_crops(self, crops: np.ndarray, kinds: Sequence[str] | None = None) -> CropResult:
        """See ``Engine``."""
        check_crops(crops, self.header.input_size)
        kinds = kinds or [self.header.landmark_kind] * len(crops)
        if not len(crops):
            found = {name: np.zeros(_sized(shape, 0), np.float32) for name, shape in self._outputs.items()}
        else:
            marching = np.array([kind == "2d" for kind in kinds], dtype=np.bool_)
            found = self._run({"images": np.ascontiguousarray(crops), "marching": marching})
        spread = found.get("spread")
        return CropResult(
            params=found["params"],
            landmarks=found["landmarks"],
            visibility=found["visibility"].astype(np.bool_),
            expected=np.full(len(crops), np.nan) if spread is None else DISTANCE * np.exp(spread).mean(1),
        )

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            found = dict(zip(self._outputs, self._session.run(list(self._outputs), inputs), strict=True))
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise CheckpointError(f"{self.path}: ONNX Runtime can't compute it ({_shown(error)})") from error
        for name, shape in self._outputs.items():
            wanted = _sized(shape, len(inputs["images"]))
            if found[name].shape != wanted:
                raise CheckpointError(f"{self.path}: {name}: expected shape {wanted}, found {found[name].shape}")
        if not np.isfinite(found["params"]).all():
            raise CheckpointError(
                f"{self.path}: the checkpoint gives parameters that are not finite; its training went wrong"
            )
        return found

    def _checked_outputs(self) -> dict[str, tuple[int | str, ...]]:
        """Shapes of the outputs, N for any number, after a check of all that goes in and comes out."""
        size, stages = self.header.input_size, len(self.header.network.filters) + 1
        points = len(get_scheme(self.scheme))
        inputs = {"images": ("uint8", ("N", size, size, 3)), "marching": ("bool", ("N",))}
        outputs: dict[str, tuple[str, tuple[int | str, ...]]] = {
            "params": ("float", (stages, "N", 8 + self.model.n_coefficients)),
            "landmarks": ("float", (stages, "N", points, 2)),
            "visibility": ("bool", ("N", points)),
        }
        if self.header.network.uncertainty:
            outputs["spread"] = ("float", ("N", points))
        for kind, wanted, found in (
            ("inputs", inputs, self._session.get_inputs()),
            ("outputs", outputs, self._session.get_outputs()),
        ):
            described = {value.name: (value.type, tuple(value.shape)) for value in found}
            if described != {name: (f"tensor({kind})", shape) for name, (kind, shape) in wanted.items()}:
                raise CheckpointError(
                    f"{self.path}: {kind}: expected {_described(wanted)}, found {_shown(described)}; export it anew"
                )
        return {name: shape for name, (_, shape) in outputs.items()}


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise CheckpointError(f"{path}: more than {MAX_BYTES} bytes, which is no network of this program")
    return data


def _checked_header(data: bytes, path: Path) -> Header:
    onnx = package("onnx", path)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's, of several kinds
        raise CheckpointError(f"{path}: not an ONNX file ({_shown(error)})") from error
    about = {entry.key: entry.value for entry in model.metadata_props}
    if about.get("pifa_export") != str(FORMAT_VERSION):
        found = _shown(about.get("pifa_export", "none"))
        raise CheckpointError(
            f"{path}: expected a network that `pifa export` wrote, version {FORMAT_VERSION}, found version {found}; "
            "export it anew"
        )
    _check_graph(model, path)
    try:
        header = parse_header(json.loads(about.get("pifa", "null")), path)
        get_scheme(header.scheme)
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = error if isinstance(error, PifaError) else "no header"
        raise CheckpointError(f"{path}: not an exported network ({_shown(reason)})") from error
    return header


def _check_graph(model: Any, path: Path) -> None:
    """Refuse what could reach beyond the file: data elsewhere, graphs in nodes, operations of other sets."""
    graph = model.graph
    others = {node.op_type for node in graph.node if node.domain or node.op_type not in OPERATIONS}
    if others or model.functions:
        names = ", ".join(sorted(others)[:3]) or "functions"
        raise CheckpointError(f"{path}: operations that no exported network has: {_shown(names)}")
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    if graph.sparse_initializer or any(attribute.type not in _ATTRIBUTES for attribute in attributes):
        raise CheckpointError(f"{path}: tensors or graphs where no exported network has any")
    if any(tensor.data_location == _EXTERNAL or tensor.external_data for tensor in graph.initializer):
        raise CheckpointError(f"{path}: has its weights in another file, which is not read; export it anew")


def _session(data: bytes, path: Path, threads: int | None) -> Any:
    runtime = package("onnxruntime", path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # what matters comes as an error
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        raise CheckpointError(f"{path}: ONNX Runtime can't load it ({_shown(error)})") from error


def package(name: str, path: Path) -> Any:
    """The module; raises ``ConfigError`` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{path}: needs the package {name}: pip install 'pifa[onnx]'") from error


def _sized(shape: tuple[int | str, ...], count: int) -> tuple[int, ...]:
    """The shape for so many faces."""
    return tuple(count if isinstance(n, str) else n for n in shape)


def _described(wanted: Mapping[str, tuple[str, tuple[int | str, ...]]]) -> str:
    return ", ".join(f"{name} {kind} {shape}" for name, (kind, shape) in wanted.items())


def _shown(text: object) -> str:
    """What a file says, as a line that a terminal can show."""
    return "".join(c if c.isprintable() else "?" for c in str(text))[:200]
