"""The page of ``pifa report`` and ``pifa eval --report``: numbers, foreign text, what is missing or refused."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import good, pifa
from html_page import HOSTILE, Page, whole_page

from pifa_data.errors import PifaError
from pifa_model.bootstrap import Interval
from pipelines.eval_text import as_text
from pipelines.evaluate import Evaluation, evaluate
from pipelines.report import MOST, run_report
from pipelines.report_documents import EvalDocument
from pipelines.report_entries import Entry, ReportError, difference, of_evaluation, read_entries
from pipelines.report_pictures import choose, draw_strip
from pipelines.report_tables import rows_of, settings_that_differ

FILE = "<img src=x onerror=alert(2)>\"'&amp;{{ 7 * 7 }}.jpg"
"""A hostile name that a file can have."""

OLD = {
    **{"faces": 6, "normaliser": "tight", "nme": 4.25, "nme_per_block": [9.5, 4.25], "nme_initial": 20.0},
    **{"nme_interocular": None, "failure_rate_8": None, "auc_8": None, "mape": 3.0, "visibility_accuracy": None},
    **{"nme_by_yaw": {"0-30": 4.0, "30-60": None, "60-90": None}, "ms_per_face": 5.0},
}
"""What ``pifa eval --json`` wrote before it wrote more."""


@pytest.fixture(scope="module")
def measured(small_run: Path, small_store: Path) -> Evaluation:
    return evaluate(str(small_run), str(small_store), subset="val", one_crop=True, device="cpu")


@pytest.fixture(scope="module")
def hostile_faces(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six of the synthetic faces, one of a hostile name, and one that is no picture."""
    folder = tmp_path_factory.mktemp("hostile") / "faces"
    (folder / "images").mkdir(parents=True)
    lines = (synthetic / "faces" / "keypoints.csv").read_text().splitlines()
    kept = lines[:1]
    for number, line in enumerate(lines[1:7]):
        name, *cells = line.split(",")
        new = FILE if number == 0 else name
        shutil.copyfile(synthetic / "faces" / "images" / name, folder / "images" / new)
        kept.append(",".join(['"' + new.replace('"', '""') + '"', *cells]))
    (folder / "images" / "text.jpg").write_text("this is text")
    kept.append(",".join(["text.jpg", *lines[1].split(",")[1:]]))
    (folder / "keypoints.csv").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return folder


def test_a_run_is_measured_as_its_training_did(measured: Evaluation, small_run: Path) -> None:
    """The number on the page is the smallest of the learning curve."""
    with (small_run / "metrics.csv").open() as file:
        best = min(float(row["val_nme_block6"]) for row in csv.DictReader(file))
    assert measured.values["nme"] == pytest.approx(best, abs=2e-3)
    assert (measured.values["faces"], measured.values["crops"]) == (6, 6)


def test_the_json_is_small_and_a_page_understands_it(measured: Evaluation) -> None:
    text = json.dumps(measured.values, allow_nan=False)
    assert len(text) < 30_000
    numbers = EvalDocument.model_validate_json(text)
    assert numbers.nme == measured.values["nme"]
    assert numbers.nme_interval is not None
    assert numbers.nme_interval.people == 2
    assert numbers.nme_interval.low <= numbers.nme <= numbers.nme_interval.high
    assert numbers.curve["tight"] is not None
    assert numbers.curve["tight"][-1] == pytest.approx(measured.measurement.errors[-1].max(), abs=1e-4)
    ends = measured.values["worst_faces"]
    assert ends == measured.values["best_faces"][::-1]
    assert sorted(face["nme"] for face in ends) == pytest.approx(sorted(measured.measurement.errors[-1]), abs=1e-4)
    assert set(numbers.nme_by_group) == {"jaw", "brows", "nose", "eyes", "mouth"}
    assert {name: len(blocks) for name, blocks in numbers.nme_per_block_by_yaw.items()} == dict.fromkeys(
        ("0-30", "30-60", "60-90"), 6
    )
    assert sum(numbers.crops_by_yaw.values()) == 6


def test_the_text_has_what_one_looks_for(measured: Evaluation) -> None:
    values = measured.values | {
        **{"nme": 4.125, "nme_interval": {"low": 3.5, "high": 5.0, "people": 2}, "nme_per_block": [9.0, 4.125]},
        **{"nme_interocular_68": 7.25, "failure_rate_8_68": 0.25, "auc_8_68": 0.5, "visibility_accuracy": 0.875},
        **{"nme_initial": 20.0, "crops": 1234, "nme_per_block_by_yaw": {"0-30": [9.0, 4.0], "30-60": [None, None]}},
        **{"crops_by_yaw": {"0-30": 1234, "30-60": 0}},
        **{"skipped": 7, "skipped_faces": [{"face": f"{i}.jpg", "reason": "no picture"} for i in range(7)]},
    }
    lines = as_text(values, "a note").splitlines()
    assert lines[0] == "tiny on S.zarr: a note"
    for line in (
        "NME           4.12 % of the tight box, 95 % [3.50, 5.00] over 2 people",
        "interocular   7.25 %, above 8 %: 25.0 % of the faces, AUC 0.500",
        "visibility    87.5 % of the points right",
        "NME, %               P⁰  block 1  block 2",
        "all               20.00     9.00     4.12   1,234 crops",
        "|yaw| 0-30°                 9.00     4.00   1,234",
        "skipped 4.jpg: no picture",
        "… and 2 more skipped; --json lists them",
    ):
        assert line in lines, line
    assert not any("30-60" in line for line in lines)
    few = values | {"nme_interocular_51": None, "nme_interocular": 6.5, "failure_rate_8": 0.5, "auc_8": 0.25}
    text = as_text(few, "")
    assert "interocular   6.50 %, above 8 %: 50.0 % of the faces, AUC 0.250" in text
    assert "51 points" not in text


def test_page_of_a_run(small_run: Path, tmp_path: Path) -> None:
    result = good("report", small_run, "--out", tmp_path / "run.html")
    assert result.stdout == f"{tmp_path / 'run.html'}\n"
    page = whole_page((tmp_path / "run.html").read_text(encoding="utf-8"), hostile=False)
    for part in ("tiny:", "6 faces held out", "over 2 people", "Block by block", "Best and worst", "Training"):
        assert part in page.text, part
    assert "optimizer.learning_rate" in page.text
    # Every strip has the labels, P⁰ and six blocks; three faces are drawn twice as ends, with picture and mesh.
    strips = page.attributes.count(("class", "strip"))
    assert 2 <= strips <= 4
    assert page.tags.count("image") == 8 * strips + 6
    assert (tmp_path / "run.html").stat().st_size < 3e6


def test_page_of_an_evaluation_with_hostile_names(small_run: Path, hostile_faces: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "<b>run&{{ 7 * 7 }}"))
    out = tmp_path / "a.html"
    arguments = ("eval", run, f"keypoints-csv:{hostile_faces}", "--subset", "all", "--report", out)
    result = good(*arguments)
    assert "<b>run&{{ 7 * 7 }} on faces: 7 of 7 faces" in result.stdout
    assert "skipped text.jpg" in result.stdout
    page = whole_page(out.read_text(encoding="utf-8"), hostile=False)
    assert "<b>run&{{ 7 * 7 }}: " in page.text
    assert FILE in page.text
    assert "1 faces skipped" in page.text
    again = pifa(*arguments)
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    good(*arguments, "--overwrite")
    (tmp_path / "labels.csv").write_text("a,b\n")
    refused = pifa(*arguments[:-1], tmp_path / "labels.csv", "--overwrite")
    assert "is not an HTML page" in refused.output


def test_foreign_files_are_shown_as_text(small_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    document = json.loads((run / "config.json").read_text())
    document["config"]["preset"] = HOSTILE
    document["stores"][0]["path"] = f"/{HOSTILE}"
    (run / "config.json").write_text(json.dumps(document))
    (run / "metrics.csv").write_text(f"step,train_loss,val_nme_block1\n1,{HOSTILE},3\n2,nan,\n3,0.5,2,9,9\n")
    network = {"name": HOSTILE[:20], "preset": HOSTILE.replace("\u202e", ""), "config": {"a<b>": ["<i>"]}}
    values = OLD | {"source": HOSTILE.replace("\u202e", ""), "network": network, "nme_by_group": {"$\\frac_<b>": 2.0}}
    (tmp_path / "_$x$<b>漢.json").write_text(json.dumps(values))
    run_report([run, tmp_path / "_$x$<b>漢.json"], tmp_path / "a.html")
    page = whole_page((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert "_$x$<b>漢" in page.text
    assert "not measured" in page.text


def test_old_evaluations_are_shown_with_what_they_have(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(OLD))
    entries = run_report([path], tmp_path / "a.html")
    assert [note.split(":")[0] for note in entries[0].notes] == [
        "Only its numbers are here",
        "An older version of pifa wrote it, with fewer numbers than today's.",
    ]
    page = whole_page((tmp_path / "a.html").read_text(encoding="utf-8"), hostile=False)
    assert "old: 4.25 % NME" in page.text
    assert "9.50 4.25" in page.text  # the table of blocks
    assert "Best and worst" not in page.text


@pytest.mark.parametrize(
    "change",
    [
        {"nme_per_block": [0.0, 0.0], "nme_initial": 0.0, "curve": {"tight": [0.0, 0.0]}, "nme_by_group": {"jaw": 0.0}},
        {"nme_per_block": [None, None], "nme_by_yaw": {"0-30": None}, "nme_per_block_by_yaw": {"x": [1.0]}},
        {"curve": {"<b>": [1.0, 2.0], "interocular_51": [5.0, 1.0]}, "normaliser": "<i>", "visibility_confusion": {}},
        {"visibility_confusion": {"visible": {}, "q": {"hidden": 3}}, "network": {"config": {"network": 5}}},
    ],
)
def test_odd_numbers_are_drawn_all_the_same(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "odd.json").write_text(json.dumps(OLD | change))
    run_report([tmp_path / "odd.json"], tmp_path / "a.html")
    page = whole_page((tmp_path / "a.html").read_text(encoding="utf-8"), hostile=False)
    assert "odd: 4.25 % NME" in page.text


def test_a_store_that_is_gone(small_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    document = json.loads((run / "config.json").read_text())
    document["stores"][0]["path"] = str(tmp_path / "gone.zarr")
    (run / "config.json").write_text(json.dumps(document))
    result = good("report", run, "--out", tmp_path / "a.html")
    assert "gone.zarr" in result.stderr
    page = Page((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert "Not measured, so it has no numbers and no pictures here" in page.text
    assert "gone.zarr" in page.text
    assert "Learning curves" in page.text
    assert "optimizer.learning_rate" in page.text
    assert "image" not in page.tags


def test_a_run_with_a_store_of_validation_is_measured_on_it(small_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    document = json.loads((run / "config.json").read_text())
    [store] = document["stores"]
    gone = {"path": str(tmp_path / "gone.zarr"), "digest": "0"}
    (run / "config.json").write_text(json.dumps(document | {"stores": [gone], "val_stores": [store]}))
    [entry] = read_entries([run])
    assert entry.numbers is not None
    assert entry.notes == []


def test_several_stores_are_measured_together(small_run: Path, small_store: Path, measured: Evaluation) -> None:
    """The same store twice: every number but the counts is the same, and every crop can be drawn again."""
    found = evaluate(str(small_run), [str(small_store)] * 2, subset="val", one_crop=True, device="cpu")
    once, twice = measured.values, found.values
    assert (twice["faces"], twice["crops"], twice["source"]) == (12, 12, "S.zarr and S.zarr")
    for key in ("nme", "nme_per_block", "mape", "nme_by_group"):
        assert twice[key] == pytest.approx(once[key]), key
    np.testing.assert_array_equal(found.collected.cut[1](), measured.collected.cut[1]())
    np.testing.assert_array_equal(found.collected.cut[7](), measured.collected.cut[1]())


@pytest.mark.parametrize("change", ["digest", "val", "checkpoint", "curve", "store"])
def test_what_a_run_lacks_is_said(small_run: Path, tmp_path: Path, change: str) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    document = json.loads((run / "config.json").read_text())
    if change == "digest":
        document["stores"][0]["digest"] = "0" * 64
    elif change == "val":
        document["split"]["val"] = []
    elif change == "store":
        document["stores"] = 5
    elif change == "checkpoint":
        for name in ("best", "last"):
            (run / f"{name}.safetensors").write_bytes(b"nothing")
    else:
        (run / "metrics.csv").unlink()
    (run / "config.json").write_text(json.dumps(document))
    [entry] = read_entries([run])
    said = {
        "digest": "is another store than the one it was trained with",
        "val": "nobody was held out",
        "store": "does not say which store",
        "checkpoint": "safetensors",
        "curve": "No learning curve",
    }
    assert said[change] in " ".join(entry.notes)
    assert (entry.numbers is None) == (change != "curve")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gone.json", None, "no such run folder or evaluation"),
        ("a.json", "{", "expected a JSON document"),
        ("a.json", '{"faces": 3, "normaliser": "tight", "nme": NaN}', "expected a JSON document"),
        ("a.json", '{"faces": 3}', "nme"),
        ("a.json", '{"faces": 3, "normaliser": "tight", "nme": "4"}', "nme"),
        ("a.json", '{"faces": 3, "normaliser": "tight", "nme": 4, "curve": {"tight": ["a"]}}', "curve"),
        ("a.json", '{"faces": 3, "normaliser": "tight", "nme": 1e300}', "nme"),
        ("a.json", "[1]", "not an evaluation"),
        ("best.safetensors", "x", "--report"),
    ],
)
def test_what_is_no_evaluation(tmp_path: Path, name: str, text: str | None, expected: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    result = pifa("report", tmp_path / name, "--out", tmp_path / "a.html")
    assert result.exit_code == 1
    assert str(tmp_path / name) in result.output
    assert expected in result.output
    assert not (tmp_path / "a.html").exists()


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"without config\.json"):
        read_entries([tmp_path])
    for text, expected in (("{", "no JSON"), ("[]", "another document"), ('{"config": 1}', "another document")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ReportError, match=expected):
            read_entries([tmp_path])
    (tmp_path / "large.json").write_bytes(b" " * (2**22 + 1))
    with pytest.raises(ReportError, match="at most"):
        read_entries([tmp_path / "large.json"])


def test_too_many(tmp_path: Path) -> None:
    with pytest.raises(PifaError, match=f"at most {MOST}"):
        run_report([tmp_path] * (MOST + 1), tmp_path / "a.html")


def test_side_by_side(small_run: Path, tmp_path: Path, measured: Evaluation) -> None:
    """Two runs of one split are compared face by face; what was measured otherwise is not."""
    other = Path(shutil.copytree(small_run, tmp_path / "tiny"))
    document = json.loads((other / "config.json").read_text())
    document["config"]["optimizer"]["learning_rate"] = 0.125
    (other / "config.json").write_text(json.dumps(document))
    (tmp_path / "eval.json").write_text(json.dumps(measured.values | {"normaliser": "interocular"}))
    out = tmp_path / "a.html"
    entries = run_report([small_run, other, tmp_path / "eval.json"], out)
    assert [entry.name for entry in entries] == ["tiny", "tiny (2)", "eval"]
    page = whole_page(out.read_text(encoding="utf-8"), hostile=False)
    assert page.text.count("+0.00") == 3  # the difference to itself and its interval, once
    assert "optimizer.learning_rate" in page.text
    assert "0.125" in page.text
    assert "optimizer.weight_decay" not in page.text  # is the same
    # The first one's faces are drawn of both.
    strips = [word for word in page.words if word.strip() in ("tiny", "tiny (2)")]
    assert strips.count("tiny") == strips.count("tiny (2)")


def entry(name: str, nme: float, digest: str = "a", normaliser: str = "tight", boxes: str = "tight") -> Entry:
    values: dict[str, Any] = {"faces": 3, "normaliser": normaliser, "nme": nme, "faces_digest": digest, "boxes": boxes}
    return Entry(name, "file", EvalDocument.model_validate(values))


def test_differences_stay_within_a_data_set() -> None:
    entries = [
        entry("a", 4.0),
        entry("b", 3.5),
        entry("c", 3.0, digest="b"),
        entry("d", 2.0, normaliser="box"),
        entry("e", 2.5, boxes="jittered"),
        entry("f", 1.0, digest=""),  # an older evaluation does not say which faces
        entry("g", 1.0, digest=""),
        Entry("h", "run"),
        entry("i", 2.75, digest="b"),
    ]
    rows = rows_of(entries)
    assert [row.apart for row in rows] == ["", "−0.50", "", "", "", "", "", "", "−0.25"]
    assert [row.best for row in rows] == [False, True, False, False, False, False, False, False, True]
    assert not any(row.sure for row in rows)


def test_paired_differences(measured: Evaluation) -> None:
    first = of_evaluation(measured)
    errors = measured.measurement.errors.copy()
    errors[-1] += 0.5
    worse = replace(first, evaluation=replace(measured, measurement=replace(measured.measurement, errors=errors)))
    found = difference(worse, first)
    assert isinstance(found, Interval)
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert [row.apart for row in rows_of([first, worse])] == ["", "+0.50"]
    errors[-1] = np.nan
    assert difference(worse, first) is None


def test_settings_that_differ() -> None:
    a, b = {"x": {"y": 1, "z": [1, 2]}, "same": True}, {"x": {"y": 2, "z": [1, 2]}, "same": True, "new": None}
    entries = [Entry("a", "run", config=a), Entry("none", "file"), Entry("b", "run", config=b)]
    assert settings_that_differ(entries) == [("new", ["not there", "–", "–"]), ("x.y", ["1", "–", "2"])]


def test_faces_are_chosen_by_rule(measured: Evaluation) -> None:
    errors, yaw = measured.measurement.errors[-1], measured.measurement.truth.yaw
    found = dict(choose(measured, few=False))
    at = {rule: index for title, index in found.items() for rule in title.split(" and ")}
    assert at["largest error"] == errors.argmax()
    assert yaw.max() > 0 > yaw.min()
    assert at["turned most to the image's left"] == yaw.argmax()
    assert at["turned most to the image's right"] == yaw.argmin()
    # Of faces that all look to one side none is turned to the other.
    truth = replace(measured.measurement.truth, yaw=np.abs(yaw))
    one_sided = choose(replace(measured, measurement=replace(measured.measurement, truth=truth)), few=False)
    assert "turned most to the image's right" not in " ".join(title for title, _ in one_sided)
    assert sorted(errors)[3] == errors[at["median error"]]
    assert len(found.values()) == len(set(found.values()))
    few = [rule for title, _ in choose(measured, few=True) for rule in title.split(" and ")]
    assert few == ["median error", "largest error"]


def test_a_strip_shows_every_block(measured: Evaluation) -> None:
    strip = draw_strip(measured, 2)
    assert [step.title for step in strip.steps] == ["P⁰", *(f"block {i}" for i in range(1, 7))]
    assert [step.nme for step in strip.steps] == pytest.approx(measured.measurement.errors[:, 2].tolist())
    for step in strip.steps:
        assert step.visible.count("M") + step.hidden.count("M") == 68
    assert strip.labels.count("M") == 68
    # The dots are where the landmarks are: back from the drawing to the image.
    first = [float(v) for v in strip.steps[-1].visible[1:].split("h0")[0].split()]
    square = measured.collected.squares[2]
    in_crop = square.to_crop(measured.measurement.predicted[-1, 2])
    distance = np.abs((in_crop + 0.5) * (228 / square.size) - 0.5 - first).max(1)
    assert distance.min() <= 0.51
