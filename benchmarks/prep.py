"""Speed, memory and scheduler cost of ``pifa prep``, each beside its yardstick in the same run.

    python benchmarks/prep.py SOURCE [--morphable NAME] [--only PART,…] [--json FILE]

* **speed**: crops a second, everything included, against the floor: what any tool must do for the same crops (decode
  the images, warp each 20 times, write the crops with the same codec, chunks and shards), by as many processes, each
  kept to one core. The floor is measured before and after, as these machines are shared.
* **scaling**: two workers against one.
* **memory**: the largest worker process, for 1,000 and 100,000 simulated faces.
* **resume**: of a finished store of 100,000 crops, the whole command.
* **scheduler**: the cost of a task of no work, with the arguments that a real one has.
* **plan**: what a face costs the main process before the first shard: time, temporary file, memory.
* **layouts**: rate and bytes of each.
* **opening**: what a shard costs whoever opens the store.

``benchmarks/scale.py`` carries these on to a hundred million faces.

Compare ratios, not seconds; with ``--folder /dev/shm`` a slow disk, which holds the floor up as well, is left out.
Linux alone: elsewhere no process can be kept to a core, and memory has other units.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from simulated import make_source

from pifa_data.boxes import face_rng, jitter_box, square_of, tight_box
from pifa_data.build import PrepConfig
from pifa_data.faces import Face
from pifa_data.images import CropSource, read_image
from pifa_data.store import TEXTS, Layout, Store, create_store, write_shard
from pipelines.cluster import connected, run_tasks
from pipelines.prep_plan import Plan, Selection
from pipelines.sources import find_model
from pipelines.spool import unpack

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("speed", "scaling", "memory", "resume", "scheduler", "plan", "opening", "layouts")
CHILD = """
import json, resource, sys, time
from pifa_data.build import PrepConfig
from pipelines.prep import run_prep
sources, store, options, config = json.loads(sys.argv[1])
summary = run_prep(sources, store, config=PrepConfig(**config), **options)
usage = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({**summary.as_json(), "worker_kilobytes": usage[0].ru_maxrss, "main_kilobytes": usage[1].ru_maxrss}))
"""


def prepare(source: str, store: str | Path, config: dict[str, Any], **options: Any) -> dict[str, Any]:
    """``run_prep`` in a process of its own, so that its memory and its workers' can be told."""
    given = json.dumps([[source], str(store), options, config])
    done = subprocess.run([sys.executable, "-c", CHILD, given], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def tried(source: str, store: Path, config: dict[str, Any], **options: Any) -> dict[str, Any]:
    """``prepare``, and the store removed: what of it is not on the disk yet need not go there in the next's time."""
    found = prepare(source, store, config, **options)
    shutil.rmtree(store)
    return found


def _floor(core: int, shards: list[tuple[int, bytes]], store: str, layout: Layout, config: PrepConfig) -> float:
    """Seconds of one process on one core to decode, warp and write shards."""
    import zarr

    os.sched_setaffinity(0, {core})
    cv2.setNumThreads(0)
    images = zarr.open_array(Path(store) / "images", mode="r+", config={"write_empty_chunks": True})
    start = time.perf_counter()
    for shard, packed in shards:
        part = unpack(packed)
        crops = np.empty((len(part), config.copies, config.size, config.size, 3), np.uint8)
        for f, face in enumerate(part):
            _crop_all(face, config, crops[f])
        images[layout.row_range(shard)] = crops.reshape(-1, *crops.shape[2:])
    return time.perf_counter() - start


def _crop_all(face: Face, config: PrepConfig, out: np.ndarray) -> None:
    box = tight_box(face.landmarks, face.visibility)
    source = CropSource(read_image(face.image), square_of(box, config.grow, config.size))
    for copy in range(config.copies):
        jittered = jitter_box(box, face_rng(0, face.id, copy))
        out[copy] = source.crop(square_of(jittered, config.grow, config.size))


def floor_rate(plan: Plan, model: Any, workers: int, folder: Path) -> float:
    """Crops a second of ``workers`` processes that do the floor's work, the slowest of them counting."""
    store = folder / f"floor-{time.time_ns()}.zarr"
    create_store(store, plan.layout, {}, model)
    shards = [(shard, plan.faces_of(shard)) for shard in range(plan.layout.shards)]
    cores = sorted(os.sched_getaffinity(0))
    tasks = [(cores[w % len(cores)], shards[w::workers], str(store), plan.layout, plan.config) for w in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.starmap(_floor, [(*task[:1], task[1][:1], *task[2:]) for task in tasks], chunksize=1)  # imports, caches
        seconds = max(pool.starmap(_floor, tasks, chunksize=1))
    shutil.rmtree(store)
    return plan.layout.faces * plan.layout.copies / seconds


def planned(options: argparse.Namespace) -> tuple[Any, Plan]:
    """The morphable model, and the source's faces in shards."""
    model = find_model(options.morphable)
    return model, Plan(Selection((options.source,), limit=options.faces), PrepConfig(), model, strict=False)


def speed(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    model, plan = planned(options)
    floors, rates = [floor_rate(plan, model, options.workers, folder)], []
    for turn in range(options.repeats):
        common: dict[str, Any] = {"morphable": options.morphable, "limit": options.faces, "workers": options.workers}
        rates.append(tried(options.source, folder / f"speed-{turn}.zarr", {}, **common)["crops_per_second"])
        floors.append(floor_rate(plan, model, options.workers, folder))
    plan.close()
    return {
        "faces": plan.layout.faces,
        "workers": options.workers,
        "crops_per_second": rates,
        "floor_crops_per_second": floors,
        "share_of_floor": float(np.mean(rates) / np.mean(floors)),
    }


def scaling(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One, two, one worker: the mean of the ones is what two are measured by. The floor's tells what the cores give."""
    model, plan = planned(options)
    rates, floors = [], []
    for turn, workers in enumerate((1, 2, 1)):
        common: dict[str, Any] = {"morphable": options.morphable, "limit": options.faces, "workers": workers}
        floors.append(floor_rate(plan, model, workers, folder))
        rates.append(tried(options.source, folder / f"scaling-{turn}.zarr", {}, **common)["crops_per_second"])
    plan.close()
    one, floor = (rates[0] + rates[2]) / 2, (floors[0] + floors[2]) / 2
    return {
        "one": one,
        "two": rates[1],
        "two_against_one": rates[1] / one,
        "floor_two_against_one": floors[1] / floor,
        "against_the_floors": rates[1] / one / (floors[1] / floor),
    }


def memory(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for faces in options.simulated:
        source = make_source(folder / f"memory-{faces}", faces)
        store = folder / f"memory-{faces}.zarr"
        found = tried(source, store, {}, morphable="builtin", workers=options.workers)
        out[f"{faces}_faces"] = {
            "worker_megabytes": found["worker_kilobytes"] / 1024,
            "main_megabytes": found["main_kilobytes"] / 1024,
            "crops_per_second": found["crops_per_second"],
        }
    return out


def resume(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source = make_source(folder / "resume", 5000)
    command = [sys.executable, "cli.py", "prep", source, "--store", str(folder / "resume.zarr"), "--json"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    start = time.perf_counter()
    done = subprocess.run([*command, "--resume"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return {"crops": json.loads(done.stdout)["crops"], "seconds": time.perf_counter() - start}


def nothing(*arguments: Any) -> int:
    """A task of no work."""
    return len(arguments)


def scheduler(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every cost of a task but its work: the client's, the scheduler's and the worker's, with the real arguments."""
    model, plan = planned(options)
    shared = (str(folder), str(ROOT), model.fingerprint, plan.layout, plan.config)
    whole = max(1, plan.layout.faces // plan.layout.shard_faces)
    packed = [plan.faces_of(shard) for shard in range(min(whole, 20))]
    tasks = ((*shared, shard, packed[shard % len(packed)]) for shard in range(options.shards))
    with connected(options.workers, None) as client:
        for _ in run_tasks(client, nothing, [shared] * 20):
            pass
        start = time.perf_counter()
        done = sum(1 for _ in run_tasks(client, nothing, tasks, options.shards))
        seconds = time.perf_counter() - start
    plan.close()
    size = len(packed[0])
    return {"shards": done, "argument_kilobytes": size / 1024, "milliseconds_a_shard": 1000 * seconds / done}


def layouts(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    out: dict[str, Any] = {"workers": options.workers}
    for layout in ("crops", "faces"):
        common: dict[str, Any] = {"morphable": options.morphable, "limit": options.faces, "workers": options.workers}
        found = tried(options.source, folder / f"{layout}.zarr", {"layout": layout}, **common)
        out[layout] = {
            "crops_per_second": found["crops_per_second"],
            "bytes_a_face": found["store_bytes"] / found["faces"],
        }
    out["crops_against_faces"] = out["crops"]["bytes_a_face"] / out["faces"]["bytes_a_face"]
    return out


PLAN = """
import json, resource, sys, time
from pifa_data.build import PrepConfig
from pipelines.prep_plan import Plan, Selection
from pipelines.sources import find_model
start = time.perf_counter()
plan = Plan(Selection((sys.argv[1],)), PrepConfig(), find_model("builtin"), strict=False)
seconds = time.perf_counter() - start
start = time.perf_counter()
sizes = [len(plan.faces_of(shard)) for shard in range(min(plan.layout.shards, 500))]
taking = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([plan.layout.faces, seconds, taking / len(sizes), sum(sizes) / len(sizes), peak]))
"""


def plan(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Of two sizes, so that what grows with the faces can be told from what does not."""
    found = []
    for faces in options.simulated:
        source = make_source(folder / f"plan-{faces}", faces, images=False)
        done = subprocess.run(
            [sys.executable, "-c", PLAN, source], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    (small, first, *_, least), (large, last, taking, size, most) = found[0], found[-1]
    return {
        "microseconds_a_face": 1e6 * (last - first) / (large - small),
        "main_bytes_a_face": 1024 * (most - least) / (large - small),
        "temporary_bytes_a_face": size / PrepConfig().shard_faces,
        "milliseconds_a_shard": 1000 * taking,
    }


def opening(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A store of many small shards, opened and checked as ``pifa train`` does."""
    count = 1000
    config = PrepConfig(scheme="ibug68", copies=1, size=32, shard_faces=1)
    layout = config.layout_of(count, 9, dict.fromkeys(TEXTS, 8))
    store = folder / "opening.zarr"
    create_store(store, layout, {"config": config.as_dict(), "plan": ""}, find_model("builtin"))
    arrays = {name: np.zeros((1, *column.shape), column.dtype) for name, column in layout.columns().items()}
    for shard in range(count):
        write_shard(store, layout, shard, arrays, {}, "")
    tracemalloc.start()
    Store(store, unfinished=True).missing()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    start = time.perf_counter()
    Store(store, unfinished=True).missing()
    return {
        "milliseconds_a_shard": 1000 * (time.perf_counter() - start) / count,
        "kilobytes_a_shard": peak / count / 1024,
        "files_a_shard": len(layout.columns()) + 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--morphable", default="builtin")
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated parts")
    parser.add_argument("--faces", type=int, help="the first so many of the source")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2, help="of speed")
    parser.add_argument("--simulated", type=int, nargs="+", default=[1000, 100_000], help="faces for memory and plan")
    parser.add_argument("--shards", type=int, default=10_000, help="for scheduler")
    parser.add_argument(
        "--folder",
        type=Path,
        help="for the stores; 20 GB for memory, 3 GB for others (default: the system's temporary)",
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {}
    for part in options.only.split(","):
        if part not in PARTS:
            parser.error(f"--only {part}: expected some of {', '.join(PARTS)}")
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            result[part] = globals()[part](options, Path(folder))
        _show(part, result[part])
    if options.json:
        options.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


def _show(name: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _show(f"{name} {key}", item)
    elif isinstance(value, list):
        print(f"{name:44} {'  '.join(f'{item:.4g}' for item in value)}", flush=True)
    else:
        print(f"{name:44} {value:.4g}" if isinstance(value, float) else f"{name:44} {value}", flush=True)


if __name__ == "__main__":
    main()
