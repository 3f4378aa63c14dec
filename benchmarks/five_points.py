"""Where the tight box lies about five points (eyes, nose, corners of the mouth): ``pifa_data/detection/yunet.py``.

    python benchmarks/five_points.py SOURCE... --morphable NAME [--faces N]

The points are made of the labels as a detector gives them: the means of six points about each eye, the nose's tip, the
corners of the mouth. With e and m the middles of eyes and mouth, n the nose, d = m − e and w the eyes' distance

    centre = (e + m)/2 + a d + b (n − (e + m)/2),    size = c ‖d‖ + f w,

least squares over the faces as they are and turned to 60° and 80°, in √(w·h) of the tight box.
"""

from __future__ import annotations

import argparse

import numpy as np
from detector import turned_faces

from pifa_data.boxes import box_size, tight_box
from pifa_data.camera import pose_angles
from pifa_data.detection.yunet import tight_of_points
from pifa_data.fitting import Fitters
from pifa_data.labels import fit_faces
from pipelines.sources import find_model, load_faces


def five_of(landmarks: np.ndarray) -> np.ndarray:
    """``(5, 2)`` of ``(68, 2)``: the eye on the image's left, the other, nose, corners of the mouth."""
    return np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0), *landmarks[[30, 48, 54]]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="of 68 points")
    parser.add_argument("--morphable", default="builtin")
    parser.add_argument("--faces", type=int, default=200, help="so many, evenly spread")
    options = parser.parse_args()
    faces, _ = load_faces(options.sources)
    faces = [faces[i] for i in np.unique(np.linspace(0, len(faces) - 1, options.faces).astype(int))]
    model = find_model(options.morphable)
    params = fit_faces(faces, Fitters(model)(faces[0].scheme)).params
    yaw = pose_angles(params[:, :8].reshape(-1, 2, 4))[:, 0]
    sets = {"as they are": [(face.landmarks, face.visibility) for face in faces]}
    for degrees in (60, 80):
        turned, _ = turned_faces(faces, params, model, yaw, degrees)
        sets[f"turned to {degrees}°"] = [(face.landmarks, face.visibility) for face in turned]
    centres, sizes, targets = [], [], []
    for landmarks, visibility in (one for part in sets.values() for one in part):
        left, right, nose, *mouth = five_of(landmarks)
        eyes, lips = (left + right) / 2, np.mean(mouth, axis=0)
        box = tight_box(landmarks, visibility)
        size, middle = float(box_size(box)), (eyes + lips) / 2
        centres.append(np.stack([lips - eyes, nose - middle], axis=1) / size)
        sizes.append([np.linalg.norm(lips - eyes) / size, np.linalg.norm(right - left) / size])
        targets.append(((box[:2] + box[2:]) / 2 - middle) / size)
    a, b = np.linalg.lstsq(np.concatenate(centres), np.concatenate(targets), rcond=None)[0]
    c, f = np.linalg.lstsq(np.array(sizes), np.ones(len(sizes)), rcond=None)[0]
    print(f"a {a:.3f}, b {b:.3f}, c {c:.3f}, f {f:.3f}")
    for name, part in sets.items():
        off = []
        for landmarks, visibility in part:
            box, found = tight_box(landmarks, visibility), tight_of_points(five_of(landmarks))
            size = box_size(box)
            off.append([*((found[:2] + found[2:] - box[:2] - box[2:]) / 2 / size), np.log(box_size(found) / size)])
        mean, deviation = np.mean(off, axis=0), np.std(off, axis=0)
        print(f"{name}: " + ", ".join(f"{n} {m:.3f} ± {d:.3f}" for n, m, d in zip("xys", mean, deviation, strict=True)))


if __name__ == "__main__":
    main()
