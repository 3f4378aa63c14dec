"""``pifa export``, and checkpoints in ONNX Runtime, as a user meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from pifa_data.errors import CheckpointError, PifaError, StoreError
from pifa_data.store import Store
from pifa_model import Aligner
from pifa_model.checkpoint import load_checkpoint, save_checkpoint, write_half
from pifa_model.store_rows import StoreRows
from pipelines import onnx as onnx_module
from pipelines.commands.export import export
from pipelines.export import run_export
from pipelines.onnx import load_onnx

pytest.importorskip("onnx", reason="needs pip install 'pifa[onnx]'")
pytest.importorskip("onnxruntime", reason="needs pip install 'pifa[onnx]'")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exported(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    run_export(str(small_run), path)
    return path


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


def test_the_command_tells_what_it_wrote(small_run: Path, small_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.onnx"
    done = run(small_run, "--out", out)
    assert done.exit_code == 0, done.output
    assert re.fullmatch(rf"{out}: \d\.\d MB, landmarks within .* pixels of PyTorch's on 12 faces\n", done.stdout)
    assert isinstance(run(small_run, "--out", out).exception, PifaError)
    told = json.loads(run(small_run, "--out", out, "--overwrite", "--faces", small_store, "--json").stdout)
    assert told["path"] == str(out)
    assert told["bytes"] == out.stat().st_size
    assert told["faces"] == 64
    assert told["largest"] < 0.01


def test_weights_in_float16(small_run: Path, small_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "half" / "best.safetensors"
    done = run(small_run, "--out", out, "--faces", small_store)
    assert done.exit_code == 0, done.output
    whole = small_run / "best.safetensors"
    assert out.stat().st_size < 0.7 * whole.stat().st_size
    assert (out.parent / "morphable.safetensors").read_bytes() == (small_run / "morphable.safetensors").read_bytes()
    one, two = Aligner.load(small_run), Aligner.load(out)
    assert two.header == one.header
    crops = StoreRows(Store(small_store)).read_images(np.arange(24))
    for name, tensor in two.engine.network.state_dict().items():
        assert tensor.dtype in (torch.float32, torch.int64), name
    found, expected = two.align_crops(crops), one.align_crops(crops)
    assert np.linalg.norm(found.landmarks[-1] - expected.landmarks[-1], axis=2).mean() < 0.05
    assert re.search(r"MB, landmarks 0?\.?[\de.-]+ pixels from the checkpoint's on average of 64 faces\n", done.stdout)
    assert isinstance(run(small_run, "--out", out).exception, PifaError)  # it is there
    assert isinstance(run(out, "--out", out, "--overwrite").exception, PifaError)  # it is itself
    told = json.loads(run(small_run, "--out", out, "--overwrite", "--json").stdout)
    assert 0 < told["mean"] < told["largest"]
    assert two.header == Aligner.load(out).header


def test_float16_is_for_matrices_alone(small_run: Path, tmp_path: Path) -> None:
    loaded, path = Aligner.load(small_run), tmp_path / "best.safetensors"
    whole = load_file(small_run / "best.safetensors")
    for name in ("initial", "step", "blocks.0.update.0.bias", "blocks.1.features.0.1.running_var"):
        save_file(whole | {name: whole[name].half()}, path, metadata={"pifa": loaded.header.model_dump_json()})
        with pytest.raises(CheckpointError, match=f"{name}: expected numbers of type F32, found F16"):
            load_checkpoint(path, loaded.model)


def test_a_refused_float16_leaves_nothing(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pifa_model.export.HALF_TOLERANCE", 0.0)
    with pytest.raises(CheckpointError, match=r"half\.safetensors: not written: its landmarks differ"):
        run_export(str(small_run), tmp_path / "half.safetensors")
    assert not [*tmp_path.iterdir()]
    (tmp_path / "afile").write_text("")
    with pytest.raises(CheckpointError, match=r"afile/x\.safetensors: can't be written"):
        run_export(str(small_run), tmp_path / "afile" / "x.safetensors")
    (tmp_path / "morphable.safetensors").write_text("of another")
    with pytest.raises(CheckpointError, match=r"is of another checkpoint; write x\.safetensors to another folder"):
        run_export(str(small_run), tmp_path / "x.safetensors")


def test_weights_that_float16_cannot_hold(small_run: Path, tmp_path: Path) -> None:
    loaded = Aligner.load(small_run)
    with torch.no_grad():
        loaded.engine.network.blocks[0].update[0].weight[0, 0] = 1e5
    save_checkpoint(tmp_path / "big.safetensors", loaded.header, loaded.engine.network)
    with pytest.raises(CheckpointError, match=r"blocks\.0\.update\.0\.weight: has a weight that float16 can't hold"):
        write_half(tmp_path / "big.safetensors", tmp_path / "half.safetensors")
    assert not (tmp_path / "half.safetensors").exists()


def test_a_store_of_other_crops_is_refused(small_run: Path, small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a store"):
        run_export(str(small_run), tmp_path / "x.onnx", faces=str(tmp_path))
    assert not (tmp_path / "x.onnx").exists()


def test_an_aligner_of_an_exported_file(small_run: Path, small_store: Path, exported: Path) -> None:
    engine, file = load_onnx(str(exported), morphable=str(small_run / "morphable.safetensors"), threads=1)
    assert file == exported
    crops = Store(str(small_store)).read("images", slice(0, 5))
    expected = Aligner.load(small_run).align_crops(crops)
    found = Aligner(engine).align_crops(crops)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=1e-2)
    assert (found.visibility == expected.visibility).mean() > 0.99
    image = np.random.default_rng(0).integers(0, 255, (90, 80, 3)).astype(np.uint8)
    boxes = [[10, 10, 60, 70], [5, 20, 50, 80]]
    for ours, theirs in zip(Aligner(engine)(image, boxes), Aligner.load(small_run)(image, boxes), strict=True):
        np.testing.assert_allclose(ours.landmarks, theirs.landmarks, atol=1e-2)
        np.testing.assert_allclose(ours.pose, theirs.pose, atol=1e-4)
        assert ours.score == pytest.approx(theirs.score, abs=1e-3)


def test_a_checkpoint_is_exported_once_and_kept(
    small_run: Path, pifa_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pifa.onnx")
    first, file = load_onnx(str(small_run))
    assert file == small_run / "best.safetensors"
    assert first.path.parent == pifa_home / "exported"
    assert "exported for ONNX Runtime" in caplog.text
    monkeypatch.setattr(onnx_module, "export", None)
    assert load_onnx(str(small_run))[0].path == first.path
    first.path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="delete it"):
        load_onnx(str(small_run))
    first.path.unlink()


def test_names_that_mean_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.onnx: can't be read"):
        load_onnx(str(tmp_path / "none.onnx"))


def test_the_documented_program_gives_the_aligners_landmarks(
    small_run: Path, synthetic: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program of docs/export.md, run as it is printed."""
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(import cv2.*?)```", text, re.DOTALL)
    assert "pifa_" not in program
    photo = next((synthetic / "faces" / "images").iterdir())
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "small.onnx").write_bytes(exported.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(program, names)
    image = cv2.imread(str(photo))[:, :, ::-1].copy()
    face = Aligner.load(small_run)(image, [names["box"]])[0]
    np.testing.assert_allclose(names["landmarks"], face.landmarks, atol=0.05)
    assert np.array_equal(names["visible"], face.visibility)
