"""How well and how fast a detector finds faces: recall, false alarms and milliseconds.

    python benchmarks/detection.py SOURCE... [--detector NAME] [--faces N] [--sheet PNG] [--json FILE]

A face of the sources counts as found if a box overlaps its tight box by more than ``OVERLAP`` (intersection over
union); every other box is a false alarm, which is true of sources with one face a picture. One row for each score from
which on boxes are taken. ``tight`` is how far the expected tight box lies from the labelled one: standard deviations of
its centre in x and in y over √(w·h), and of ln √(w·h). Then the time of one picture of 640 × 480 and one of 12
megapixels (the sources' pictures, resized), decoded, on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np

from pifa_data.boxes import box_size, tight_box
from pifa_data.detection import Detection, open_detector
from pifa_data.drawing import contact_sheet, draw_box, write_png
from pifa_data.images import read_image
from pipelines.sources import load_faces

OVERLAP = 0.3
SCORES = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SIZES = ((640, 480), (4000, 3000))


def overlaps(found: list[Detection], tight: np.ndarray) -> np.ndarray:
    """Intersection over union of each detection's box with a tight box."""
    boxes = np.array([face.box for face in found]).reshape(-1, 4)
    shared = (np.minimum(boxes[:, 2:], tight[2:]) - np.maximum(boxes[:, :2], tight[:2])).clip(0).prod(1)
    return shared / (box_size(boxes) ** 2 + box_size(tight) ** 2 - shared)


def away(found: Detection, tight: np.ndarray) -> np.ndarray:
    """x, y and ln √(w·h) of the expected tight box against the labelled one."""
    size = box_size(tight)
    centre = (found.tight[:2] + found.tight[2:] - tight[:2] - tight[2:]) / 2 / size
    return np.array([*centre, np.log(box_size(found.tight) / size)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="as `pifa prep` takes it")
    parser.add_argument("--detector", default="haar", help="haar or a YuNet model's file")
    parser.add_argument("--faces", type=int, help="only so many, evenly spread")
    parser.add_argument("--sheet", type=Path, help="picture of the false alarms and of the faces missed")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector = open_detector(options.detector)
    faces, _ = load_faces(options.sources)
    faces = [faces[i] for i in np.unique(np.linspace(0, len(faces) - 1, options.faces or len(faces)).astype(int))]
    hits, alarms, offsets, tiles = [], [], [], []
    for face in faces:
        image = read_image(face.image)
        tight = tight_box(face.landmarks, face.visibility)
        found = detector(image)
        right = overlaps(found, tight) > OVERLAP
        hits.append(max((one.score for one, hit in zip(found, right, strict=True) if hit), default=-1.0))
        alarms += [one.score for one, hit in zip(found, right, strict=True) if not hit]
        offsets += [away(one, tight) for one, hit in zip(found, right, strict=True) if hit][:1]
        if not right.any() or not right.all():
            picture = draw_box(image, tight)
            for one in found:
                x0, y0, x1, y1 = np.round(one.box).astype(int).tolist()
                picture = cv2.rectangle(picture.copy(), (x0, y0), (x1, y1), (255, 0, 0), 1)
            side = max(picture.shape)
            square = np.zeros((side, side, 3), np.uint8)
            square[: picture.shape[0], : picture.shape[1]] = picture
            tiles.append(cv2.resize(square, (192, 192), interpolation=cv2.INTER_AREA))
    rows = [
        {
            "score": score,
            "recall": float((np.array(hits) >= score).mean()),
            "false_alarms_per_image": float((np.array(alarms) >= score).sum() / len(faces)),
        }
        for score in SCORES
    ]
    print("| score from | recall | false alarms an image |\n|-----------:|-------:|----------------------:|")
    for row in rows:
        print(f"| {row['score']:10.1f} | {row['recall']:6.1%} | {row['false_alarms_per_image']:21.3f} |")
    mean, deviation = np.mean(offsets, axis=0), np.std(offsets, axis=0)
    print("\ntight: " + ", ".join(f"{n} {m:.3f} ± {d:.3f}" for n, m, d in zip("xys", mean, deviation, strict=True)))
    times = {}
    for size in SIZES:
        image = cv2.resize(read_image(faces[0].image), size, interpolation=cv2.INTER_CUBIC)
        detector(image)
        best = min(_seconds(detector, image) for _ in range(5))
        times[f"{size[0]}x{size[1]}"] = 1e3 * best
        print(f"{size[0]} × {size[1]}: {1e3 * best:.0f} ms")
    if options.sheet and tiles:
        write_png(options.sheet, contact_sheet(tiles[:64], 8))
    if options.json:
        values = {"faces": len(faces), "rows": rows, "tight": [mean.tolist(), deviation.tolist()], "ms": times}
        options.json.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _seconds(detector: object, image: np.ndarray) -> float:
    start = time.perf_counter()
    detector(image)  # type: ignore[operator]
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
