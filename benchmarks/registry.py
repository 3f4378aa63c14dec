"""What the zoo costs: a large checkpoint from a web server on this machine, and the list of a large registry.

    python benchmarks/registry.py [--megabytes 100] [--entries 1000] [--repeats 5] [--json FILE]

* **fetch**: an empty cache, from nginx over loopback, against `curl` to a file followed by `sha256sum` of it: in turns,
  in this process (`zoo.fetch`) and by the command (`pifa zoo get`), which also has to start Python.
* **list**: `pifa zoo list` of a registry with so many entries, and of an empty one; seconds of the wall and of the
  processor. Starting Python alone is given too: on a busy machine all three grow alike.

Both want a quiet machine; the ratios are taken repeat by repeat, then their median.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from certificates import make_certificates  # noqa: E402
from nginx import nginx  # noqa: E402
from timing import in_turns  # noqa: E402
from zoo_checkpoint import write_checkpoint  # noqa: E402

import zoo  # noqa: E402
from zoo.index import dump_index  # noqa: E402

COMMAND = [sys.executable, str(ROOT / "cli.py"), "zoo"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--entries", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="Also write the figures there.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pifa-registry-") as name:
        folder = Path(name)
        os.environ["PIFA_HOME"] = str(folder / "home")
        figures = {
            **measure_fetch(folder, options.megabytes, options.repeats),
            **measure_list(folder, options.entries, options.repeats),
        }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure_fetch(folder: Path, megabytes: int, repeats: int) -> dict[str, float]:
    registry, work, out = folder / "registry", folder / "nginx", folder / "out"
    work.mkdir()
    weights = np.random.default_rng(0).integers(0, 256, megabytes * 10**6, np.uint8)
    model = write_checkpoint(folder / "model.safetensors", weights)
    zoo.publish(registry, weights=model, name="face", version="1.0.0")

    with nginx(folder, work, make_certificates(work), upstream=9) as server:
        url = f"{server.url}/plain/registry"
        weights_url = f"{url}/face/1.0.0/weights.safetensors"

        def curl() -> None:
            subprocess.run(["curl", "--silent", "--fail", "--output", out, weights_url], check=True)
            subprocess.run(["sha256sum", out], check=True, stdout=subprocess.DEVNULL)
            out.unlink()

        def fetch() -> None:
            zoo.fetch("face", url)
            zoo.prune(days=0)

        def get() -> None:
            subprocess.run([*COMMAND, "get", "face", "--registry", url], check=True, stdout=subprocess.DEVNULL)
            zoo.prune(days=0)

        seconds = in_turns({"curl and sha256sum": curl, "zoo.fetch": fetch, "pifa zoo get": get}, repeats)
    print(f"{megabytes} MB from nginx on this machine, median of {repeats} repeats in turns")
    figures = {}
    for what, times in seconds.items():
        speed = float(np.median(seconds["curl and sha256sum"] / times))
        print(f"  {what:<22} {np.median(times):7.3f} s   {100 * speed:4.0f} % of the speed of curl and sha256sum")
        figures[f"speed of {what}"] = speed
    return figures


def measure_list(folder: Path, entries: int, repeats: int) -> dict[str, float]:
    template = zoo.Registry(folder / "registry").index()
    (empty := folder / "empty").mkdir()
    (large := folder / "large").mkdir()
    entry = template.entries[0]
    many = tuple(
        entry.model_copy(update={"name": f"face-{i // 4:05d}", "version": f"1.{i % 4}.0", "metrics": (METRIC,) * 2})
        for i in range(entries)
    )
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    (large / "index.json").write_bytes(dump_index(zoo.Index(serial=entries, updated=now, entries=many)))

    def shown(registry: Path) -> None:
        command = [*COMMAND, "list", "--registry", str(registry)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def clock() -> np.ndarray:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])

    works = {
        "python alone": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        "pifa zoo list, no entries": lambda: shown(empty),
        f"pifa zoo list, {entries} entries": lambda: shown(large),
    }
    size = (large / "index.json").stat().st_size / 1e6
    print(f"an index of {size:.1f} MB, median of {repeats} repeats in turns")
    figures = {}
    for what, times in in_turns(works, repeats, clock).items():
        wall, processor = np.median(times, axis=0)
        print(f"  {what:<30} {wall:6.3f} s, {processor:6.3f} s of the processor")
        figures[f"seconds of {what}"], figures[f"processor's of {what}"] = float(wall), float(processor)
    return figures


METRIC = zoo.Metric(
    faces=350,
    normaliser="tight",
    nme=3.27,
    nme_per_block=(5.8, 3.99, 3.48, 3.32, 3.28, 3.27),
    nme_initial=14.14,
    nme_interocular=5.67,
    failure_rate_8=0.091,
    auc_8=0.313,
    mape=2.1,
    nme_by_yaw={"0-30": 3.26, "30-60": 3.45, "60-90": None},
    ms_per_face=11.0,
    source="faces",
    subset="val",
    boxes="jittered",
    landmarks="2d",
)


if __name__ == "__main__":
    main()
