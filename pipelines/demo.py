"""``pifa demo``: the main job once, small, on real faces."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from pifa_data.boxes import tight_box
from pifa_data.build import PrepConfig
from pifa_data.errors import AnnotationError
from pifa_data.faces import Face
from pifa_data.morphable import BUILTIN
from pifa_data.readers import FORMATS, read_faces
from pifa_model.config import load_config
from pipelines.align import run_align
from pipelines.evaluate import run_eval
from pipelines.prep import run_prep
from pipelines.registry import run_publish
from pipelines.train import run_training


def run_demo(out: Path, data: Path, *, faces: int, steps: int, say: Callable[[str], None]) -> None:
    """Prep, train, eval, publish, fetch, align; ``say`` gets a line a stage.

    Raises:
        PifaError: the data is not there, or a stage fails.
    """
    source, photos = data / "ytf68", data / "samples" / "300w_pts"
    for path in (source, photos):
        if not path.exists():
            raise AnnotationError(
                f"{path}: the demo needs labelled faces; "
                "name the folder that holds ytf68/ and samples/300w_pts/ with --data"
            )
    out.mkdir(parents=True, exist_ok=True)
    store, run, registry = (out / name for name in ("S.zarr", "run", "registry"))
    say(f"1/5  preparing {faces} faces into {store}")
    summary = run_prep(
        [f"keypoints-csv:{source}"],
        store,
        morphable=BUILTIN,
        config=PrepConfig(copies=10),
        limit=faces,
        overwrite=True,
    )
    say(f"     {summary.crops} crops, mean fit error {summary.fit_nme_mean:.2f} %")
    say(f"2/5  training {steps} steps into {run}")
    config = load_config("small")
    crops = int(summary.crops * 0.85)
    training = config.training.model_copy(
        update={
            "epochs": steps * config.training.batch_size / crops,
            "round_steps": 100,
            "val_fraction": 0.15,
        }
    )
    run_training(store, run, config.model_copy(update={"training": training}), overwrite=True)
    say("3/5  measuring on people it has not seen")
    result = run_eval(str(run), f"keypoints-csv:{source}", boxes="jittered", subset="val", limit=faces)
    metrics = out / "eval.json"
    metrics.write_text(json.dumps(result.values, indent=2), encoding="utf-8")
    blocks = ", ".join(f"{value:.2f}" for value in result.values["nme_per_block"])
    say(f"     NME {result.values['nme_initial']:.2f} % at the start; after each block {blocks}")
    version = f"0.{_next_version(registry)}.0"
    say(f"4/5  publishing demo68@{version} to {registry}")
    run_publish(str(run), name="demo68", version=version, registry=str(registry), metrics=(metrics,))
    say(f"5/5  aligning photos with demo68@{version} from the registry into {out / 'overlay'}")
    boxes = out / "boxes.csv"
    write_boxes(boxes, [face for face in read_faces(f"300w:{photos}", FORMATS) if isinstance(face, Face)])
    aligned = run_align(
        f"demo68@{version}",
        [photos],
        boxes=boxes,
        overlay=out / "overlay",
        registry=str(registry),
    )
    say(f"     {len(aligned.faces)} faces; look at the pictures in {out / 'overlay'} and at {run / 'curves.png'}")


def write_boxes(path: Path, faces: list[Face]) -> None:
    """The tight boxes of labelled faces as the CSV that ``pifa align --boxes`` reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "x0", "y0", "x1", "y1"])
        for face in faces:
            writer.writerow([face.image.name, *(f"{v:.2f}" for v in tight_box(face.landmarks, face.visibility))])


def _next_version(registry: Path) -> int:
    """One more than the versions that earlier demos published here; a version is never published twice."""
    return sum(1 for _ in registry.glob("demo68/*.*.*")) + 1
