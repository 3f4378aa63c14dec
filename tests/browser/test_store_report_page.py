"""The page of ``pifa store report`` in a browser: headless Chromium, where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import BARS, POINTS, browse, coloured, complaints, screenshot, width_on_a_phone
from html_page import Page

from pipelines.store_report import run_store_report


@pytest.fixture(scope="module")
def page(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about a store of the synthetic faces."""
    path = tmp_path_factory.mktemp("page") / "a.html"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("EVEN", "TURNED", "WORST"):
            patch.setattr(f"pipelines.store_tiles.{name}", 4)
        run_store_report(small_store, path)
    return path


def test_the_page_opens_without_complaint(chromium: str, page: Path, tmp_path: Path) -> None:
    dom, log = browse(chromium, page, tmp_path, "--dump-dom")
    assert complaints(log) == []
    read = Page(dom)
    for part in (
        "72 crops of 24 faces",
        "Settings",
        "Distributions",
        "Crops",
        "Worst fits",
        "Skipped faces",
        "On disk",
    ):
        assert part in read.text, part
    assert read.tags.count("picture") == 5
    assert read.tags.count("image") == 16 + 3 + 1  # drawn faces, copies, boxes


@pytest.mark.parametrize("width", [1200, 380])
def test_the_page_is_drawn(chromium: str, page: Path, tmp_path: Path, width: int) -> None:
    """At the width of a desktop and of a phone: charts and photos are decoded and points are green."""
    pixels = screenshot(chromium, page, tmp_path, width, 8000)
    assert coloured(pixels, BARS) > 500
    if width == 1200:
        assert coloured(pixels, POINTS) > 1000


def test_nothing_is_wider_than_a_phone(chromium: str, page: Path, tmp_path: Path) -> None:
    """It scrolls down only."""
    assert width_on_a_phone(chromium, page, tmp_path) == 500
