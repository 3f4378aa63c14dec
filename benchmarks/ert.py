"""dlib's regression trees (Kazemi and Sullivan, CVPR 2014), trained on the same faces and measured on the same boxes.

    pip install dlib                    # ten minutes to compile; or dlib-bin, which is compiled
    python benchmarks/ert.py train SOURCE --out MODEL.dat [--copies 5] [--oversampling 5] [--threads 2] [--without FILE]
    python benchmarks/ert.py measure SOURCE... --model MODEL.dat [--boxes jittered|tight] [--json FILE]

Training: each face with so many boxes, jittered as `pifa prep` jitters them, each again from as many initial shapes;
all else as dlib has it. ``--without`` names a file with a person a line who is left out: those whom a run held out are
in its config.json. Measuring: the boxes of ``pifa eval SOURCE --boxes jittered``, the same for every method, and its
NME. Labels are taken as they are; dlib rounds them to whole pixels. Times are of one thread, a face at a time, boxes
given.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import dlib
import numpy as np

from pifa_data.boxes import face_rng, jitter_box, square_of, tight_box
from pifa_data.faces import Face
from pifa_data.images import read_image
from pifa_data.schemes import get_scheme
from pifa_model.metrics import face_errors, mean_of
from pipelines.eval_collect import jittered_box
from pipelines.eval_measure import interval, truth_of
from pipelines.sources import load_faces


def rectangle(box: np.ndarray) -> dlib.rectangle:
    """The square about a box, as the networks get it; dlib takes whole pixels."""
    square = square_of(box, 1.0, 100)
    corners = square.to_image(np.array([[-0.5, -0.5], [99.5, 99.5]])).round().astype(int)
    return dlib.rectangle(*(int(v) for v in corners.ravel()))


def train(faces: list[Face], options: argparse.Namespace) -> None:
    """Train and write a model."""
    images, objects = [], []
    for face in faces:
        tight = tight_box(face.landmarks, face.visibility)
        points = [dlib.point(int(x), int(y)) for x, y in face.landmarks.round()]
        images.append(read_image(face.image))
        objects.append(
            [
                dlib.full_object_detection(
                    rectangle(tight if i == 0 else jitter_box(tight, face_rng(1, face.id, i))), points
                )
                for i in range(options.copies)
            ]
        )
    how = dlib.shape_predictor_training_options()
    how.oversampling_amount = options.oversampling
    how.num_threads, how.be_verbose, how.random_seed = options.threads, True, "0"
    start = time.perf_counter()
    dlib.train_shape_predictor(images, objects, how).save(str(options.out))
    print(f"{options.out}: {len(faces)} faces, {time.perf_counter() - start:.0f} s")


def measure(faces: list[Face], options: argparse.Namespace) -> dict[str, object]:
    """NME of the tight box, percent, with its interval, and milliseconds a face."""
    model = dlib.shape_predictor(str(options.model))
    found, seconds = [], 0.0
    for face in faces:
        tight = tight_box(face.landmarks, face.visibility)
        box = tight if options.boxes == "tight" else jittered_box(tight, face.id)
        image = read_image(face.image)
        start = time.perf_counter()
        shape = model(image, rectangle(box))
        seconds += time.perf_counter() - start
        found.append([[p.x, p.y] for p in shape.parts()])
    errors = face_errors(np.array(found, np.float64), truth_of(faces), "tight", get_scheme("ibug68"))
    ends = interval(errors, [face.subject for face in faces]) or {}
    return {
        "faces": len(faces),
        "nme": mean_of(errors),
        "low": ends.get("low"),
        "high": ends.get("high"),
        "ms_per_face": 1e3 * seconds / len(faces),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["train", "measure"])
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="of 68 points, all of which are labelled")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--copies", type=int, default=5, help="boxes a face")
    parser.add_argument("--oversampling", type=int, default=5, help="initial shapes a box")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--without", type=Path, help="people to leave out, a name a line")
    parser.add_argument("--boxes", choices=["jittered", "tight"], default="jittered")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if (options.out if options.do == "train" else options.model) is None:
        parser.error("give --out to train, --model to measure")
    faces, _ = load_faces(options.sources)
    out = set(options.without.read_text(encoding="utf-8").splitlines()) if options.without else set()
    faces = [face for face in faces if face.subject not in out and len(face.landmarks) == 68]
    if any(not face.visibility.all() for face in faces):
        parser.error("a face has points without a label")
    if not faces:
        parser.error("no face of 68 points is left")
    if options.do == "train":
        train(faces, options)
        return
    values = measure(faces, options)
    print(json.dumps(values))
    if options.json:
        options.json.write_text(json.dumps(values), encoding="utf-8")


if __name__ == "__main__":
    main()
