"""Exported networks: the same numbers as PyTorch's for every variant, and files that are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pifa_data.errors import CheckpointError, ConfigError, ImageError
from pifa_data.morphable import MorphableModel
from pifa_model import export as export_module
from pifa_model.checkpoint import Checkpoint, Header, MorphableReference
from pifa_model.config import Config, LossConfig, NetworkConfig, VisualizationConfig
from pifa_model.engine import TorchEngine
from pifa_model.export import differences, drawn_faces, export, graph_of
from pifa_model.network import Network
from pifa_model.onnx_engine import OnnxEngine
from pifa_model.onnx_graph import Graph
from pifa_model.onnx_layer import Layer

onnx = pytest.importorskip("onnx", reason="needs pip install 'pifa[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install 'pifa[onnx]'")

SIZE = 64
SMALL: dict[str, Any] = {
    "filters": ((4, 4), (6, 5), (4, 4)),
    "kernels": (3, 3, 3),
    **{"hidden": 8, "head": "sample", "anchors": 20, "stride": 4},
    "visualization": VisualizationConfig(vertices=300),
}


def checkpoint(model: MorphableModel, scheme: str = "ibug68", seed: int = 0, **settings: Any) -> Checkpoint:
    """A network of random weights whose blocks move the face by pixels."""
    torch.manual_seed(seed)
    config = NetworkConfig(**{**SMALL, **settings})
    network = Network(config, model, SIZE, points=len(model.landmarks[scheme]))
    network.initial[:8] = torch.tensor([2.4, 0.1, -0.8, 32, -0.2, -2.5, 0.1, 31])
    network.step[:8] = torch.tensor([0.1, 0.1, 0.1, 2, 0.1, 0.1, 0.1, 2])
    for block in network.blocks:
        torch.nn.init.normal_(block.update[-1].weight, std=0.3)
        torch.nn.init.normal_(block.update[-1].bias, std=0.3)
        for module in block.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
                torch.nn.init.uniform_(module.running_var, 0.5, 2)
                torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    blocks = len(config.filters)
    losses = LossConfig(blocks=("landmarks",) * blocks, weights=(1,) * blocks)
    header = Header(
        **{"preset": "test", "network": config, "config": Config(network=config, losses=losses), "scheme": scheme},
        **{"landmark_kind": "2d", "input_size": SIZE, "boxes": "tight", "grow": 1.4},
        morphable=MorphableReference(name=model.name, fingerprint=model.fingerprint),
    )
    return Checkpoint(header, network.eval(), model)


@pytest.fixture(scope="session")
def crops(model: MorphableModel) -> np.ndarray:
    return drawn_faces(model, SIZE, 3)


@pytest.fixture(scope="session")
def exported(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported file. Read it, don't change it."""
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    export(checkpoint(model), path)
    return path


VARIANTS: dict[str, dict[str, Any]] = {
    "as small": {},
    # Here a number 1 and an array of one 1 are constants of one graph.
    "two blocks": {"filters": ((4, 4), (6, 5)), "kernels": (3, 3)},
    "as compact": {"stride": 2, "kernels": (5, 3, 3)},
    "depthwise": {"trunk": "depthwise"},
    "residual": {"trunk": "residual", "stride": 2},
    "residual, pixels as channels": {"trunk": "residual"},
    "flatten": {"head": "flatten"},
    "pool": {"head": "pool", "stride": 2},
    "no map": {"inputs": ("image", "features")},
    "no features": {"inputs": ("map", "image")},
    "no image": {"inputs": ("features", "map")},
    "neither map nor anchors": {"inputs": ("features",), "head": "pool"},
    "rotation": {"camera": "rotation"},
    "spread": {"uncertainty": True},
    "other neighbourhood": {"visualization": VisualizationConfig(vertices=90, radius=1, sigma=0.6, mask="parts")},
    "large neighbourhood": {"visualization": VisualizationConfig(radius=3, sigma=1.7, mask="none")},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_gives_what_pytorch_gives(
    model: MorphableModel, crops: np.ndarray, tmp_path: Path, name: str
) -> None:
    engine = TorchEngine(checkpoint(model, **VARIANTS[name]))
    path = tmp_path / "x.onnx"
    path.write_bytes(graph_of(engine))
    other, kinds = OnnxEngine(path, model, threads=1), ["2d", "3d", "2d"]
    theirs, ours = engine.align_crops(crops, kinds), other.align_crops(crops, kinds)
    assert np.ptp(theirs.landmarks, axis=0).max() > 3  # blocks do move points
    np.testing.assert_allclose(ours.params, theirs.params, atol=1e-3)
    np.testing.assert_allclose(ours.landmarks, theirs.landmarks, atol=1e-3)
    assert np.array_equal(ours.visibility, theirs.visibility)
    np.testing.assert_allclose(ours.expected, theirs.expected, rtol=1e-4)
    assert ours.params.dtype == theirs.params.dtype
    assert ours.visibility.dtype == theirs.visibility.dtype
    # Of any number of faces, and of each as alone.
    alone = other.align_crops(crops[1:2], kinds[1:2])
    np.testing.assert_allclose(alone.landmarks[:, 0], ours.landmarks[:, 1], atol=1e-3)
    assert other.align_crops(crops[:0]).landmarks.shape == (len(theirs.params), 0, 68, 2)


def test_landmarks_without_a_contour(model: MorphableModel, crops: np.ndarray, tmp_path: Path) -> None:
    still = replace(model, contours={})
    engine = TorchEngine(checkpoint(still))
    (tmp_path / "x.onnx").write_bytes(graph_of(engine))
    assert differences(engine, OnnxEngine(tmp_path / "x.onnx", still, 1), crops).landmarks < 1e-3


def test_the_marching_of_each_face_is_its_own(exported: Path, model: MorphableModel, crops: np.ndarray) -> None:
    engine = OnnxEngine(exported, model, 1)
    flat, solid, mixed = (engine.align_crops(crops, kinds) for kinds in (["2d"] * 3, ["3d"] * 3, ["2d", "3d", "3d"]))
    assert np.abs(flat.landmarks - solid.landmarks).max() > 1
    np.testing.assert_allclose(mixed.landmarks[:, 0], flat.landmarks[:, 0], atol=1e-4)
    np.testing.assert_allclose(mixed.landmarks[:, 1:], solid.landmarks[:, 1:], atol=1e-4)
    assert np.array_equal(engine.align_crops(crops).landmarks, flat.landmarks)  # as trained


@pytest.mark.parametrize("radius", [1, 2])
def test_maps_of_any_pose_are_those_of_the_layer(model: MorphableModel, radius: int) -> None:
    """Faces in the middle, over every edge and corner, turned round, beyond the crop, and small."""
    visualization = VisualizationConfig(vertices=400, radius=radius, sigma=0.8)
    network = checkpoint(model, visualization=visualization, stride=2).network
    graph = Graph()
    params = graph.input("params", np.float32, ("N", len(network.initial)))
    layer = Layer(graph, network, graph.add("Shape", params, start=0, end=1))
    v, _ = layer.add(params)
    side = SIZE // 2
    graph.output(v, "v", np.float32, ("N", 1, side, side))
    session = onnxruntime.InferenceSession(graph.model("layer", {}).SerializeToString())

    random = torch.Generator().manual_seed(0)
    faces = network.initial.repeat(40, 1)
    faces[:, 8:] = torch.randn(40, len(network.initial) - 8, generator=random)
    faces[:, :8] += 0.8 * torch.randn(40, 8, generator=random) * torch.tensor([1, 1, 1, 30, 1, 1, 1, 30])
    faces[0, [3, 7]], faces[1, [3, 7]] = torch.tensor([[0.0, 0.0], [63.0, 63.0]])
    faces[2, [3, 7]], faces[3, 3] = torch.tensor([500.0, -500.0]), 1e9
    faces[4, :3] *= -1
    faces[5, [0, 1, 2, 4, 5, 6]] *= 0.02
    expected = network.draw(faces, 1).numpy()
    assert (expected.max((1, 2, 3)) > 0.3).sum() > 30
    found = session.run(None, {"params": faces.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_file_is_checked_before_it_is_written(
    model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.onnx"
    done = export(checkpoint(model), path)
    assert done.bytes == path.stat().st_size
    assert done.faces == 12
    assert 0 < done.largest < 1e-3
    with pytest.raises(CheckpointError, match=r"x\.onnx: exists.*--overwrite"):
        export(checkpoint(model), path)
    before = path.read_bytes()
    wrong = graph_of(TorchEngine(checkpoint(model, seed=1)))
    monkeypatch.setattr(export_module, "graph_of", lambda engine: wrong)
    with pytest.raises(CheckpointError, match=r"not written: its landmarks differ from PyTorch's by up to \d"):
        export(checkpoint(model), path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.onnx"]
    with pytest.raises(CheckpointError, match="can't be written"):
        export(checkpoint(model), tmp_path / "nowhere" / "x.onnx")
    with pytest.raises(CheckpointError, match=r"x\.bin: expected a name that ends in \.onnx"):
        export(checkpoint(model), tmp_path / "x.bin")


class Changed:
    """An engine whose results are others."""

    def __init__(self, engine: TorchEngine, **changes: Callable[[np.ndarray], np.ndarray]) -> None:
        self.engine, self.changes = engine, changes

    def align_crops(self, crops: np.ndarray, kinds: Any = None) -> Any:
        found = self.engine.align_crops(crops, kinds)
        return replace(found, **{name: change(getattr(found, name)) for name, change in self.changes.items()})


def _one_nan(landmarks: np.ndarray) -> np.ndarray:
    landmarks = landmarks.copy()
    landmarks[0, 0, 0, 0] = np.nan
    return landmarks


def _one_other(visibility: np.ndarray) -> np.ndarray:
    visibility = visibility.copy()
    visibility[0, 0] ^= True
    return visibility


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, ""),
        ({"landmarks": _one_nan}, "landmarks differ from PyTorch's by up to inf"),
        ({"landmarks": lambda found: found + 0.06}, "landmarks differ"),
        ({"visibility": _one_other}, ""),  # a tie
        ({"visibility": np.logical_not}, "100 % of its points have another visibility"),
        ({"expected": lambda found: found * 1.2}, "errors that it expects differ from PyTorch's by up to 20 %"),
        ({"expected": lambda found: found * np.nan}, "errors that it expects differ"),
    ],
)
def test_results_that_are_not_pytorchs_are_told(
    model: MorphableModel, crops: np.ndarray, changes: dict[str, Any], fault: str
) -> None:
    engine = TorchEngine(checkpoint(model, uncertainty=True))
    found = differences(engine, Changed(engine, **changes), crops).fault()  # type: ignore[arg-type]
    assert fault in found
    assert bool(fault) == bool(found)


def test_errors_name_the_file_that_was_asked_for(
    model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "graph_of", lambda engine: b"no graph")
    with pytest.raises(CheckpointError) as caught:
        export(checkpoint(model), tmp_path / "x.onnx")
    assert str(caught.value).startswith(f"{tmp_path / 'x.onnx'}: ")
    assert ".partial" not in str(caught.value)


def test_a_graph_that_does_not_fit_is_told_in_one_line() -> None:
    graph = Graph()
    value = graph.input("x", np.float32, (2, 3))
    graph.output(graph.add("MatMul", value, value), "y", np.float32, (2, 3))
    with pytest.raises(CheckpointError, match="no valid ONNX graph") as caught:
        graph.model("wrong", {})
    assert "\n" not in str(caught.value)


def test_drawn_faces_show_faces(model: MorphableModel) -> None:
    faces = drawn_faces(model, SIZE, 4)
    assert np.array_equal(faces, drawn_faces(model, SIZE, 4))
    # The noise around has no smooth parts, the face in the middle has.
    rough = np.abs(np.diff(faces.astype(int), axis=2)).mean(3)
    assert (rough[:, 24:40, 24:40].mean((1, 2)) < rough[:, :8].mean((1, 2)) / 2).all()


def _other_operation(model: Any) -> None:
    model.graph.node[-1].op_type = "Loop"


def _other_domain(model: Any) -> None:
    model.graph.node[-1].domain = "com.example"


def _graph_inside(model: Any) -> None:
    attribute = model.graph.node[-1].attribute.add()
    attribute.name, attribute.type = "body", onnx.AttributeProto.GRAPH


def _elsewhere(model: Any) -> None:
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "/etc/passwd")
    model.graph.initializer[0].ClearField("raw_data")


def _other_version(model: Any) -> None:
    next(entry for entry in model.metadata_props if entry.key == "pifa_export").value = "99"


def _no_header(model: Any) -> None:
    next(entry for entry in model.metadata_props if entry.key == "pifa").value = "{"


def _other_header(model: Any) -> None:
    next(entry for entry in model.metadata_props if entry.key == "pifa").value = '{"format": "pifa-checkpoint"}'


def _other_output(model: Any) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7


def _not_connected(model: Any) -> None:
    del model.graph.node[5]


HOSTILE: list[tuple[Callable[[Any], None], str]] = [
    (_other_operation, "operations that no exported network has: Loop"),
    (_other_domain, "operations that no exported network has"),
    (_graph_inside, "tensors or graphs where"),
    (_elsewhere, "weights in another file"),
    (_other_version, "version 1, found version 99; export it anew"),
    (_no_header, "no header"),
    (_other_header, "format version None"),
    (_other_output, "outputs: expected|can't load"),
    (_not_connected, "can't load"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE, ids=[change.__name__ for change, _ in HOSTILE])
def test_files_of_others_are_refused(
    exported: Path, model: MorphableModel, tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    changed = onnx.load(str(exported))
    change(changed)
    path = tmp_path / "x.onnx"
    path.write_bytes(changed.SerializeToString())
    with pytest.raises(CheckpointError, match=message) as caught:
        OnnxEngine(path, model)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_networks_are_refused(
    exported: Path,
    model: MorphableModel,
    builtin_model: MorphableModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for content in (b"", b"not a network\n" * 9, exported.read_bytes()[:5000]):
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"x\.onnx: (not an ONNX file|expected a network)"):
            OnnxEngine(tmp_path / "x.onnx", model)
    with pytest.raises(CheckpointError, match="can't be read"):
        OnnxEngine(tmp_path / "none.onnx", model)
    with pytest.raises(CheckpointError, match="expected the morphable model with fingerprint"):
        OnnxEngine(exported, builtin_model)
    monkeypatch.setattr("pifa_model.onnx_engine.MAX_BYTES", 1000)
    with pytest.raises(CheckpointError, match="more than 1000 bytes"):
        OnnxEngine(exported, model)


@pytest.fixture(scope="module")
def builtin_model() -> MorphableModel:
    from pifa_data.morphable import load_builtin

    return load_builtin()


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_an_update_that_is_not_finite(
    exported: Path, model: MorphableModel, crops: np.ndarray, tmp_path: Path, number: float
) -> None:
    changed = onnx.load(str(exported))
    count = 8 + model.n_coefficients
    biases = [t for t in changed.graph.initializer if list(t.dims) == [count] and t.data_type == onnx.TensorProto.FLOAT]
    assert len(biases) == 3  # of each block
    biases[0].CopyFrom(onnx.numpy_helper.from_array(np.full(biases[0].dims, number, np.float32), biases[0].name))
    (tmp_path / "x.onnx").write_bytes(changed.SerializeToString())
    with pytest.raises(CheckpointError, match=r"not finite|can't compute"):
        OnnxEngine(tmp_path / "x.onnx", model).align_crops(crops)


def test_other_crops_are_refused(exported: Path, model: MorphableModel, crops: np.ndarray) -> None:
    engine = OnnxEngine(exported, lambda fingerprint: model)
    for bad in (crops[0], crops[:, :-1], crops.astype(np.float32), crops.transpose(0, 3, 1, 2)):
        with pytest.raises(ImageError):
            engine.align_crops(bad)


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_without_the_packages_the_error_names_the_cure(
    exported: Path, model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"{name}: pip install 'pifa\[onnx\]'"):
        OnnxEngine(exported, model)
    with pytest.raises(ConfigError, match=rf"{name}: pip install 'pifa\[onnx\]'"):
        export(checkpoint(model), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
