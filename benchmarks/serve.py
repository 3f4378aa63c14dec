"""How long the page of ``pifa serve`` takes, in headless Chromium: from dropping a photo to its landmarks and its mesh.

python benchmarks/serve.py [PHOTO] [--checkpoint NAME] [--repeats 10] [--json FILE]

The server is a process of its own, the browser another; the photo is of about a megapixel (by default Grace Hopper's,
which comes with Matplotlib, enlarged). Landmarks count when they are drawn: the detector, the network twice, the way
there and back and the drawing are within. The first photo does not count; each is dropped on a page that has none.
On a machine that others use, look at the CPU time: what the server computes until the landmarks, its threads together.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import psutil
import requests
from matplotlib.cbook import get_sample_data

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from driving import driving  # noqa: E402

PIXELS = 1_000_000

SERVER = """
import sys
from pipelines.serve.run import run_serve
run_serve(sys.argv[1], port=0, device="cpu", say=lambda text: print(text, flush=True))
"""

WATCH = """
window.times = {};
addEventListener("drop", () => { times.start = performance.now(); }, true);
for (const what of ["landmarks", "mesh"]) {
  document.addEventListener(`pifa-${what}`, () => { times[what] = performance.now() - times.start; });
}
window.real = fetch;
window.fetch = async (...what) => {
  const reply = await real(...what);
  if (what[0] === "/api/align") reply.clone().json().then((found) => { times.server = found.milliseconds; });
  return reply;
};
"""


@contextmanager
def served(checkpoint: str) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a server in a process of its own, and the process."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, checkpoint], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.match(r"(http://\S+)/ ", process.stdout.readline())
        assert found, "the server did not start"
        yield found[1], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def megapixel(folder: Path) -> Path:
    """The default photo."""
    image = cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    assert image is not None
    scale = (PIXELS / (image.shape[0] * image.shape[1])) ** 0.5
    path = folder / "photo.jpg"
    cv2.imwrite(str(path), cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))
    return path


def measure(
    address: str, server: psutil.Process, photo: Path, repeats: int, chromium: str, home: Path
) -> list[dict[str, float]]:
    """Milliseconds of each repeat: ``landmarks``, ``mesh``, ``server`` and its ``cpu`` for the landmarks."""
    rows = []
    with driving(chromium, home) as page:
        page.look(1280, 900)
        for repeat in range(repeats + 1):
            page.open(address)
            page.wait("document.getElementById('served').textContent !== ''")
            page.run(WATCH)
            time.sleep(0.3)
            page.drop(photo)
            page.wait("times.mesh && times.server")
            times = page.run("times")
            data = photo.read_bytes()
            before = server.cpu_times()
            requests.post(f"{address}/api/align", data=data, timeout=60)
            after = server.cpu_times()
            times["cpu"] = 1000 * (after.user - before.user + after.system - before.system)
            if repeat:
                rows.append(times)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path)
    parser.add_argument("--checkpoint", default="pifa68-small")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        parser.error("no Chromium here")
    with tempfile.TemporaryDirectory() as name, served(given.checkpoint) as (address, server):
        photo = given.photo.resolve() if given.photo else megapixel(Path(name))
        rows = measure(address, server, photo, given.repeats, chromium, Path(name, "home"))
    print(f"{given.checkpoint}, {photo.name}, {len(rows)} times; milliseconds from the drop")
    print(f"{'':22}{'median':>8}{'least':>8}{'most':>8}")
    for key, text in (
        ("landmarks", "landmarks drawn"),
        ("server", "of that, the server"),
        ("cpu", "CPU time of that"),
        ("mesh", "mesh drawn"),
    ):
        values = [row[key] for row in rows]
        print(f"{text:22}{statistics.median(values):8.0f}{min(values):8.0f}{max(values):8.0f}")
    if given.json:
        given.json.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
