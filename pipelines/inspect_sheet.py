"""The faces that ``pifa inspect`` draws: which ones, and how, for its page and for a PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pifa_data.boxes import Square
from pifa_data.drawing import contact_sheet, draw_box, draw_landmarks, draw_numbers, label_tile
from pifa_data.faces import Face
from pifa_data.schemes import get_scheme
from pipelines.inspect_fits import Fitted
from pipelines.inspect_problems import KINDS
from pipelines.inspect_survey import Survey
from pipelines.pages import picture_address
from pipelines.progress import Advance
from pipelines.tiles import cut_out, square_around

EVEN, TURNED, SMALLEST, WORST = 24, 6, 6, 12
"""Faces of each part of the sheet."""

FEW = 6
"""Faces up to which they are drawn large, and with the numbers of their points."""

COLUMNS = 6


@dataclass(frozen=True)
class Pick:
    """A face to draw, and what is told of it."""

    face: Face
    note: str
    flag: str = ""


@dataclass(frozen=True)
class Section:
    """Part of the sheet."""

    title: str
    picks: list[Pick]


def choose(survey: Survey, fitted: Fitted, sources: int) -> list[Section]:
    """The faces to draw, by a rule: the same ones for the same source every time.

    Args:
        sources: how many there are on the sheet; of many, fewer faces each.
    """
    count = len(fitted.faces)
    even = max(EVEN // sources, 6)

    def picks(numbers: Sequence[int] | np.ndarray) -> list[Pick]:
        return [Pick(fitted.faces[i], _note(fitted, int(i))) for i in numbers]

    if count <= even:
        sections = [Section("All faces", picks(range(count)))]
    else:
        spread = np.linspace(0, count - 1, even).round().astype(int)
        sections = [Section("At equal distances", picks(spread))]
    done = np.flatnonzero(fitted.done)
    if count > even and len(done):
        by_yaw = done[np.argsort(-fitted.pose[done, 0], kind="stable")]
        by_error = done[np.argsort(-fitted.nme[done], kind="stable")]
        sections += [
            Section("Turned most to the image's left (yaw > 0)", picks(by_yaw[:TURNED])),
            Section("Turned most to the image's right (yaw < 0)", picks(by_yaw[::-1][:TURNED])),
            Section("Worst fits", picks(by_error[:WORST])),
        ]
    if count > even:
        sections.append(Section("Smallest", picks(np.argsort(fitted.size, kind="stable")[:SMALLEST])))
    flagged = [Pick(face, "", KINDS[name]) for name, kind in survey.problems for face in kind.faces]
    if flagged:
        sections.append(Section("With problems, the first of each kind", flagged))
    return sections


def _note(fitted: Fitted, i: int) -> str:
    parts = [f"{fitted.size[i]:.0f} px"]
    if fitted.done[i]:
        yaw, pitch, roll = fitted.pose[i]
        parts.append(f"yaw {yaw:z.0f}°, pitch {pitch:z.0f}°, roll {roll:z.0f}°, error {fitted.nme[i]:.1f} %")
    if np.isfinite(fitted.own[i]).all():
        parts.append("own {:z.0f}°, {:z.0f}°, {:z.0f}°".format(*fitted.own[i]))
    return " · ".join(parts)


@dataclass(frozen=True)
class Tile:
    """One drawn face of the page; coordinates are units of a square of ``size``.

    Attributes:
        name, note, flag: words about it.
        photo: data address of the crop, or empty.
        points: (x, y, class, number, name) of the labelled points.
        box: (x, y, width, height) of the data set's box, or None.
        numbered: whether the points' numbers are drawn.
    """

    name: str
    note: str
    flag: str
    photo: str
    size: int
    points: list[tuple[float, float, str, int, str]]
    box: tuple[float, float, float, float] | None
    numbered: bool


def is_few(parts: Sequence[list[Section]]) -> bool:
    """Whether so few faces are drawn that they are drawn large."""
    return len({(pick.face.id, pick.face.file) for pick in all_picks(parts)}) <= FEW


def draw_tile(pick: Pick, few: bool) -> Tile:
    """A face of the page: the photo, to be covered with points by the page itself."""
    face = pick.face
    square = _square(face, 600 if few else 300)
    crop, found = cut_out(face, square)
    at = np.round(square.to_crop(np.where((face.visibility > 0)[:, None], face.landmarks, 0)), 1).tolist()
    names = get_scheme(face.scheme).points
    box = None
    if face.box is not None:
        x0, y0, x1, y1 = np.clip(square.to_crop(np.reshape(face.box, (2, 2))), -1e4, 1e4).round(1).ravel().tolist()
        box = (x0, y0, x1 - x0, y1 - y0)
    return Tile(
        name=face.id,
        note=pick.note,
        flag=pick.flag,
        photo=picture_address(crop) if found else "",
        size=square.size,
        points=[
            (*at[i], "seen" if face.visibility[i] == 2 else "covered", i, names[i])
            for i in np.flatnonzero(face.visibility).tolist()
        ],
        box=box,
        numbered=few,
    )


def draw_sheet(parts: Sequence[list[Section]], advance: Advance) -> np.ndarray:
    """All faces, each once, as one picture: ``(H, W, 3)`` uint8 RGB."""
    few = is_few(parts)
    tiles: dict[tuple[str, str], np.ndarray] = {}
    for pick in all_picks(parts):
        key = (pick.face.id, pick.face.file)  # two sources may give one name
        if key not in tiles:
            tiles[key] = _picture(pick, few)
        advance(1)
    drawn = list(tiles.values())
    return contact_sheet(drawn, min(len(drawn), 2 if few else COLUMNS))


def _picture(pick: Pick, few: bool) -> np.ndarray:
    face = pick.face
    square = _square(face, 900 if few else 300)
    picture, _ = cut_out(face, square)
    if face.box is not None:
        picture = draw_box(picture, np.clip(square.to_crop(np.reshape(face.box, (2, 2))), -1e4, 1e4).ravel())
    labelled = face.visibility > 0
    points = square.to_crop(face.landmarks[labelled])
    if few:
        numbers = np.flatnonzero(labelled)
        picture = draw_numbers(picture, points, face.visibility[labelled] == 1, numbers)
    else:
        picture = draw_landmarks(picture, points, face.visibility[labelled] == 2, radius=2)
    # OpenCV's letters are ASCII.
    name = face.id if len(face.id) < 44 else f"...{face.id[-40:]}"
    picture = label_tile(picture, name.encode("ascii", "replace").decode())
    return cv2.copyMakeBorder(picture, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(20, 22, 26))


def _square(face: Face, size: int) -> Square:
    labels = face.landmarks[face.visibility > 0]
    return square_around(labels, labels if face.box is None else np.reshape(face.box, (2, 2)), size)


def all_picks(parts: Sequence[list[Section]]) -> Iterator[Pick]:
    """The faces of all sections of all sources."""
    return (pick for sections in parts for section in sections for pick in section.picks)
