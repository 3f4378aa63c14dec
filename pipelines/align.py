"""``pifa align``: landmarks, visibility and pose of the faces in images."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.boxes import check_box
from pifa_data.drawing import draw_box, draw_landmarks, write_png
from pifa_data.errors import AnnotationError, ImageError, PifaError
from pifa_data.images import read_image
from pifa_data.readers.base import IMAGE_SUFFIXES
from pifa_model.results import Alignment
from pipelines.checkpoints import load_aligner
from pipelines.progress import progress

_COLUMNS = ["image", "x0", "y0", "x1", "y1"]


@dataclass
class AlignSummary:
    """Faces aligned, as JSON objects, and the images that could not be, with the reason."""

    faces: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {"faces": self.faces, "failures": self.failures}


def run_align(
    checkpoint: str,
    paths: Sequence[Path],
    *,
    boxes: Path,
    overlay: Path | None = None,
    landmarks: str | None = None,
    morphable: str | None = None,
    registry: str | None = None,
    device: str = "auto",
) -> AlignSummary:
    """Align every face that ``boxes`` names in the images of ``paths`` (files and folders).

    Raises:
        PifaError, ZooError: the checkpoint or the boxes' file can't be used, or there is no image.
    """
    table = read_boxes(boxes)
    images = list(find_images(paths))
    if not images:
        raise AnnotationError(f"{', '.join(map(str, paths))}: no images found")
    aligner, _ = load_aligner(checkpoint, morphable=morphable, registry=registry, device=device)
    overlays = _overlay_files(overlay, images) if overlay is not None else {}
    summary = AlignSummary()
    with progress("aligning", len(images), "images") as advance:
        for path, name in images:
            try:
                found = _boxes_of(path, name, table, boxes)
                image = read_image(path)
                _check_overlap(path, image, found)
                faces = aligner(image, found, kind=landmarks)
            except PifaError as error:
                summary.failures.append({"image": str(path), "reason": str(error)})
            else:
                summary.faces += [face_json(path, face) for face in faces]
                if path in overlays:
                    overlays[path].parent.mkdir(parents=True, exist_ok=True)
                    write_png(overlays[path], draw_faces(image, faces))
            advance(1)
    return summary


def read_boxes(path: Path) -> dict[str, list[np.ndarray]]:
    """Boxes by image name from a CSV with the header ``image,x0,y0,x1,y1``; several rows an image are several faces.

    Raises:
        AnnotationError: no such file, another header, or a row that is no box.
    """
    table: dict[str, list[np.ndarray]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            if reader.fieldnames != _COLUMNS:
                raise AnnotationError(f"{path}: expected the header {','.join(_COLUMNS)}, found {reader.fieldnames}")
            for row in reader:
                try:
                    values = [float(row[name]) for name in _COLUMNS[1:]]
                except (TypeError, ValueError):
                    raise AnnotationError(f"{path}: line {reader.line_num}: expected four numbers") from None
                box = check_box(np.array(values), f"{path}: line {reader.line_num}")
                table.setdefault(row["image"].strip(), []).append(box)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path}: can't be read as a CSV of boxes ({error})") from error
    return table


def find_images(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Files as given, and the images of folders and the folders below them, sorted.

    Yields each image's path and its name: the path below the folder that was given, or the file's name.
    """
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            yield from ((image, image.relative_to(path)) for image in found)
        else:
            yield path, Path(path.name)


def face_json(path: Path, face: Alignment) -> dict[str, Any]:
    """One face as in ``pifa align --json``; pose in degrees, pixels of the image."""
    yaw, pitch, roll = np.degrees(face.pose)
    return {
        "image": str(path),
        "box": [round(float(v), 2) for v in face.box],
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
        "visibility": [int(v) for v in face.visibility],
        "pose": {"yaw": round(float(yaw), 2), "pitch": round(float(pitch), 2), "roll": round(float(roll), 2)},
        "score": round(face.score, 4),
    }


def format_faces(faces: list[dict[str, Any]], form: str) -> str:
    """Faces as text: ``json`` (one object a line), ``csv``, or ``pts`` (iBUG's blocks, pixels counted from 1)."""
    if form == "json":
        return "".join(json.dumps(face) + "\n" for face in faces)
    if form == "pts":
        blocks = []
        for face in faces:
            rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in face["landmarks"])
            blocks.append(f"// {face['image']}\nversion: 1\nn_points: {len(face['landmarks'])}\n{{\n{rows}\n}}\n")
        return "".join(blocks)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    points = len(faces[0]["landmarks"]) if faces else 0
    names = [f"p{i}_{part}" for i in range(points) for part in ("x", "y", "visible")]
    writer.writerow([*_COLUMNS, "yaw", "pitch", "roll", "score", *names])
    for face in faces:
        cells = [v for (x, y), seen in zip(face["landmarks"], face["visibility"], strict=True) for v in (x, y, seen)]
        writer.writerow([face["image"], *face["box"], *face["pose"].values(), face["score"], *cells])
    return text.getvalue()


def draw_faces(image: np.ndarray, faces: Sequence[Alignment]) -> np.ndarray:
    """Boxes yellow, visible landmarks green, hidden ones red."""
    picture = image
    for face in faces:
        radius = max(1.2, float(np.sqrt(np.prod(face.box[2:] - face.box[:2]))) / 90)
        picture = draw_landmarks(draw_box(picture, face.box), face.landmarks, face.visibility, radius)
    return picture


def _boxes_of(path: Path, name: Path, table: dict[str, list[np.ndarray]], file: Path) -> list[np.ndarray]:
    for key in (str(path), path.as_posix(), name.as_posix(), path.name):
        if key in table:
            return table[key]
    raise AnnotationError(f"{path}: {file} has no box for it (looked for {path}, {name.as_posix()} and {path.name})")


def _check_overlap(path: Path, image: np.ndarray, boxes: Sequence[np.ndarray]) -> None:
    height, width = image.shape[:2]
    for box in boxes:
        if box[2] <= 0 or box[3] <= 0 or box[0] >= width or box[1] >= height:
            raise ImageError(f"{path}: a box lies outside the image of {width}x{height} pixels")


def _overlay_files(folder: Path, images: Sequence[tuple[Path, Path]]) -> dict[Path, Path]:
    """The picture's file of each image: its name with .png, numbered where another image took that.

    Raises:
        AnnotationError: a picture would replace one of the images.
    """
    targets: dict[Path, Path] = {}
    inputs = {path.resolve() for path, _ in images}
    taken = set(inputs)
    for path, name in images:
        target, number = folder / name.with_suffix(".png"), 1
        if target.resolve() in inputs:
            raise AnnotationError(f"--overlay {folder}: {target} is one of the images; name another folder")
        while target.resolve() in taken:
            target, number = folder / name.with_name(f"{name.stem}_{number}.png"), number + 1
        taken.add(target.resolve())
        targets[path] = target
    return targets
