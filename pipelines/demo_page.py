"""The page of ``pifa demo``: each stage with its command, what it made, and how long it took."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from pifa_data.boxes import Square, box_size, square_of, tight_box
from pifa_data.camera import pose_angles
from pifa_data.drawing import contact_sheet, draw_landmarks
from pifa_data.errors import PifaError
from pifa_data.images import crop_image
from pifa_data.morphable import load_builtin
from pifa_data.rendering import RenderedFace
from pipelines.align.records import Record, is_face
from pipelines.demo import FRESH, NAME, PICTURES, SHEET, Demo
from pipelines.demo_photo import PRETRAINED, AlignedPhoto, align_photo
from pipelines.fit_tiles import Drawing, draw_fit
from pipelines.pages import picture_address, write_page
from pipelines.report_entries import Entry, of_evaluation, read_rounds
from pipelines.report_pictures import TILE, choose, draw_strip
from pipelines.report_tables import rows_of
from zoo.entry import WEIGHTS
from zoo.errors import ZooError

COLUMNS, SIDE = 8, 150
"""Of the sheet, and pixels of each face on it."""


@dataclass(frozen=True)
class FreshFace:
    """A fresh face as it was aligned: its truth and what was found, as a report's tiles show them."""

    face: str
    nme: float
    yaw: float
    drawing: Drawing


def write_demo_page(demo: Demo, path: Path) -> None:
    """Write it.

    Raises:
        OSError: no space, or no right to write.
    """
    from pipelines.report_charts import draw_charts  # Matplotlib is slow to import

    assert demo.evaluation is not None  # for the type checker: the page is written at the end
    assert demo.entry is not None
    entry = _with_rounds(of_evaluation(demo.evaluation), demo.out / "run" / "metrics.csv")
    fresh = draw_fresh(demo.fresh, demo.aligned)
    photo, why_not = _photo()
    strips = [
        {"rule": rule, "strip": draw_strip(demo.evaluation, at)} for rule, at in choose(demo.evaluation, few=False)[:3]
    ]
    write_page(
        path,
        "demo.html.j2",
        demo=demo,
        entries=[entry],
        rows=rows_of([entry]),
        charts=draw_charts([entry]),
        strips=strips,
        sheet=picture_address(draw_sheet(demo.rendered)),
        fresh=fresh,
        fresh_nme=float(np.mean([face.nme for face in fresh])) if fresh else None,
        photo=_photo_parts(photo) if photo else None,
        why_not=why_not,
        weights=next(file for file in demo.entry.files if file.name == WEIGHTS),
        name=NAME,
        pretrained=PRETRAINED,
        pictures=PICTURES,
        wanted=FRESH,
        tile=TILE,
        quote=shlex.quote,
    )


def draw_sheet(faces: list[RenderedFace]) -> np.ndarray:
    """Rendered faces with their labels: visible ones green, hidden ones red."""
    tiles = []
    for face in faces[:SHEET]:
        large = cv2.resize(face.image, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)
        points = (face.landmarks + 0.5) * (2 * SIDE / len(face.image)) - 0.5
        drawn = draw_landmarks(large, points, face.visibility == 2, 2.6)
        tiles.append(cv2.resize(drawn, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return contact_sheet(tiles, min(COLUMNS, len(tiles)))


def draw_fresh(faces: dict[str, RenderedFace], records: list[Record]) -> list[FreshFace]:
    """The fresh faces with their truth and what was found for each, in the order of the records."""
    model, drawn = load_builtin(), []
    for record in records:
        if not is_face(record):
            continue
        face = faces["/".join(Path(record["image"]).parts[-3:])]
        found = np.array(record["landmarks"])
        truth = face.landmarks
        box = tight_box(truth, face.visibility)
        seen = face.visibility == 2
        error = np.linalg.norm(found - truth, axis=1)[seen].mean()
        square: Square = square_of(box, 1.6, TILE)
        params = np.concatenate([record["camera"], record["coefficients"]])
        drawn.append(
            FreshFace(
                face=Path(record["image"]).parts[-3],
                nme=float(100 * error / box_size(box)),
                yaw=float(np.degrees(pose_angles(face.params[:8].reshape(2, 4))[0])),
                drawing=draw_fit(
                    *(square, crop_image(face.image, square), truth, face.visibility, found, params),
                    *(model, "ibug68"),
                ),
            )
        )
    return drawn


def _with_rounds(entry: Entry, file: Path) -> Entry:
    notes: list[str] = []
    return replace(entry, rounds=read_rounds(file, notes), notes=notes)


def _photo() -> tuple[AlignedPhoto | None, str]:
    """The real photograph, or why there is none: it is another package's, and may be missing."""
    try:
        return align_photo(), ""
    except (PifaError, ZooError) as error:
        return None, str(error)


def _photo_parts(photo: AlignedPhoto) -> dict[str, object]:
    yaw, pitch, roll = np.degrees(photo.face.pose)
    return {
        "file": photo.file,
        "overlay": picture_address(photo.overlay()),
        "mesh": picture_address(photo.mesh()),
        "score": photo.face.score,
        "pose": f"yaw {yaw:.0f}°, pitch {pitch:.0f}°, roll {roll:.0f}°",
    }
