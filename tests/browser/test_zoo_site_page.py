"""The zoo's web site in a browser: headless Chromium, where it is installed."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from browsing import BARS, browse, coloured, complaints, screenshot, width_on_a_phone
from safetensors.numpy import save_file

import zoo
from zoo.pages.site import make_site

CONFIG = {
    **{"format": "pifa-checkpoint", "format_version": 2, "preset": "compact", "scheme": "ibug68", "input_size": 114},
    **{"landmark_kind": "2d", "boxes": "tight", "grow": 1.4, "morphable": {"name": "builtin", "fingerprint": "f" * 64}},
    **{"training": {"data": ["ytf68"], "step": 7}, "pifa_version": "0.1.0"},
}
METRIC = {
    **{"faces": 12, "normaliser": "tight", "nme": 3.25, "nme_initial": 9.0, "nme_per_block": [5.5, 3.25]},
    **{"nme_by_yaw": {"0-30": 3.0, "30-60": 4.0, "60-90": None}, "source": "300w", "subset": "val", "boxes": "tight"},
}
NAMES = ("face-small", "face-large", "head")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints with a picture each, one withdrawn; long words among their texts."""
    folder = tmp_path_factory.mktemp("zoo")
    save_file({"layer": np.zeros(3, np.float32)}, folder / "a.safetensors", metadata={"pifa": json.dumps(CONFIG)})
    digest = hashlib.sha256((folder / "a.safetensors").read_bytes()).hexdigest()
    (folder / "eval.json").write_text(json.dumps({**METRIC, "checkpoint_sha256": digest}))
    picture = np.zeros((40, 900, 3), np.uint8)
    picture[:] = (222, 128, 74)
    assert cv2.imwrite(str(folder / "a.png"), picture)
    for name in NAMES:
        zoo.publish(
            folder / "registry",
            weights=folder / "a.safetensors",
            name=name,
            version="1.0.0",
            metrics=[folder / "eval.json"] * 2,
            pictures=[(folder / "a.png", "a" * 300)],
            licence="l" * 300,
            limits=["m" * 300],
            morphable_where=f"https://example.org/{'n' * 300}",
        )
    zoo.yank(folder / "registry", "head", "1.0.0", "y" * 300)
    make_site(folder / "registry", folder / "site", "https://example.org/zoo")
    return folder / "site"


def acted(chromium: str, page: Path, script: str, tmp_path: Path) -> dict[str, object]:
    """What a script finds out in a page after the page's own has run; beside it, so that its links lead there."""
    changed = page.with_name("acted.html")
    text = re.sub("script-src '[^']*'", "script-src 'unsafe-inline'", page.read_text(encoding="utf-8"))
    changed.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    try:
        dom, log = browse(chromium, changed, tmp_path / "home", "--dump-dom", "--window-size=1000,9000")
    finally:
        changed.unlink()
    assert complaints(log) == []
    found: dict[str, object] = json.loads(dom.split("<title>", 1)[1].split("</title>", 1)[0])
    return found


def test_the_search_finds(chromium: str, site: Path, tmp_path: Path) -> None:
    script = """
      const box = document.getElementById("search"), found = {};
      for (const words of ["", "  LARGE compact ", "head", "nothing"]) {
        box.value = words;
        box.dispatchEvent(new Event("input"));
        const rows = [...document.querySelectorAll("tbody tr:not([hidden]) a")].map((a) => a.textContent);
        found[words.trim()] = [rows.join(), document.getElementById("count").textContent];
      }
      found.shown = box.offsetWidth > 100;
      document.title = JSON.stringify(found);
    """
    assert acted(chromium, site / "index.html", script, tmp_path) == {
        "": ["face-large,face-small,head@1.0.0", ""],
        "LARGE compact": ["face-large", "1 of 2, 0 of 1 withdrawn"],
        "head": ["head@1.0.0", "0 of 2, 1 of 1 withdrawn"],
        "nothing": ["", "0 of 2, 0 of 1 withdrawn"],
        "shown": True,
    }


def test_a_version_copies_its_commands_and_shows_its_picture(chromium: str, site: Path, tmp_path: Path) -> None:
    script = """
      const copied = [], buttons = [...document.querySelectorAll("button")];
      navigator.clipboard.writeText = (text) => { copied.push(text); return Promise.resolve(); };
      buttons.forEach((button) => button.click());
      setTimeout(() => { document.title = JSON.stringify({
        copied, said: buttons.map((button) => button.textContent), hidden: buttons.some((button) => button.hidden),
        picture: [...document.images].map((image) => image.naturalWidth) }); }, 100);
    """
    found = acted(chromium, site / "head" / "index.html", script, tmp_path)
    assert found["picture"] == [900]
    assert found["said"] == ["copied"] * 4
    assert found["hidden"] is False
    assert isinstance(found["copied"], list)
    assert found["copied"][1] == "pifa align head@1.0.0 photo.jpg --boxes boxes.csv --registry https://example.org/zoo"


def test_the_pages_open_without_complaint(chromium: str, site: Path, tmp_path: Path) -> None:
    """As they are, with their policy: nothing is refused, and the script that it names runs."""
    for page, button in ((site / "index.html", 'id="finder"'), (site / "head/1.0.0/index.html", "<button")):
        dom, log = browse(chromium, page, tmp_path / "home", "--dump-dom")
        assert complaints(log) == []
        assert "hidden" not in dom.split(button, 1)[1].split(">", 1)[0]


def test_without_a_script_everything_is_there(chromium: str, site: Path, tmp_path: Path) -> None:
    """The browser refuses the script, says so, and the list is as it was."""
    text = (site / "index.html").read_text(encoding="utf-8")
    (tmp_path / "plain.html").write_text(re.sub("script-src '[^']*'", "script-src 'none'", text), encoding="utf-8")
    dom, log = browse(chromium, tmp_path / "plain.html", tmp_path / "home", "--dump-dom")
    assert len(complaints(log)) == 1
    assert '<p id="finder" hidden="">' in dom
    assert dom.count(" hidden=") == 1
    assert all(f'"{name}/' in dom for name in NAMES)


@pytest.mark.parametrize("name", ["index.html", "head/index.html"])
def test_nothing_is_wider_than_a_phone(chromium: str, site: Path, tmp_path: Path, name: str) -> None:
    """It scrolls down only."""
    assert width_on_a_phone(chromium, site / name, tmp_path) == 500


def test_charts_and_pictures_are_drawn(chromium: str, site: Path, tmp_path: Path) -> None:
    pixels = screenshot(chromium, site / "head/1.0.0/index.html", tmp_path, 1200, 4000)
    assert coloured(pixels, BARS) > 5000
    assert coloured(pixels, (74, 128, 222)) > 5000
