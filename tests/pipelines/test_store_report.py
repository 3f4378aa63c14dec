"""The page of ``pifa store report``: its numbers are the store's, foreign text is text, and damage is named."""

import base64
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import good, pifa
from html_page import HOSTILE, Page, whole_page

from pifa_data.build import PrepConfig
from pifa_data.faces import Skipped
from pifa_data.store import Store, locate, set_attributes
from pipelines import store_reader
from pipelines.prep import run_prep
from pipelines.store_crops import draw_heat, sample_crops
from pipelines.store_reader import StoreReader, even_of
from pipelines.store_report import run_store_report
from pipelines.store_summary import GROUPS, by_name, by_yaw, list_skipped, measure, summarise
from pipelines.store_table import read_faces
from pipelines.store_tiles import WORST, choose, draw_copies

FILE = "<img src=x onerror=alert(2)>\"'&amp;{{ 7 * 7 }}.jpg"
"""A hostile name that a file can have."""

CONFIG = PrepConfig(copies=3, size=32, shard_faces=8)


@pytest.fixture(scope="module")
def store(synthetic: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shards of 8 faces, 3 copies each: 25 good faces, one of them of a hostile name, and four that failed."""
    folder = tmp_path_factory.mktemp("store-report")
    faces = Path(shutil.copytree(synthetic / "faces", folder / "faces"))
    table, images = faces / "keypoints.csv", faces / "images"
    lines = table.read_text().splitlines()
    cells = lines[1].split(",")
    shutil.copyfile(images / cells[0], images / FILE)
    for name in (FILE, f"{HOSTILE}.jpg", "none.jpg"):
        lines.append(",".join(['"' + name.replace('"', '""') + '"', *cells[1:]]))
    (images / "text.jpg").write_text("this is text")
    lines.append(",".join(["text.jpg", *cells[1:]]))
    lines.append(f"short.jpg,{','.join(cells[1:9])}")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / "S.zarr"
    build(faces, path, synthetic, scheduler, CONFIG)
    return path


def build(faces: Path, store: Path, synthetic: Path, scheduler: str, config: PrepConfig) -> None:
    model = str(synthetic / "model.safetensors")
    run_prep([f"keypoints-csv:{faces}"], store, morphable=model, config=config, scheduler=scheduler)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without charts and with few faces, for what is told in words."""
    monkeypatch.setattr("pipelines.charts._render", lambda *_: b"")
    for name in ("EVEN", "TURNED", "WORST"):
        monkeypatch.setattr(f"pipelines.store_tiles.{name}", 1)


@pytest.fixture
def copied(store: Path, tmp_path: Path) -> Path:
    """The store to be changed."""
    return Path(shutil.copytree(store, tmp_path / "S.zarr"))


def idle(done: int, note: str = "") -> None:
    """Progress that nobody looks at."""


def report(store: Path, folder: Path) -> str:
    run_store_report(store, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def errors_on_top(page: Page) -> dict[str, str]:
    """The fit errors on top of a page, by their titles."""
    found = re.findall(r" (\S+ %) (mean fit|median fit|95th p|worst fit)", page.text)
    return {title: value for value, title in found}


@pytest.mark.usefixtures("quick")
def test_the_page_has_the_numbers_of_the_store(store: Path, tmp_path: Path) -> None:
    page = whole_page(report(store, tmp_path))
    opened = Store(store)
    valid = opened.read("faces/valid")
    nme = opened.read("faces/fit_nme")[valid].astype(np.float64)
    assert (len(valid), valid.sum()) == (28, 25)
    assert errors_on_top(page) == {
        "mean fit": f"{nme.mean():.2f} %",
        "median fit": f"{np.median(nme):.2f} %",
        "95th p": f"{np.percentile(nme, 95):.2f} %",
        "worst fit": f"{nme.max():.2f} %",
    }
    for part in (
        *("75 crops of 25 faces", "25 usable of 28 faces", "75 crops, 3 a face", "4 faces skipped", "4 shards"),
        *("split training", "scheme ibug68", "9 subjects", "jitter shift 0.05", "By yaw of the fit", "Mean crop"),
        *("Fit error over yaw", "Size in the source images", "Jitter of the boxes", "Where the landmarks lie"),
        *("Worst fits", "Turned most to the image's left", "Turned most to the image's right", "At equal distances"),
        *("short.jpg", "text.jpg", "none.jpg", "On disk", "params", opened.attributes["digest"]),
    ):
        assert part in page.text, part
    assert "not finished" not in page.text
    # Each drawn face: labels and fitted points; each copy: labels; four marks are the legend's.
    assert page.tags.count("circle") == 4 * 136 + 3 * 68 + 4
    assert page.tags.count("picture") == 5


def test_the_summary_counts_faces_of_the_table(store: Path) -> None:
    opened = Store(store)
    table = read_faces(opened, range(4), idle)
    valid = np.flatnonzero(opened.read("faces/valid"))
    np.testing.assert_array_equal(table.number, valid)
    np.testing.assert_allclose(table.pose, np.degrees(opened.read("faces/pose")[valid]), rtol=1e-6)
    assert (table.read, table.points.faces, len(table.own)) == (28, 25, 0)
    assert table.points.visibility.sum(0).tolist() == [0, 0, 25 * 68]
    split = Counter(name for name in np.array(opened.text("split"))[valid].tolist() if name)
    assert {name: n for name, n in table.names["split"].items() if name} == split
    assert sorted(row for row in by_name(table) if row[0] == "split") == sorted(("split", *i) for i in split.items())
    people = Counter(np.array(opened.text("subject"))[valid].tolist())
    people.pop("", None)
    assert sorted(table.subjects.tolist()) == sorted(people.values())
    assert sum(row["faces"] for row in by_yaw(table)) == 25
    summary = summarise(table)
    assert (summary.labelled, summary.occluded) == (1.0, 0.0)
    # Shards read one by one, or some of them, are the same faces.
    some = read_faces(opened, [0, 2, 3], idle)
    np.testing.assert_array_equal(some.number, valid[(valid < 8) | (valid >= 16)])
    np.testing.assert_allclose(some.size, table.size[(valid < 8) | (valid >= 16)])


def test_rows_and_pictures_are_those_of_the_face(store: Path) -> None:
    opened = Store(store)
    reader = StoreReader(opened)
    source, copy = opened.read("source"), opened.read("copy")
    table = read_faces(opened, range(4), idle)
    for face in table.number[[0, 9, 24]].tolist():
        rows = reader.rows_of(face)
        assert source[rows].tolist() == [face] * 3
        assert copy[rows].tolist() == [0, 1, 2]
    face = int(table.number[9])
    copies = draw_copies(reader, face, idle)
    assert (copies.name, copies.count, [c.number for c in copies.shown]) == (opened.text("id")[face], 3, [0, 1, 2])
    for drawn, row in zip(copies.shown, reader.rows_of(face), strict=True):
        data = np.frombuffer(base64.b64decode(drawn.photo.split(",", 1)[1]), np.uint8)
        found = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(float)
        assert np.abs(found - opened.array("images")[row]).mean() < 10
        np.testing.assert_allclose([p[:2] for p in drawn.points], opened.array("landmarks")[row], atol=0.06)
    # The unjittered box stands in the middle of its own crop, 1/1.4 as wide where it is a square.
    x, y, width, height = copies.boxes[0]
    assert (x + width / 2, y + height / 2) == pytest.approx((15.5, 15.5), abs=0.1)
    assert np.sqrt(width * height) == pytest.approx(32 / 1.4, abs=0.2)


def test_the_sample_tells_of_the_crops(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 75 crops are few enough to be read, and give what all arrays give."""
    opened = Store(store)
    sample = sample_crops(StoreReader(opened), range(4))
    valid = opened.read("valid")
    assert sample.crops == valid.sum() == 75
    np.testing.assert_allclose(sample.mean, opened.read("images")[valid].mean(0))
    at = opened.read("landmarks")[valid]
    out = ((at < -0.5) | (at > 31.5)).any(2)
    np.testing.assert_array_equal(sample.outside, out.sum(0))
    assert sample.whole == (~out.any(1)).sum()
    assert sample.heat.sum() == (~out).sum()
    y, x = np.unravel_index(sample.heat.argmax(), sample.heat.shape)
    assert np.abs(at - (x, y)).max(2).min() <= 0.5
    jittered = opened.read("copy")[valid] > 0
    plain = opened.read("faces/box")[opened.read("source")[valid]][jittered].astype(np.float64)
    size = np.sqrt((plain[:, 2] - plain[:, 0]) * (plain[:, 3] - plain[:, 1]))
    moved = (opened.read("boxes")[valid][jittered].reshape(-1, 2, 2) - plain.reshape(-1, 2, 2)).mean(1) / size[:, None]
    assert sorted(sample.shift[:, 0]) == pytest.approx(sorted(moved[:, 0]), abs=1e-5)
    assert sample.shift.std() == pytest.approx(0.05, rel=0.3)
    assert sample.scale.mean() == pytest.approx(1, abs=0.03)
    assert draw_heat(sample).shape == (342, 342, 3)
    # Fewer chunks of a larger store: one of each shard.
    monkeypatch.setattr(store_reader, "SAMPLE", 2)
    assert sample_crops(StoreReader(opened), range(4)).crops < 75


def test_the_arrays_are_measured(store: Path) -> None:
    rows = {row["name"]: row for row in measure(Store(store))}
    for name in ("images", "valid"):
        files = [file for file in (store / name).rglob("*") if file.is_file()]
        assert rows[name]["stored"] == sum(file.stat().st_size for file in files)
    assert rows["images"]["raw"] == 84 * 32 * 32 * 3
    crops = sum(row["raw"] for name, row in rows.items() if row["shape"])
    assert rows["everything"]["raw"] == crops + rows["faces/ (19 arrays)"]["raw"]
    files = [file for file in store.rglob("*") if file.is_file()]
    assert rows["everything"]["stored"] == sum(file.stat().st_size for file in files)


def test_skipped_faces_are_grouped_by_reason(store: Path) -> None:
    groups = list_skipped(Store(store).skipped())
    assert sum(group["count"] for group in groups) == 4
    named = {item["face"] for group in groups for item in group["listed"]}
    assert named == {"short.jpg", "text.jpg", "none.jpg", f"{HOSTILE}.jpg"}
    missing = next(group for group in groups if group["count"] == 2)
    assert {item["face"] for item in missing["listed"]} == {"none.jpg", f"{HOSTILE}.jpg"}
    # Damage may give every face a reason of its own.
    groups = list_skipped(Skipped(f"{i}", "no " + "abcdefghij"[i % 10] * (i + 1)) for i in range(2 * GROUPS))
    assert len(groups) == GROUPS + 1
    assert (groups[0]["title"], groups[0]["count"]) == ("other reasons", GROUPS)


@pytest.mark.usefixtures("quick")
def test_foreign_text_in_every_attribute_is_text(copied: Path, tmp_path: Path) -> None:
    config = dict(Store(copied).attributes["config"])
    set_attributes(
        locate(copied),
        {
            "tool": HOSTILE,
            "sources": [HOSTILE],
            "digest": HOSTILE,
            "config": config | {HOSTILE: HOSTILE},
            "selection": {"where": HOSTILE},
        },
    )
    (copied / "skipped.json").write_text(json.dumps([[HOSTILE, HOSTILE]] * 2))
    page = whole_page(report(copied, tmp_path))
    assert page.text.count("<script>alert(1)</script>") >= 7
    assert FILE.replace("&", "&")[:20] in page.text  # the hostile name of a drawn face


@pytest.mark.usefixtures("quick")
def test_an_unfinished_store_has_a_page_of_its_finished_shards(copied: Path, tmp_path: Path) -> None:
    entries = Store(copied).entries
    kept = sorted(entries, key=lambda shard: not entries[shard]["failures"])[:2]  # some that failed are among them
    for shard in entries.keys() - set(kept):
        (copied / "manifest" / f"{shard:06d}.json").unlink()
    set_attributes(locate(copied), {"complete": False, "digest": None})
    page = whole_page(report(copied, tmp_path), hostile=False)
    valid = Store(copied, unfinished=True).read("faces/valid")
    faces = int(sum(valid[shard * 8 : shard * 8 + 8].sum() for shard in kept))
    for part in ("The build is not finished: 2 of 4 shards", "--resume", f"{faces * 3} crops of {faces} faces"):
        assert part in page.text, part
    failures = 1 + sum(len(entries[shard]["failures"]) for shard in kept)
    assert f"{failures} faces skipped" in page.text
    assert "digest" not in page.text


def test_a_store_without_a_face_has_a_page(copied: Path, tmp_path: Path) -> None:
    for file in (copied / "manifest").iterdir():
        file.unlink()
    set_attributes(locate(copied), {"complete": False, "digest": None})
    page = whole_page(report(copied, tmp_path), hostile=False)
    assert "0 crops of 0 faces" in page.text
    assert "0 of 4 shards" in page.text
    assert "short.jpg" in page.text
    assert "picture" not in page.tags


@pytest.mark.usefixtures("quick")
def test_of_a_very_large_store_some_shards_are_read(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.store_report.SHARDS", 2)
    page = whole_page(report(store, tmp_path))
    assert "16 faces of 28 were read" in page.text
    kept = int(Store(store).read("faces/valid")[:16].sum())
    assert f"{kept} faces" in page.text


def test_the_faces_are_chosen_by_a_rule(store: Path) -> None:
    table = read_faces(Store(store), range(4), idle)
    sections = dict(choose(table))
    assert table.nme[sections["Worst fits"]].tolist() == sorted(table.nme.tolist(), reverse=True)[:WORST]
    left, right = (sections[f"Turned most to the image's {side}"] for side in ("left (yaw > 0)", "right (yaw < 0)"))
    assert table.pose[left[0], 0] == table.pose[:, 0].max()
    assert table.pose[right[0], 0] == table.pose[:, 0].min()
    few = read_faces(Store(store), [0], idle)
    ((title, picks),) = choose(few)
    assert title == "All faces"
    assert sorted(picks) == list(range(len(few.number)))


def test_an_even_choice_goes_from_the_first_to_the_last() -> None:
    assert even_of(range(3), 5) == [0, 1, 2]
    assert even_of(range(101), 5) == [0, 25, 50, 75, 100]


@pytest.mark.usefixtures("quick")
def test_damage_is_told(copied: Path, tmp_path: Path) -> None:
    """A file that is cut short is seen at once, and the page is of the other shards; a flipped bit where it is read."""
    (copied / "images" / "c" / "1" / "0" / "0" / "0").write_bytes(b"short")
    page = whole_page(report(copied, tmp_path), hostile=False)
    for part in ("The store is damaged: 3 of 4 shards", "shard 1, images: expected", "pifa store repair"):
        assert part in page.text, part
    file = copied / "faces" / "pose" / "c" / "0" / "0"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    done = pifa("store", "report", copied, "--out", tmp_path / "other.html")
    assert done.exit_code == 1
    assert "faces/pose" in done.output
    assert "pifa store repair" in done.output
    assert not (tmp_path / "other.html").exists()


@pytest.mark.usefixtures("quick")
def test_both_layouts_and_mirrored_copies_have_the_same_page(synthetic: Path, scheduler: str, tmp_path: Path) -> None:
    """Layout ``faces`` has no crops: what is drawn is cut from its pictures, and is what layout ``crops`` stores."""
    readers, pages = {}, {}
    for layout in ("crops", "faces"):
        config = PrepConfig(copies=3, size=32, shard_faces=8, mirror=True, layout=layout)
        build(synthetic / "faces", tmp_path / layout, synthetic, scheduler, config)
        readers[layout] = StoreReader(Store(tmp_path / layout))
        run_store_report(tmp_path / layout, tmp_path / f"{layout}.html")
        pages[layout] = whole_page((tmp_path / f"{layout}.html").read_text(encoding="utf-8"), hostile=False)
    for face in (0, 13):
        rows = readers["crops"].rows_of(face)
        assert readers["faces"].rows_of(face) == rows
        stored, cut = (readers[layout].crops(rows) for layout in ("crops", "faces"))
        assert stored.copy.tolist() == [0, 1, 2, 0, 1, 2]
        assert stored.mirrored.tolist() == [False] * 3 + [True] * 3
        for name in ("params", "landmarks", "visibility", "boxes", "plain", "copy", "mirrored"):
            np.testing.assert_allclose(getattr(cut, name), getattr(stored, name), atol=2e-4)
        assert np.abs(cut.images.astype(int) - stored.images).mean() < 3
    for page in pages.values():
        for part in ("144 crops of 24 faces", "144 crops, 6 a face", "0, unjittered", "0, mirrored", "2, mirrored"):
            assert part in page.text, part
    samples = {layout: sample_crops(reader, range(3)) for layout, reader in readers.items()}
    assert samples["crops"].crops == 144
    assert samples["faces"].crops == 24  # one of each picture
    assert samples["faces"].shift.std() == pytest.approx(0.05, rel=0.4)


def test_faces_that_were_turned_are_drawn(store: Path) -> None:
    table = read_faces(Store(store), range(4), idle)
    assert not table.profile.any()
    turned = replace(table, profile=np.where(np.arange(25) == 7, -40.0, 0.0), nme=np.where(np.arange(25) == 7, 9, 1))
    sections = dict(choose(turned))
    assert sections.pop("Views turned most by face profiling")[0] == 7
    assert not any(7 in picks for picks in sections.values()), "a view's error and size are not measured ones"
    summary = summarise(turned)
    assert (summary.faces, summary.views, summary.nme_max) == (24, 1, 1)
    rows = by_yaw(turned)
    assert (sum(row["faces"] for row in rows), sum(row["views"] for row in rows)) == (24, 1)
    assert max(row["p95"] for row in rows if row["faces"]) == 1


@pytest.mark.usefixtures("quick")
def test_views_are_told_apart_from_faces(synthetic: Path, scheduler: str, tmp_path: Path) -> None:
    config = PrepConfig(copies=2, size=32, shard_faces=128, profile=90)
    build(synthetic / "faces", tmp_path / "S.zarr", synthetic, scheduler, config)
    page = whole_page(report(tmp_path / "S.zarr", tmp_path), hostile=False)
    for part in ("192 crops of 24 faces and 72 turned views", "24 usable faces", "72 turned views", "a face or view"):
        assert part in page.text, part
    assert "Pose of faces and turned views" in page.text
    assert "8 subjects of 1 to 3 faces" in page.text  # a view is no face more
    info = json.loads(good("store", "info", tmp_path / "S.zarr", "--json").stdout)
    assert info["faces"] == 24


@pytest.mark.usefixtures("quick")
def test_only_pages_are_replaced(store: Path, tmp_path: Path) -> None:
    out, note = tmp_path / "report.html", tmp_path / "note.txt"
    good("store", "report", store, "--out", out)
    note.write_text("years of work")
    for path, options, error in ((out, (), "--overwrite"), (note, ("--overwrite",), "is not an HTML page")):
        done = pifa("store", "report", store, "--out", path, *options)
        assert done.exit_code == 1
        assert error in done.output
    assert note.read_text() == "years of work"
    good("store", "report", store, "--out", out, "--overwrite")
    done = pifa("store", "report", tmp_path, "--out", tmp_path / "b.html")
    assert done.exit_code == 1
    assert "not a store" in done.output
