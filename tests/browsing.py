"""A page in headless Chromium."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np

BARS, POINTS = (0x3B, 0x76, 0xD6), (0x4A, 0xDE, 0x80)
"""Colours, RGB, of a light page's histograms and of visible points over photos."""


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


def screenshot(chromium: str, page: Path, folder: Path, width: int, height: int) -> np.ndarray:
    """``(N, 3)`` int RGB, the pixels of a page in a window of that size."""
    shot = folder / "shot.png"
    size = f"--window-size={width},{height}"
    browse(chromium, page, folder / "home", f"--screenshot={shot}", size, "--hide-scrollbars")
    picture = cv2.imread(str(shot))
    assert picture is not None
    assert picture.shape[1] >= width
    return picture[..., ::-1].reshape(-1, 3).astype(int)


def width_on_a_phone(chromium: str, page: Path, folder: Path) -> int:
    """How wide a page is in a window of 500 pixels, the narrowest that Chromium opens; more if it scrolls to the side.

    A script put in beside it measures.
    """
    measured = folder / "measured.html"
    text = page.read_text(encoding="utf-8").replace(
        "default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'"
    )
    script = "<script>document.title = 'wide ' + document.documentElement.scrollWidth</script></body>"
    measured.write_text(text.replace("</body>", script), encoding="utf-8")
    dom, _ = browse(chromium, measured, folder / "home", "--dump-dom", "--window-size=500,900", "--hide-scrollbars")
    return int(dom.split("<title>wide ", 1)[1].split("</title>", 1)[0])


def coloured(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    """How many pixels have about that colour."""
    return int((abs(pixels - colour) < 20).all(1).sum())
