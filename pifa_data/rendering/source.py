"""Rendered faces as a source that every command reads: COCO's JSON (``coco-json``), which keeps visibility.

    FOLDER/annotations/rendered.json
    FOLDER/images/person_0007/imgs/0002.jpg

That is how 300VW's frames lie, so the pictures of one person are known to be of one person, and stay on one side of a
split.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from pifa_data.boxes import tight_box
from pifa_data.errors import ImageError
from pifa_data.rendering.renderer import FaceRenderer, RenderedFace

QUALITY = 95


def write_source(
    folder: Path,
    renderer: FaceRenderer,
    *,
    seed: int,
    people: range,
    pictures: int,
    keep: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, RenderedFace]:
    """Render so many pictures of each person and write them; the same bytes for the same arguments.

    Args:
        folder: is made; files in it are replaced.
        people: numbers of the people.
        keep: give so many of the faces back at most, spread over all of them, as each has its picture; None: all.
        advance: is told of each picture.

    Returns:
        Faces by their files' names, as the table has them.

    Raises:
        OSError: no space, or no right to write.
    """
    faces: dict[str, RenderedFace] = {}
    step = max(1, len(people) * pictures // keep) if keep else 1
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in people:
        person = renderer.person(seed, number)
        for picture in range(pictures):
            face = renderer.photograph(person, seed, number, picture)
            name = f"person_{number:04d}/imgs/{picture:04d}.jpg"
            file = folder / "images" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_encoded(face, name))
            if len(images) % step == 0 and (keep is None or len(faces) < keep):
                faces[name] = face
            of = len(images) + 1
            images.append({"id": of, "file_name": name, "width": renderer.size, "height": renderer.size})
            annotations.append(_annotation(face, of))
            advance(1)
    table = folder / "annotations" / "rendered.json"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return faces


def _annotation(face: RenderedFace, number: int) -> dict[str, Any]:
    points: list[float] = []
    for (x, y), seen in zip(face.landmarks, face.visibility, strict=True):
        points += [round(float(x), 3), round(float(y), 3), int(seen)]
    x0, y0, x1, y1 = (round(float(value), 3) for value in tight_box(face.landmarks, face.visibility))
    box = [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)]
    return {"id": number, "image_id": number, "category_id": 1, "keypoints": points, "bbox": box}


def _encoded(face: RenderedFace, name: str) -> bytes:
    picture = cv2.cvtColor(face.image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise ImageError(f"{name}: can't be encoded")
    return data.tobytes()
