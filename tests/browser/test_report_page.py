"""The page of ``pifa report`` in a browser: headless Chromium, where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browsing import BARS, POINTS, browse, coloured, complaints, screenshot, width_on_a_phone
from html_page import Page

from pipelines.evaluate import run_eval
from pipelines.report import run_report


@pytest.fixture(scope="module")
def page(small_run: Path, small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about a small run and an evaluation of it, of another normaliser."""
    folder = tmp_path_factory.mktemp("page")
    found = run_eval(str(small_run), str(small_store), subset="val", normaliser="interocular", device="cpu")
    found.values["visibility_confusion"] = {
        "visible": {"visible": 900, "hidden": 100},
        "not_labelled": {"visible": 20, "hidden": 180},
    }
    (folder / "all copies.json").write_text(json.dumps(found.values))
    run_report([small_run, folder / "all copies.json"], folder / "a.html")
    return folder / "a.html"


def test_the_page_opens_without_complaint(chromium: str, page: Path, tmp_path: Path) -> None:
    dom, log = browse(chromium, page, tmp_path, "--dump-dom")
    assert complaints(log) == []
    read = Page(dom)
    for part in (
        *("2 runs and evaluations side by side", "How many faces are how good", "Block by block", "Median error"),
        *("Which faces, which points", "Visibility", "Best and worst faces", "Training", "Settings"),
    ):
        assert part in read.text, part
    # Three curves, blocks, yaw and parts of either normaliser, and the training.
    assert read.tags.count("picture") == 3 + 2 + 2 + 2 + 1


@pytest.mark.parametrize("width", [1200, 380])
def test_the_page_is_drawn(chromium: str, page: Path, tmp_path: Path, width: int) -> None:
    """At the width of a desktop and of a phone: charts and crops are decoded, landmarks are green."""
    pixels = screenshot(chromium, page, tmp_path, width, 9000)
    assert coloured(pixels, BARS) > 500
    assert coloured(pixels, POINTS) > 300


def test_nothing_is_wider_than_a_phone(chromium: str, page: Path, tmp_path: Path) -> None:
    """It scrolls down only."""
    assert width_on_a_phone(chromium, page, tmp_path) == 500
