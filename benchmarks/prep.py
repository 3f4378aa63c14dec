"""Speed and memory of ``pifa prep`` beside the floor of the same work without fitting, in one run.

    python benchmarks/prep.py SOURCE MORPHABLE [--faces N] [--workers N] [--json FILE]

The floor is what any tool must do for the same crops: decode the images, warp each 20 times, write the crops with the
same codec and chunks, on one core times the number of workers. These machines are shared: compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from pifa_data.boxes import face_rng, jitter_box, square_of, tight_box
from pifa_data.build import PrepConfig
from pifa_data.faces import Face
from pifa_data.images import CropSource, read_image
from pifa_data.store import Layout, create_store
from pipelines.prep import run_prep
from pipelines.sources import find_model, load_faces


def floor_seconds(faces: list[Face], config: PrepConfig, model_name: str, folder: Path) -> float:
    """Seconds on one core to decode, warp and write the crops of ``faces``, a shard's worth at a time."""
    import zarr

    cv2.setNumThreads(0)
    layout = Layout(len(faces), config.copies, config.size, 68, 9, {"id": 1})
    create_store(folder / "floor.zarr", layout, {}, find_model(model_name))
    images = zarr.open_array(folder / "floor.zarr" / "images", mode="r+", config={"write_empty_chunks": True})
    start = time.perf_counter()
    for shard in range(layout.shards):
        part = faces[layout.face_range(shard)]
        crops = np.empty((len(part), config.copies, config.size, config.size, 3), np.uint8)
        for f, face in enumerate(part):
            box = tight_box(face.landmarks, face.visibility)
            source = CropSource(read_image(face.image), square_of(box, config.grow, config.size))
            for copy in range(config.copies):
                jittered = jitter_box(box, face_rng(0, face.id, copy))
                crops[f, copy] = source.crop(square_of(jittered, config.grow, config.size))
        images[layout.row_range(shard)] = crops.reshape(-1, *crops.shape[2:])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("morphable")
    parser.add_argument("--faces", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    config = PrepConfig()
    faces, _ = load_faces([options.source], limit=options.faces)
    with tempfile.TemporaryDirectory() as folder:
        floor = floor_seconds(faces, config, options.morphable, Path(folder))
        summary = run_prep(
            [options.source],
            Path(folder) / "S.zarr",
            morphable=options.morphable,
            config=config,
            workers=options.workers,
            limit=options.faces,
        )
    crops = summary.crops
    result = {
        "faces": summary.faces,
        "workers": options.workers,
        "crops_per_second": crops / summary.seconds,
        "floor_crops_per_second": options.workers * crops / floor,
        "share_of_floor": summary.seconds and floor / options.workers / summary.seconds,
        # Kilobytes on Linux; the largest of the worker processes that have ended.
        "peak_worker_megabytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    for key, value in result.items():
        print(f"{key:24} {value:.3g}" if isinstance(value, float) else f"{key:24} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
