"""Speed and memory of reading labels, format by format, in one run.

    python benchmarks/readers.py [FORMAT...] [--faces N] [--times 3] [--json FILE]

Writes label files of each format with so many faces, reads them through everything that ``pifa fit`` and ``pifa prep``
read them through (checks included), once to warm the cache and then a few times, each in a process of its own, and
prints the best. Memory is what a process needs at four times the faces more than at so many. These machines are shared:
compare the columns, whose unit is the time that Python's ``float`` takes for the numbers of one 68-point face.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.io import savemat

from pifa_data.faces import Face
from pifa_data.readers import FORMATS, read_faces

ASKED = {"300w": 20_000, "merl-rav": 20_000, "aflw2000": None, "yolo-pose": None}
"""Faces a second: 20,000 of trees of .pts files, 100,000 of single files; nothing is asked of other trees."""
TURNED = np.random.default_rng(0)


def faces_of(count: int, points: int) -> np.ndarray:
    """``(count, points, 2)`` pixels with the decimals that annotation tools write."""
    return TURNED.uniform(100, 900, (count, points, 2)).round(3)


def _text(points: np.ndarray, sign: str) -> str:
    return sign.join(f"{v:.3f}" for v in points.ravel())


def _pts(points: np.ndarray) -> str:
    return "version: 1\nn_points:  68\n{\n" + "\n".join(f"{x:.6f} {y:.6f}" for x, y in points) + "\n}\n"


def keypoints_csv(folder: Path, count: int) -> Path:
    with (folder / "keypoints.csv").open("w") as file:
        file.writelines(f"training_Person_{i}_01.jpg,{_text(p, ',')}\n" for i, p in enumerate(faces_of(count, 68)))
    return folder


def w300(folder: Path, count: int) -> Path:
    root = folder / "helen" / "trainset"
    root.mkdir(parents=True)
    for i, points in enumerate(faces_of(count, 68)):
        (root / f"{i}.pts").write_text(_pts(points))
        (root / f"{i}.jpg").touch()
    return folder


def merl_rav(folder: Path, count: int) -> Path:
    root = folder / "frontal" / "trainset" / "labels"
    root.mkdir(parents=True)
    for i, points in enumerate(faces_of(count, 68)):
        (root / f"image{i:06}.pts").write_text(_pts(points))
    return folder


def wflw(folder: Path, count: int) -> Path:
    (folder / "WFLW_images").mkdir()
    labels = folder / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    labels.mkdir(parents=True)
    with (labels / "list_98pt_rect_attr_test.txt").open("w") as file:
        file.writelines(
            f"{_text(p, ' ')} 100 100 900 900 0 1 0 0 1 0 36--Football/{i}.jpg\n"
            for i, p in enumerate(faces_of(count, 98))
        )
    return folder


def hrnet_csv(folder: Path, count: int) -> Path:
    header = "image_name,scale,center_w,center_h," + ",".join(f"original_{i}_{a}" for i in range(68) for a in "xy")
    with (folder / "face_landmarks_300w_train.csv").open("w") as file:
        file.write(header + "\n")
        file.writelines(
            f"helen/trainset/{i}.jpg,2.5,500.0,500.0,{_text(p, ',')}\n" for i, p in enumerate(faces_of(count, 68))
        )
    return folder / "face_landmarks_300w_train.csv"


def coco_json(folder: Path, count: int, points: int = 68) -> Path:
    path = folder / "face_landmarks_300w_train.json"
    with path.open("w") as file:
        images = (f'{{"id": {i}, "file_name": "{i}.jpg", "height": 1000, "width": 1000}}' for i in range(count))
        file.write('{"images": [' + ", ".join(images) + '], "annotations": [')
        for i, p in enumerate(faces_of(count, points)):
            keypoints = ", ".join(f"{x:.3f}, {y:.3f}, 1" for x, y in p)
            file.write(
                f'{", " if i else ""}{{"image_id": {i}, "id": {i}, "keypoints": [{keypoints}], '
                f'"num_keypoints": {points}, "bbox": [100.5, 100.5, 800.0, 800.0], "iscrowd": 0, "area": 640000.0, '
                '"category_id": 1}'
            )
        file.write("]}")
    return path


def coco_json_19(folder: Path, count: int) -> Path:
    return coco_json(folder, count, 19)


def dlib_xml(folder: Path, count: int) -> Path:
    path = folder / "training.xml"
    with path.open("w") as file:
        file.write("<?xml version='1.0' encoding='ISO-8859-1'?>\n<dataset>\n<images>\n")
        for i, p in enumerate(faces_of(count, 68).round().astype(int)):
            parts = "".join(f"      <part name='{n:02}' x='{x}' y='{y}'/>\n" for n, (x, y) in enumerate(p))
            file.write(
                f"  <image file='{i}.jpg' width='1000' height='1000'>\n"
                f"    <box top='100' left='100' width='800' height='800'>\n{parts}    </box>\n  </image>\n"
            )
        file.write("</images>\n</dataset>\n")
    return path


def aflw(folder: Path, count: int) -> Path:
    from aflw_database import make_database

    make_database(folder / "aflw.sqlite", count)
    return folder


def aflw_19(folder: Path, count: int) -> Path:
    names = np.array([[f"0/image{i:05}.jpg"] for i in range(count)], dtype=object)
    points = faces_of(count, 19)
    savemat(
        folder / "AFLWinfo_release.mat",
        {
            "nameList": names,
            "data": np.concatenate([points[..., 0], points[..., 1]], axis=1),
            "mask_new": np.ones((count, 19), np.uint8),
            "bbox": np.tile([100.0, 900, 100, 900], (count, 1)),
            "ra": np.arange(1, count + 1)[None],
        },
    )
    return folder


def aflw_lpfa(folder: Path, count: int) -> Path:
    points = faces_of(count, 34)
    phis = np.concatenate([points[..., 0], points[..., 1], np.ones((count, 34))], axis=1)
    boxes = np.tile([100.0, 100, 800, 800], (count, 1))
    savemat(folder / "Landmark.mat", {"phisTr": phis, "phisT": phis[:1]})
    savemat(folder / "BoundingBox.mat", {"bboxesTr": boxes, "bboxesT": boxes[:1]})
    return folder


def aflw2000(folder: Path, count: int) -> Path:
    for i, points in enumerate(faces_of(count, 68)):
        pose = np.array([[0.1, 0.2, 0.3, 100, 100, 0, 1e-3]], np.float32)
        deep = np.concatenate([points.T, points.T[:1]]).astype(np.float32)
        savemat(folder / f"image{i:05}.mat", {"pt3d_68": deep, "Pose_Para": pose}, do_compression=True)
    return folder


def afw(folder: Path, count: int) -> Path:
    rows = np.empty((count, 4), object)
    one = np.empty((1, 1), object)
    for i, points in enumerate(faces_of(count, 6)):
        cells = [one.copy() for _ in range(3)]
        for cell, value in zip(cells, (np.array([[1.0, 1], [900, 900]]), np.zeros((1, 3)), points), strict=True):
            cell[0, 0] = value
        rows[i] = [f"{i}.jpg", *cells]
    savemat(folder / "anno.mat", {"anno": rows})
    return folder


def cofw(folder: Path, count: int) -> Path:
    from matlab import write_mat73

    points = faces_of(count, 29)
    phis = np.concatenate([points[..., 0], points[..., 1], np.zeros((count, 29))], axis=1)
    boxes = np.tile([100.0, 100, 800, 800], (count, 1))
    return write_mat73(folder / "COFW_test_color.mat", {"phisT": phis, "bboxesT": boxes})


def yolo_pose(folder: Path, count: int) -> Path:
    for part in ("labels", "images"):
        (folder / part).mkdir()
    first = folder / "images" / "0.png"
    cv2.imwrite(str(first), np.zeros((1000, 1000, 3), np.uint8))
    for i, points in enumerate(faces_of(count, 68) / 1000):
        values = " ".join(f"{x:.6f} {y:.6f} 2" for x, y in points)
        (folder / "labels" / f"{i}.txt").write_text(f"0 0.5 0.5 0.8 0.8 {values}\n")
        if i:
            first.with_name(f"{i}.png").hardlink_to(first)
    return folder


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "300w": w300,
    "merl-rav": merl_rav,
    "keypoints-csv": keypoints_csv,
    "hrnet-csv": hrnet_csv,
    "wflw": wflw,
    "coco-json": coco_json,
    "coco-json (19 points)": coco_json_19,
    "dlib-xml": dlib_xml,
    "aflw": aflw,
    "aflw-19": aflw_19,
    "aflw-lpfa": aflw_lpfa,
    "afw": afw,
    "cofw": cofw,
    "aflw2000": aflw2000,
    "yolo-pose": yolo_pose,
}


def unit_seconds() -> float:
    """Seconds that ``float`` takes for the 136 numbers of a face, the best of many tries."""
    parts = [_text(points, ",").split(",") for points in faces_of(500, 68)]
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for part in parts:
            list(map(float, part))
        best = min(best, time.perf_counter() - start)
    return best / len(parts)


READ = """
import resource, sys, time
from pifa_data.readers import FORMATS, read_faces
from pifa_data.faces import Face
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
faces = sum(isinstance(face, Face) for face in read_faces(sys.argv[1], FORMATS))
print(faces, time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def read(source: str) -> tuple[int, float, float]:
    """Faces, processor seconds and mebibytes of memory more than before, of one process that reads a source."""
    done = subprocess.run([sys.executable, "-c", READ, source], capture_output=True, text=True, check=True)
    faces, seconds, kilobytes = done.stdout.split()
    return int(faces), float(seconds), float(kilobytes) / 1024


def measure(name: str, count: int, times: int) -> dict[str, Any]:
    """One row of the table."""
    fmt = name.partition(" ")[0]
    with tempfile.TemporaryDirectory() as folder:
        few, many = (Path(folder) / part for part in ("few", "many"))
        for path in (few, many):
            path.mkdir()
        source = f"{fmt}:{BUILDERS[name](few, count)}"
        larger = f"{fmt}:{BUILDERS[name](many, 4 * count)}"
        first = next(face for face in read_faces(source, FORMATS) if isinstance(face, Face))
        read(larger)  # warms the cache
        runs = [read(larger) for _ in range(times)]
        small = read(source)
    faces = runs[0][0]
    seconds = min(run[1] for run in runs)
    return {
        "faces": faces,
        "points": len(first.landmarks),
        "faces_per_second": faces / seconds,
        "microseconds": 1e6 * seconds / faces,
        "mebibytes": min(run[2] for run in runs),
        "bytes_per_further_face": 2**20 * (min(run[2] for run in runs) - small[2]) / (faces - small[0]),
        "asked": ASKED.get(fmt, 100_000),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", help=f"of {', '.join(BUILDERS)}; all by default")
    parser.add_argument("--faces", type=int, default=5000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # which make some of the files
    if unknown := set(options.formats) - set(BUILDERS):
        parser.error(f"no files are made of {', '.join(sorted(unknown))}; expected some of {', '.join(BUILDERS)}")
    unit = unit_seconds()
    print(f"float() of 136 numbers: {1e6 * unit:.1f} µs\n")
    print("| format | points | faces a second | of what is asked | µs a face | ÷ float() | MiB | bytes a face more |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    results = {}
    for name in options.formats or BUILDERS:
        row = measure(name, options.faces, options.times)
        row["of_float"] = 1e-6 * row["microseconds"] / unit
        results[name] = row
        share = f"{row['faces_per_second'] / row['asked']:.2f}" if row["asked"] else "-"
        print(
            f"| {name} | {row['points']} | {row['faces_per_second']:,.0f} | {share} | {row['microseconds']:.1f} "
            f"| {row['of_float']:.2f} | {row['mebibytes']:.0f} | {row['bytes_per_further_face']:.0f} |",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
