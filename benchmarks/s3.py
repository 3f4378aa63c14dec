"""What an object store costs, against one of this machine's own that answers as late as a real one.

    python benchmarks/s3.py [--latency 0.03] [--shards 200] [--faces 512] [--only PART,…]

* **clients**: processor time of small reads and of a listing, by obstore and by s3fs.
* **shard**: the objects of a shard, written one after the other and side by side.
* **opening**: a finished store of many shards.
* **prep**: the same simulated build with images and store on disk, and with both in a bucket.
* **reading**: chunks of crops in random order.

The server (``tests/s3_server.py``) is Python too and shares the cores: it takes 2 to 5 ms a request, which a real one
does not. The processor's time is that of this process alone.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from prep import prepare  # noqa: E402
from s3_server import configure, s3_server, set_faults  # noqa: E402
from simulated import make_source  # noqa: E402

from pifa_data.buckets import ahead  # noqa: E402
from pifa_data.build import PrepConfig  # noqa: E402
from pifa_data.morphable import load_builtin  # noqa: E402
from pifa_data.store import (  # noqa: E402
    TEXTS,
    Layout,
    Location,
    Store,
    create_store,
    entry_key,
    locate,
    set_attributes,
    shard_key,
    write_shard,
)
from pifa_data.store.sealing import sealed  # noqa: E402


def timed(what: str, call: Callable[[], Any], per: float = 1.0, unit: str = "s") -> None:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    seconds, busy = time.perf_counter() - wall, time.process_time() - processor
    print(f"{what:<55} {seconds / per:8.3f} {unit}, {busy / per:8.3f} {unit} of this processor", flush=True)


def clients(options: argparse.Namespace, folder: Path) -> None:
    import s3fs

    place = locate("s3://bench/small")
    keys = [f"{i:04d}" for i in range(1000)]
    place.write_all(dict.fromkeys(keys, b"x" * 3000))
    other = s3fs.S3FileSystem(use_listings_cache=False, max_concurrency=1)
    urls = [f"bench/small/{key}" for key in keys]
    timed("a small object by s3fs", lambda: other.cat_ranges(urls, None, None), 1, "ms")
    timed("a small object by obstore", lambda: place.read_all(keys), 1, "ms")
    timed("1,000 objects' names by s3fs", lambda: other.find("bench/small", detail=True))
    timed("1,000 objects' names by obstore", place.sizes)


def _shard(place: Location | Path, layout: Layout) -> dict[str, Any]:
    """Write a shard of noise; gives its entry."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, column in layout.columns().items():
        rows = layout.rows_of(name, 0)
        noise = rng.integers(0, 2, (rows.stop - rows.start, *column.shape))
        arrays[name] = noise.astype(column.dtype)
    return write_shard(place, layout, 0, arrays, {}, "")


def _new_store(place: Location | Path, shards: int, **config: Any) -> Layout:
    settings = PrepConfig(scheme="ibug68", **config)
    layout = settings.layout_of(shards * settings.shard_faces, 30, dict.fromkeys(TEXTS, 8))
    create_store(place, layout, {"config": settings.as_dict(), "plan": ""}, load_builtin())
    return layout


def shard(options: argparse.Namespace, folder: Path) -> None:
    layout = _new_store(folder / "shard.zarr", 1)
    _shard(folder / "shard.zarr", layout)
    disk, place = locate(folder / "shard.zarr"), locate("s3://bench/shard.zarr")
    files = {key: disk.read(key) for key in disk.sizes() if "/c/" in key}
    print(f"{len(files)} objects, {sum(map(len, files.values())) / 1e6:.0f} MB")
    timed("one after the other", lambda: [place.write(key, data) for key, data in files.items()])
    timed("side by side", lambda: place.write_all(files))


def opening(options: argparse.Namespace, folder: Path) -> None:
    place = locate("s3://bench/opening.zarr")
    layout = _new_store(place, options.shards, copies=1, size=32, shard_faces=1)
    set_faults(options.endpoint)
    entry = _shard(place, layout)
    columns = layout.columns()
    first = {name: place.read(shard_key(name, column, 0)) for name, column in columns.items()}
    for number in range(1, layout.shards):
        place.write_all({shard_key(name, columns[name], number): data for name, data in first.items()})
        place.write(entry_key(number), sealed_entry(entry | {"shard": number}))
    set_attributes(place, {"complete": True})
    set_faults(options.endpoint, latency=options.latency)
    timed("to open, a shard", lambda: Store(place), layout.shards / 1000, "ms")


def sealed_entry(entry: dict[str, Any]) -> bytes:
    import json

    return json.dumps(sealed(entry), sort_keys=True).encode()


def prep(options: argparse.Namespace, folder: Path) -> None:
    source = make_source(folder / "faces", options.faces)
    images = {f"images/{path.name}": path.read_bytes() for path in sorted((folder / "faces" / "images").iterdir())}
    set_faults(options.endpoint)
    locate("s3://bench/faces").write_all(images)
    set_faults(options.endpoint, latency=options.latency)
    for workers in (1, 2):
        given = {"morphable": "builtin", "workers": workers}
        for what, store, place in (("disk", folder / f"{workers}.zarr", None), ("bucket", "", "s3://bench/faces")):
            store = store or f"s3://bench/{workers}.zarr"
            found = prepare(source, store, {}, images=place, **given)
            print(f"{what}, {workers} workers: {found['crops_per_second']:.0f} crops/s, {found['seconds']:.1f} s")


def reading(options: argparse.Namespace, folder: Path) -> None:
    place = locate("s3://bench/reading.zarr")
    layout = _new_store(place, 1)
    _shard(place, layout)
    pictures = Store(place, unfinished=True).array("images")
    chunk = layout.columns()["images"].chunk
    starts = np.random.default_rng(0).permutation(np.arange(0, layout.faces * layout.copies, chunk))
    for what, each in (("one after the other", map), ("side by side, as in training", ahead)):
        call = functools.partial(each, lambda s: pictures[s : s + chunk], starts)
        timed(f"a chunk of 64 crops, {what}", lambda call=call: list(call()), len(starts) / 1000, "ms")


PARTS = {part.__name__: part for part in (clients, shard, opening, prep, reading)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.03, help="seconds before each answer")
    parser.add_argument("--shards", type=int, default=200, help="for opening")
    parser.add_argument("--faces", type=int, default=512, help="for prep")
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated parts")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        s3_server(Path(name) / "log") as options.endpoint,
        pytest.MonkeyPatch.context() as patch,
    ):
        configure(patch, options.endpoint)
        import boto3

        boto3.client("s3").create_bucket(Bucket="bench")
        for part in options.only.split(","):
            print(part)
            set_faults(options.endpoint, latency=options.latency)
            PARTS[part](options, Path(name))


if __name__ == "__main__":
    main()
