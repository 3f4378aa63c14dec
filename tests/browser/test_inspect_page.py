"""The page of ``pifa inspect`` in a browser: headless Chromium, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from html_page import Page

from pipelines.inspect import run_inspect


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser's command."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium here; `apt-get install chromium` to look at pages in a browser")
    return found


@pytest.fixture(scope="module")
def page(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about the synthetic faces."""
    path = tmp_path_factory.mktemp("page") / "a.html"
    source = f"keypoints-csv:{synthetic / 'faces'}"
    run_inspect([source], morphable=str(synthetic / "model.safetensors"), report=path)
    return path


def browse(chromium: str, page: Path, home: Path, *arguments: str) -> tuple[str, str]:
    """What the browser prints of a page, and what it logs."""
    done = subprocess.run(
        [
            *(chromium, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            # A container's root has no sandbox; the page is our own.
            *(("--no-sandbox",) if os.geteuid() == 0 else ()),
            *("--enable-logging=stderr", "--v=0", "--disable-background-networking", f"--user-data-dir={home}"),
            *("--virtual-time-budget=5000", *arguments, page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def complaints(log: str) -> list[str]:
    """What a page's console says, of the browser's log: refused or missing resources and errors among it."""
    return [line for line in log.splitlines() if "CONSOLE" in line or "Refused to" in line or "ERR_" in line]


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
    import cv2

    shot = tmp_path / "shot.png"
    browse(
        chromium, page, tmp_path / "home", f"--screenshot={shot}", f"--window-size={width},4000", "--hide-scrollbars"
    )
    picture = cv2.imread(str(shot))
    assert picture is not None
    assert picture.shape[1] >= width
    bgr = picture.reshape(-1, 3).astype(int)
    fill = (abs(bgr - (0xD6, 0x76, 0x3B)) < 12).all(1).sum()  # the bars of the histograms
    assert fill > 500
    if width == 1200:
        assert (abs(bgr - (0x80, 0xDE, 0x4A)) < 25).all(1).sum() > 1000  # visible points
