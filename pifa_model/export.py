"""A checkpoint as one ONNX file: the whole network with its visualization layer and landmarks, for any batch.

``docs/export.md`` describes the file. It is written only if it gives the landmarks that PyTorch gives. So is a copy of
the checkpoint with weights in float16.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from pifa_data.camera import camera, project, rotation
from pifa_data.drawing import draw_mesh
from pifa_data.errors import CheckpointError
from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import Checkpoint, check_beside, copy_model, load_checkpoint, write_half
from pifa_model.engine import Engine, TorchEngine
from pifa_model.onnx_engine import FORMAT_VERSION, MAX_BYTES, OnnxEngine, package
from pifa_model.onnx_graph import Graph
from pifa_model.onnx_landmarks import add_landmarks
from pifa_model.onnx_network import add_network

TOLERANCE = 0.05
"""Crop pixels that a landmark may differ by; a file that is further off is not written."""

HALF_TOLERANCE = 0.1
"""Crop pixels that the landmarks of weights in float16 may differ by on average. A single point of the jaw may jump by
a pixel, where two vertices are nearly as far out."""

TIES = 0.01
"""Share of the points whose visibility may be another: those that look neither to the viewer nor away."""

FACES = 12
"""Faces that are drawn to check a file."""


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: it.
        bytes: its size.
        faces: how many crops it was checked with.
        largest: largest difference of a landmark from the checkpoint's, crop pixels, at any stage and of both kinds.
        mean: mean difference after the last block.
    """

    path: Path
    bytes: int
    faces: int
    largest: float
    mean: float


def export(checkpoint: Checkpoint, path: Path, *, crops: np.ndarray | None = None, overwrite: bool = False) -> Exported:
    """Write a checkpoint as an ONNX file; a reader sees the whole file or none.

    Args:
        checkpoint: network and morphable model.
        path: the file.
        crops: ``(N, S, S, 3)`` uint8 RGB faces to check it with, by default some that are drawn (``drawn_faces``).
        overwrite: replace an existing file.

    Raises:
        CheckpointError: the file is not called ``.onnx``, exists or can't be written; what it gives differs from
            PyTorch's (``TOLERANCE``, ``TIES``); a network of more than ``MAX_BYTES``.
        ConfigError: onnx or onnxruntime is not installed.
    """
    if path.suffix != ".onnx":
        raise CheckpointError(
            f"{path}: expected a name that ends in .onnx, by which such a file is known; give another"
        )
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path}: exists; give another name, or --overwrite to replace it")
    for name in ("onnx", "onnxruntime"):
        package(name, path)
    engine = TorchEngine(checkpoint)
    if crops is None:
        crops = drawn_faces(checkpoint.model, engine.header.input_size, FACES)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in checkpoint.network.state_dict().values())
    if weights > MAX_BYTES:
        raise CheckpointError(f"{path}: weights of {weights} bytes; an ONNX file holds {MAX_BYTES} at most")
    data = graph_of(engine)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_bytes(data)
        found = differences(engine, OnnxEngine(temporary, checkpoint.model), crops)
        if fault := found.fault():
            raise CheckpointError(f"{path}: not written: {fault}, on {len(crops)} faces")
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be written ({error.strerror or error})") from error
    except CheckpointError as error:  # about the file that nobody has heard of
        raise CheckpointError(str(error).replace(str(temporary), str(path))) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(path, len(data), len(crops), found.landmarks, found.mean)


def export_half(
    checkpoint: Checkpoint, file: Path, path: Path, *, crops: np.ndarray | None = None, overwrite: bool = False
) -> Exported:
    """Write a checkpoint's weights in float16, half as large; they are computed with in float32 (``write_half``).

    Args:
        checkpoint: network and morphable model.
        file: where it was read.
        path: the new file.
        crops, overwrite: as of ``export``.

    Raises:
        CheckpointError: as ``write_half``; the file exists or can't be written, its landmarks differ from the
            checkpoint's, or another morphable model is beside it.
    """
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path}: exists; give another name, or --overwrite to replace it")
    if path.resolve() == file.resolve():
        raise CheckpointError(f"{path}: is the checkpoint itself; give another name")
    check_beside(file, path)
    engine = TorchEngine(checkpoint)
    if crops is None:
        crops = drawn_faces(checkpoint.model, engine.header.input_size, FACES)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_half(file, temporary)
        found = differences(engine, TorchEngine(load_checkpoint(temporary, checkpoint.model)), crops)
        if not found.mean < HALF_TOLERANCE:
            raise CheckpointError(
                f"{path}: not written: its landmarks differ from the checkpoint's by {found.mean:.3g} crop pixels on "
                f"average of {len(crops)} faces, expected less than {HALF_TOLERANCE}"
            )
        copy_model(file, path)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: can't be written ({getattr(error, 'strerror', None) or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return Exported(path, path.stat().st_size, len(crops), found.landmarks, found.mean)


def graph_of(engine: TorchEngine) -> bytes:
    """The bytes of an engine's ONNX file.

    Raises:
        ConfigError: onnx is not installed.
    """
    graph, header, network = Graph(), engine.header, engine.network
    size, points = header.input_size, len(engine.landmarks._fixed)
    images = graph.input("images", np.uint8, ("N", size, size, 3))
    marching = graph.input("marching", np.bool_, ("N",))
    batch = graph.add("Shape", images, start=0, end=1)
    stages, spread = add_network(graph, network, images, batch)
    params, landmarks, visibility = add_landmarks(graph, engine.landmarks, stages, marching)
    graph.output(params, "params", np.float32, (len(stages), "N", len(network.initial)))
    graph.output(landmarks, "landmarks", np.float32, (len(stages), "N", points, 2))
    graph.output(visibility, "visibility", np.bool_, ("N", points))
    if spread is not None:
        graph.output(spread, "spread", np.float32, ("N", points))
    text = json.dumps(header.model_dump(mode="json"), allow_nan=False, sort_keys=True)
    about = {"pifa": text, "pifa_export": str(FORMAT_VERSION), "morphable": header.morphable.fingerprint}
    return bytes(graph.model("pifa", about).SerializeToString())


@dataclass(frozen=True)
class Differences:
    """How far the second engine's results of the same crops are from the first's.

    Attributes:
        landmarks: largest distance of a landmark, crop pixels; infinite where a coordinate is no finite number.
        visibility: share of the points whose visibility is another.
        expected: largest difference of a face's expected error, as a part of that error; 0 where neither tells any.
        mean: mean distance of the landmarks of the last block, crop pixels.
    """

    landmarks: float = 0.0
    visibility: float = 0.0
    expected: float = 0.0
    mean: float = 0.0

    def fault(self) -> str:
        """Why such results are not the same; empty where they are."""
        if not self.landmarks < TOLERANCE:
            far = f"its landmarks differ from PyTorch's by up to {self.landmarks:.3g} crop pixels"
            return f"{far}, expected less than {TOLERANCE}"
        if not self.visibility <= TIES:
            other = f"{100 * self.visibility:.3g} % of its points have another visibility than PyTorch's"
            return f"{other}, expected at most {100 * TIES:g} %"
        if not self.expected < TOLERANCE:
            return f"the errors that it expects differ from PyTorch's by up to {100 * self.expected:.3g} %"
        return ""


def differences(first: Engine, second: Engine, crops: np.ndarray) -> Differences:
    """How far apart two engines are on the same crops, as ``2d`` and as ``3d``."""
    worst = Differences()
    for kind in ("2d", "3d"):
        kinds = [kind] * len(crops)
        wanted = first.align_crops(crops, kinds)
        try:
            found = second.align_crops(crops, kinds)
        except CheckpointError:
            return Differences(landmarks=float("inf"), mean=float("inf"))
        # Where both are NaN the network has no such estimate.
        none = np.isnan(wanted.expected) & np.isnan(found.expected)
        apart = np.where(none, 0, np.abs(found.expected / wanted.expected - 1))
        far = np.linalg.norm(found.landmarks - wanted.landmarks, axis=-1)
        worst = Differences(
            max(worst.landmarks, _largest(far)),
            max(worst.visibility, _largest((found.visibility != wanted.visibility).mean())),
            max(worst.expected, _largest(apart)),
            max(worst.mean, _largest(far[-1].mean())),
        )
    return worst


def _largest(values: np.ndarray) -> float:
    """Infinite where one is no finite number, which no comparison would tell."""
    return float(np.max(values, initial=0)) if np.isfinite(values).all() else float("inf")


def drawn_faces(model: MorphableModel, size: int, count: int, seed: int = 0) -> np.ndarray:
    """Faces of a morphable model, shaded, in colours and poses of their own, on noise.

    Returns:
        ``(count, size, size, 3)`` uint8 RGB.
    """
    random = np.random.default_rng(seed)
    crops = []
    for number in range(count):
        p = random.standard_normal(model.n_coefficients) * 0.7
        vertices = model.mean + np.tensordot(p.astype(np.float32), model.modes, 1)
        yaw = np.radians(np.linspace(-85, 85, count)[number])
        turn = rotation(yaw, *np.radians(random.normal(0, 10, 2)))
        scale = size * random.uniform(0.55, 0.8) / np.ptp(model.mean[:, 1])
        middle = vertices.mean(0) @ turn[:2].T * scale * [1, -1]
        m = camera(np.array(scale), turn, size / 2 + random.normal(0, size / 30, 2) - middle)
        depth = -(vertices @ turn[2]) * scale
        ground = random.integers(0, 255, (size, size, 3)).astype(np.uint8)
        colour = random.uniform(0.3, 1.0, 3)
        face = draw_mesh(ground, project(vertices, m), depth, model.triangles, opacity=1.0)
        crops.append((face * colour).astype(np.uint8))
    return np.stack(crops)
