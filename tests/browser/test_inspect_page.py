"""The page of ``pifa inspect`` in a browser: headless Chromium, where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import BARS, POINTS, browse, coloured, complaints, screenshot
from html_page import Page

from pipelines.inspect import run_inspect


@pytest.fixture(scope="module")
def page(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about the synthetic faces."""
    path = tmp_path_factory.mktemp("page") / "a.html"
    source = f"keypoints-csv:{synthetic / 'faces'}"
    run_inspect([source], morphable=str(synthetic / "model.safetensors"), report=path)
    return path


def test_the_page_opens_without_complaint(chromium: str, page: Path, tmp_path: Path) -> None:
    dom, log = browse(chromium, page, tmp_path, "--dump-dom")
    assert complaints(log) == []
    read = Page(dom)
    words = " ".join(read.words)
    for part in ("24 faces", "Splits and subsets", "Measures", "Problems", "Distributions", "Faces", "All faces"):
        assert part in words, part
    assert read.tags.count("picture") == 3
    assert read.tags.count("figure") == 3 + 24
    assert read.tags.count("circle") == 24 * 68 + 2  # two of the legend
    assert read.tags.count("image") == 24


def test_a_refused_resource_would_be_noticed(chromium: str, page: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.html"
    address = (tmp_path / "none.png").as_uri()
    spoilt.write_text(page.read_text(encoding="utf-8").replace("<h1>", f'<img src="{address}"><h1>'), encoding="utf-8")
    _, log = browse(chromium, spoilt, tmp_path / "home", "--dump-dom")
    assert complaints(log)


@pytest.mark.parametrize("width", [1200, 380])
def test_the_page_is_drawn(chromium: str, page: Path, tmp_path: Path, width: int) -> None:
    """At the width of a desktop and of a phone: pictures are decoded and points are green."""
    colours = screenshot(chromium, page, tmp_path, width, 4000)
    assert coloured(colours, BARS) > 500
    if width == 1200:
        assert coloured(colours, POINTS) > 1000
