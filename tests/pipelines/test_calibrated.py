"""What ``pifa eval`` says of a score, and the page about it."""

import json
from pathlib import Path

import pytest
import torch
from checkpoint_header import header_of
from command_line import good

from pifa_data.morphable import MorphableModel
from pifa_model.calibration import FEATURES, Calibration
from pifa_model.checkpoint import save_checkpoint
from pifa_model.config import load_config
from pifa_model.network import Network
from pipelines.report_charts import draw_charts
from pipelines.report_entries import read_entries

KEYS = ("threshold", "aligned", "brier", "ece", "auc", "curve")


@pytest.fixture
def run(model: MorphableModel, tmp_path: Path) -> Path:
    """A checkpoint that never aligns anything and says of every face that it does with 90 %."""
    config = load_config("small", ("network.hidden=8", "network.visualization.vertices=150"))
    zeros = (0.0,) * len(FEATURES)
    blocks = len(config.network.filters)
    sure = Calibration(threshold=5, blocks=blocks, features=FEATURES, weights=zeros, bias=2.1972246, crops=9, people=3)
    torch.manual_seed(0)
    header = header_of(config, model, preset="small", calibration=sure)
    network = Network(config.network, model)
    save_checkpoint(tmp_path / "last.safetensors", header, network)
    save_checkpoint(tmp_path / "plain.safetensors", header.model_copy(update={"calibration": None}), network)
    model.save(tmp_path / "morphable.safetensors")
    return tmp_path


def test_eval_says_how_true_the_score_is(run: Path, synthetic: Path) -> None:
    source, some = f"keypoints-csv:{synthetic / 'faces'}", ("--limit", 5)
    told = json.loads(good("eval", run, source, *some, "--json").stdout)
    found = {key: told[f"score_{key}"] for key in KEYS}
    assert (found["threshold"], found["aligned"], found["auc"]) == (5.0, 0.0, None)
    assert found["ece"] == pytest.approx(0.9, abs=1e-6)
    assert found["brier"] == pytest.approx(0.81, abs=1e-6)
    assert found["curve"] == [{"score": pytest.approx(0.9), "aligned": 0.0, "crops": 5}]
    assert "off by 0.900 (ECE), Brier 0.810\n" in good("eval", run, source, *some).stdout
    plain = json.loads(good("eval", run / "plain.safetensors", source, *some, "--json").stdout)
    assert [plain[f"score_{key}"] for key in KEYS] == [None] * len(KEYS)
    assert plain["nme"] == told["nme"]
    for name, values in (("told", told), ("plain", plain)):
        (run / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    [chart] = draw_charts(read_entries([run / "told.json", run / "plain.json"]))["score"]
    assert chart.png().startswith(b"\x89PNG")
    assert draw_charts(read_entries([run / "plain.json"]))["score"] == []


def test_align_gives_the_calibrated_score(run: Path, synthetic: Path) -> None:
    image = sorted((synthetic / "faces" / "images").iterdir())[0]
    boxes = run / "boxes.csv"
    boxes.write_text(f"image,x0,y0,x1,y1\n{image.name},20,20,90,90\n", encoding="utf-8")
    told = [
        json.loads(good("align", run / name, image, "--boxes", boxes, "--json").stdout)["faces"][0]["score"]
        for name in ("last.safetensors", "plain.safetensors")
    ]
    assert told[0] == pytest.approx(0.9, abs=1e-4)
    assert told[1] != told[0]
