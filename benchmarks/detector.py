"""How a face detector's boxes lie about the tight landmark boxes: ``DETECTOR_…`` in ``pifa_data/boxes.py``, and
``PROFILE_…`` in ``pifa_data/detection/haar.py``.

    python benchmarks/detector.py SOURCE... --morphable NAME [--faces N] [--turned DEG] [--sheet PNG] [--json FILE]

OpenCV's Haar cascades look for each face in its whole image, the profile cascade also in the mirrored one, at OpenCV's
own settings. Of what one finds, the box that overlaps the tight box best is the face's, if by more than ``OVERLAP``.
dx, dy: offset of its centre over √(w·h) of the tight box, dx the way that the nose points; ln w, ln h: logarithms of
the ratios of width and height (a cascade's boxes are square); each ± its standard deviation, by the fit's yaw.

``turn`` is the slope of dx over sin yaw, up to 45°, ``shift`` what a face without yaw is moved to the image's right.
What then is left, in x, in y and of ln √(w·h), is said by its deviations, the largest correlation between them, and the
share of faces farther out than three deviations (0.27 % of Gaussian ones). ``in 1.6`` is the share of crops of that
grow that keep every landmark. The row ``drawn`` is what ``detector_box`` and ``jitter_box`` give for the same faces: it
should read as ``frontalface_alt2``. ``profile alone`` is ``profileface`` where ``frontalface_alt2`` finds nothing.

``--turned DEG`` measures each face turned to that yaw (``pifa_data/profiling``) instead of the face itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pifa_data.boxes import DETECTOR_SCALE, DETECTOR_SHIFT, box_size, detector_box, face_rng, jitter_box, tight_box
from pifa_data.camera import pose_angles
from pifa_data.drawing import write_png
from pifa_data.errors import ImageError
from pifa_data.faces import Face
from pifa_data.fitting import Fitters
from pifa_data.images import read_image
from pifa_data.labels import fit_faces
from pifa_data.morphable import MorphableModel
from pifa_data.profiling import FaceTurner
from pipelines.sources import find_model, load_faces

CASCADES = ("frontalface_alt2", "frontalface_default", "profileface")
OVERLAP = 0.3
"""Intersection over union. The frontal cascades' boxes have a median of 0.57, 99 % are above 0.4."""
BINS = ((0, 91), (0, 10), (10, 20), (20, 30), (30, 45), (45, 60), (60, 75), (75, 91))
NAMES = ("dx", "dy", "ln w", "ln h")
GROWS = (1.22, 1.4, 1.6, 1.8)
COLOURS = {"tight": (255, 255, 255), "frontalface_alt2": (0, 255, 0), "profileface": (255, 0, 255)}


@dataclass(frozen=True)
class Seen:
    """A face and the picture that it is looked for in."""

    id: str
    landmarks: np.ndarray
    visibility: np.ndarray
    read: Callable[[], np.ndarray]


def turned_faces(
    faces: list[Face], params: np.ndarray, model: MorphableModel, yaw: np.ndarray, degrees: float
) -> tuple[list[Seen], np.ndarray]:
    """The faces turned to their own side, each in the square picture around it, and their yaw."""
    turner = FaceTurner(model, faces[0].scheme)
    found, angles = [], []
    for face, fit, own in zip(faces, params, yaw, strict=True):
        if abs(own) < np.radians(degrees):
            [view] = turner.turn(read_image(face.image), fit, face.kind, [float(np.copysign(np.radians(degrees), own))])
            found.append(Seen(face.id, view.landmarks, view.visibility, partial(np.copy, view.image)))
            angles.append(view.yaw)
    return found, np.array(angles)


def detect(image: np.ndarray, cascade: cv2.CascadeClassifier, *, mirrored: bool) -> np.ndarray:
    """``(D, 4)`` boxes of what a cascade finds in an RGB image; their edges lie between pixels."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found = np.array(cascade.detectMultiScale(grey), np.float64).reshape(-1, 4)
    if mirrored:
        other = np.array(cascade.detectMultiScale(np.ascontiguousarray(grey[:, ::-1])), np.float64).reshape(-1, 4)
        other[:, 0] = grey.shape[1] - other[:, 0] - other[:, 2]
        found = np.concatenate([found, other])
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1) - 0.5


def best(found: np.ndarray, tight: np.ndarray) -> np.ndarray:
    """The box that overlaps ``tight`` best, ``(4,)``; NaN where none does by ``OVERLAP``."""
    shared = (np.minimum(found[:, 2:], tight[2:]) - np.maximum(found[:, :2], tight[:2])).clip(0).prod(1)
    overlap = shared / (box_size(found) ** 2 + box_size(tight) ** 2 - shared)
    return found[overlap.argmax()] if (overlap > OVERLAP).any() else np.full(4, np.nan)


def find(faces: list[Seen], tight: np.ndarray) -> dict[str, np.ndarray]:
    """Each cascade's boxes of the faces, ``(F, 4)``, NaN where it finds none."""
    boxes = {name: np.full((len(faces), 4), np.nan) for name in CASCADES}
    cascades = {name: cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml") for name in CASCADES}
    for f, face in enumerate(faces):
        try:
            image = face.read()
        except ImageError as error:
            print(f"{face.id}: {error}")
            continue
        for name, cascade in cascades.items():
            boxes[name][f] = best(detect(image, cascade, mirrored=name == "profileface"), tight[f])
    return boxes


def measures(boxes: np.ndarray, tight: np.ndarray) -> np.ndarray:
    """``(F, 4)``: dx (to the image's right), dy, ln w, ln h of boxes against tight boxes."""
    centre = ((boxes[:, :2] + boxes[:, 2:]) - (tight[:, :2] + tight[:, 2:])) / 2 / box_size(tight)[:, None]
    return np.concatenate([centre, np.log((boxes[:, 2:] - boxes[:, :2]) / (tight[:, 2:] - tight[:, :2]))], axis=1)


def by_yaw(found: np.ndarray, yaw: np.ndarray) -> list[dict[str, float | None]]:
    """A row for each bin of yaw, dx the way that the nose points."""
    turned = np.abs(np.degrees(yaw))
    along = found * np.where(np.arange(4) == 0, -np.sign(yaw)[:, None], 1)
    rows = []
    for low, high in BINS:
        at = (turned >= low) & (turned < high)
        seen = along[at & np.isfinite(along[:, 0])]
        row: dict[str, float | None] = {"low": low, "high": high, "faces": int(at.sum()), "found": len(seen)}
        for i, name in enumerate(NAMES):
            row[name] = float(seen[:, i].mean()) if len(seen) else None
            row[f"{name} sd"] = float(seen[:, i].std()) if len(seen) else None
        rows.append(row)
    return rows


def left_over(found: np.ndarray, yaw: np.ndarray) -> dict[str, Any]:
    """The slope of dx over sin yaw, and what is random when it is taken off."""
    use = np.isfinite(found[:, 0])
    if (near := use & (np.abs(np.degrees(yaw)) <= 45)).any():  # farther round it is no longer in proportion
        use = near
    dx, dy, ln = found[use, 0], found[use, 1], found[use, 2:].mean(1)
    sine = np.sin(yaw[use])
    slope, shift = np.polyfit(sine, dx, 1)
    rest = np.stack([dx - slope * sine - shift, dy - dy.mean(), ln - ln.mean()])
    correlation = np.corrcoef(np.concatenate([rest, sine[None]]))
    return {
        "turn": -float(slope),
        "shift": float(shift),
        "rise": -float(dy.mean()),
        "size": float(np.exp(ln.mean())),
        "deviations": rest.std(1).tolist(),
        "correlation": float(np.abs(correlation[np.triu_indices(3, 1)]).max()),
        "beyond three": (np.abs(rest) > 3 * rest.std(1, keepdims=True)).mean(1).tolist(),
    }


def inside(boxes: np.ndarray, faces: list[Seen]) -> list[float]:
    """Share of the crops of boxes that keep every labelled point, for each of ``GROWS``."""
    needed = []
    for box, face in zip(boxes, faces, strict=True):
        if np.isfinite(box).all():
            away = np.abs(face.landmarks[face.visibility > 0] - (box[:2] + box[2:]) / 2).max()
            needed.append(2 * away / box_size(box))
    return [float((np.array(needed) <= grow).mean()) for grow in GROWS]


def sheet(faces: list[Seen], tight: np.ndarray, boxes: dict[str, np.ndarray], yaw: np.ndarray) -> np.ndarray:
    """A picture of 24 faces from one side to the other, with their boxes."""
    tiles = []
    for f in np.argsort(yaw)[np.linspace(0, len(yaw) - 1, 24).astype(int)]:
        image = faces[f].read()
        scale = 256 / max(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for name, box in {"tight": tight[f], **{name: boxes[name][f] for name in boxes}}.items():
            if np.isfinite(box).all() and name in COLOURS:
                x0, y0, x1, y1 = np.round((box + 0.5) * scale - 0.5).astype(int).tolist()
                cv2.rectangle(image, (x0, y0), (x1, y1), COLOURS[name], 1 if name == "tight" else 2)
        cv2.putText(image, f"{np.degrees(yaw[f]):.0f}", (4, 16), 0, 0.5, (255, 255, 0))
        tiles.append(np.zeros((256, 256, 3), np.uint8))
        tiles[-1][: image.shape[0], : image.shape[1]] = image[:256, :256]
    return np.concatenate([np.concatenate(tiles[row : row + 6], axis=1) for row in range(0, 24, 6)])


def show(result: dict[str, Any]) -> None:
    print("| boxes               |    yaw | faces | found | " + " | ".join(f"{name:^14}" for name in NAMES) + " |")
    print("|---------------------|-------:|------:|------:|" + "---------------:|" * len(NAMES))
    for name, found in result.items():
        for row in (row for row in found["by_yaw"] if row["found"]):
            cells = " | ".join(f"{row[key]:6.3f} ± {row[f'{key} sd']:.3f}" for key in NAMES)
            start = f"{row['low']:>2}–{row['high']:<3} | {row['faces']:5} | {row['found'] / row['faces']:5.0%}"
            print(f"| {name:19} | {start} | {cells} |")
    heads = ("turn", "shift", "rise", "size", "left: x", "y", "ln √wh", "corr.", *(f"in {grow}" for grow in GROWS))
    print("\n| boxes               | " + " | ".join(f"{head:>7}" for head in heads) + " | beyond 3 sd         |")
    print("|---------------------|" + "--------:|" * len(heads) + "--------------------:|")
    for name, found in result.items():
        numbers = [found["turn"], found["shift"], found["rise"], found["size"], *found["deviations"]]
        cells = " | ".join(f"{n:7.3f}" for n in (*numbers, found["correlation"], *found["inside"].values()))
        print(f"| {name:19} | {cells} | " + ", ".join(f"{share:5.2%}" for share in found["beyond three"]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="as `pifa prep` takes it")
    parser.add_argument("--morphable", required=True, help="name or file of the model that tells the yaw")
    parser.add_argument("--faces", type=int, help="only so many, evenly spread")
    parser.add_argument("--turned", type=float, metavar="DEG", help="turn every face to this yaw first")
    parser.add_argument("--sheet", type=Path, help="picture of 24 faces with their boxes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    faces, _ = load_faces(options.sources)
    faces = [faces[i] for i in np.unique(np.linspace(0, len(faces) - 1, options.faces or len(faces)).astype(int))]
    fitters = Fitters(find_model(options.morphable))
    if len(schemes := {face.scheme for face in faces}) > 1:
        raise SystemExit(f"expected faces of one scheme, found {sorted(schemes)}; measure them one by one")
    params = fit_faces(faces, fitters(faces[0].scheme)).params
    yaw = pose_angles(params[:, :8].reshape(-1, 2, 4))[:, 0]
    seen = [Seen(face.id, face.landmarks, face.visibility, partial(read_image, face.image)) for face in faces]
    if options.turned is not None:
        seen, yaw = turned_faces(faces, params, find_model(options.morphable), yaw, options.turned)
    tight = np.stack([tight_box(face.landmarks, face.visibility) for face in seen])
    boxes = find(seen, tight)
    frontal = np.isfinite(boxes["frontalface_alt2"])
    boxes["profile alone"] = np.where(frontal, np.nan, boxes["profileface"])
    mean = detector_box(tight, yaw)
    boxes["drawn"] = np.stack(
        [
            jitter_box(box, face_rng(0, face.id, 1), DETECTOR_SHIFT, DETECTOR_SCALE)
            for box, face in zip(mean, seen, strict=True)
        ]
    )
    result = {}
    for name, found in boxes.items():
        if not np.isfinite(found).any():
            continue
        offsets = measures(found, tight)
        shares = dict(zip(GROWS, inside(found, seen), strict=True))
        result[name] = {"by_yaw": by_yaw(offsets, yaw), **left_over(offsets, yaw), "inside": shares}
    show(result)
    if options.sheet:
        write_png(options.sheet, sheet(seen, tight, boxes, yaw))
    if options.json:
        options.json.write_text(json.dumps({"faces": len(seen), **result}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
