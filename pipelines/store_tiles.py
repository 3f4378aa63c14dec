"""The faces of the page about a store: which ones are drawn, and how."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pifa_data.boxes import Square, square_of
from pifa_data.fitting import landmarks_of
from pipelines.fit_tiles import Drawing, draw_fit
from pipelines.pages import picture_address
from pipelines.progress import Advance
from pipelines.store_crops import enlarge
from pipelines.store_reader import StoreReader, even_of
from pipelines.store_table import FaceTable

EVEN, TURNED, WORST = 12, 6, 12
"""Faces of each part of the contact sheet."""

COPIES = 40
"""Copies of one face that are drawn."""

TILE = 300
"""Units of a drawn face, and pixels of the pictures in it."""


def choose(table: FaceTable) -> list[tuple[str, list[int]]]:
    """The faces to draw, as rows of ``table``; the same ones for the same store every time."""
    faces = np.flatnonzero(table.photographed)
    if not len(faces):
        return []
    by_error = faces[np.argsort(-table.nme[faces], kind="stable")].tolist()
    by_turn = faces[np.argsort(-table.pose[faces, 0], kind="stable")].tolist()
    sections = [("All faces", by_error)]
    if len(faces) > EVEN:
        sections = [
            ("Worst fits", by_error[:WORST]),
            ("Turned most to the image's left (yaw > 0)", by_turn[:TURNED]),
            ("Turned most to the image's right (yaw < 0)", by_turn[::-1][:TURNED]),
            ("At equal distances over the store", even_of(faces.tolist(), EVEN)),
        ]
    if table.profile.any():
        by_profile = np.argsort(-np.abs(table.profile), kind="stable")[:TURNED].tolist()
        sections.append(("Views turned most by face profiling", by_profile))
    return sections


@dataclass(frozen=True)
class Tile:
    """One drawn face: its unjittered crop.

    Attributes:
        name: the face's.
        nme: percent of the tight box.
        pose: yaw, pitch, roll, degrees.
        size: of the box, pixels of the source image.
        profile: degrees that its yaw was turned by face profiling.
        drawing: labels, fit and mesh, a square of ``TILE`` units.
    """

    name: str
    nme: float
    pose: tuple[float, float, float]
    size: float
    profile: float
    drawing: Drawing


def draw_face(reader: StoreReader, table: FaceTable, i: int, advance: Advance) -> Tile:
    """Draw one face's unjittered crop: labels, fitted points, mesh."""
    face, store = int(table.number[i]), reader.store
    crops = reader.crops(reader.rows_of(face)[:1])
    image, params = crops.images[0], crops.params[0].astype(np.float64)
    where = slice(face, face + 1)
    fitted = landmarks_of(store.model, reader.scheme, params[None], store.text("kind", where)[0])[0]
    side = len(image)
    square = Square(x=(side - 1) / 2, y=(side - 1) / 2, side=side, size=TILE)
    drawing = draw_fit(
        *(square, enlarge(image, TILE), crops.landmarks[0].astype(np.float64), crops.visibility[0], fitted, params),
        *(store.model, reader.scheme),
    )
    advance(1)
    yaw, pitch, roll = table.pose[i].tolist()
    return Tile(
        name=store.text("id", where)[0],
        nme=float(table.nme[i]),
        pose=(yaw, pitch, roll),
        size=float(table.size[i]),
        profile=float(table.profile[i]),
        drawing=drawing,
    )


@dataclass(frozen=True)
class Copy:
    """One crop of a face: the photo as the network gets it, and its points, in crop pixels."""

    number: int
    mirrored: bool
    photo: str
    points: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Copies:
    """The copies of one face.

    Attributes:
        name: the face's.
        plain: photo of the unjittered crop.
        boxes: (x, y, width, height) of each shown copy's box in the pixels of that crop.
        shown: the first copies, of ``count``.
    """

    name: str
    plain: str
    boxes: list[list[float]]
    shown: list[Copy]
    count: int


def draw_copies(reader: StoreReader, face: int, advance: Advance) -> Copies:
    """One face as often as the store has it."""
    rows = reader.rows_of(face)
    crops = reader.crops(rows[:COPIES])
    config = reader.store.attributes["config"]
    square = square_of(crops.boxes[0], float(config["grow"]), reader.layout.size)
    at = np.round(crops.landmarks.astype(np.float64), 1)
    shown = []
    for i, image in enumerate(crops.images):
        seen = crops.visibility[i]
        points = [(*at[i, point], "seen" if seen[point] == 2 else "covered") for point in np.flatnonzero(seen)]
        shown.append(Copy(int(crops.copy[i]), bool(crops.mirrored[i]), picture_address(image), points))
        advance(1)
    boxes = square.to_crop(crops.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    return Copies(
        name=reader.store.text("id", slice(face, face + 1))[0],
        plain=picture_address(enlarge(crops.images[0])),
        boxes=np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).round(1).tolist(),
        shown=shown,
        count=len(rows),
    )
