"""The page of ``pifa serve`` as docs/serve.md shows it: on a desk by day, on a phone by night.

python docs/serve_picture.py PHOTO docs/images/serve.png

PHOTO is the astronaut of scikit-image (``skimage/data/astronaut.png``), a photo by NASA in the public domain.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in (".", "tests")]

from driving import Driven, driving  # noqa: E402
from web_server import web_server  # noqa: E402

from pifa_data.detection import open_detector  # noqa: E402
from pipelines.checkpoints import load_aligner  # noqa: E402
from pipelines.serve.limits import Limits  # noqa: E402
from pipelines.serve.work import Worker  # noqa: E402

HEIGHT = 812
SIZES = {"desk": 1180, "phone": 390}


def shot(page: Driven, address: str, photo: Path, width: int, dark: bool) -> np.ndarray:
    """``(HEIGHT, width, 3)`` uint8 BGR."""
    page.look(width, HEIGHT, dark)
    page.open(address)
    page.wait("document.getElementById('served').textContent !== ''")
    for _ in range(2):  # the first photo waits for what happens but once
        page.drop(photo)
        page.wait("!document.getElementById('face').hidden && document.getElementById('no-mesh').textContent === ''")
    page.run("document.getElementById('zoom').click(); document.getElementById('mesh').focus()")
    for _ in range(4):
        page.press("ArrowRight")
    page.run("document.activeElement.blur()")
    if dark:
        page.run("scrollTo(0, document.getElementById('about').offsetTop - 250)")
    page.run("new Promise((done) => setTimeout(done, 500))")
    return cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR)


def main() -> None:
    photo, out = map(Path, sys.argv[1:])
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or "google-chrome"
    aligner, _ = load_aligner("pifa68-small", device="cpu")
    worker = Worker(aligner, open_detector("haar"), Limits(), "pifa68-small")
    with tempfile.TemporaryDirectory() as home, web_server(worker) as address, driving(chromium, Path(home)) as page:
        shots = [shot(page, address, photo.resolve(), width, name == "phone") for name, width in SIZES.items()]
    gap = np.full((HEIGHT, 24, 3), 255, np.uint8)
    cv2.imwrite(str(out), np.concatenate([shots[0], gap, shots[1]], axis=1), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
