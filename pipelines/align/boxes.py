"""Where the faces of an image are: told by a CSV, by a data set's labels, or found by a detector."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pifa_data.boxes import check_box, tight_box
from pifa_data.errors import AnnotationError
from pipelines.align.inputs import Item

COLUMNS = ["image", "x0", "y0", "x1", "y1"]


class BoxTable:
    """Boxes by the name of their image."""

    def __init__(self, table: Mapping[str, list[np.ndarray]], origin: str) -> None:
        self._table, self._origin = table, origin

    def of(self, item: Item) -> list[np.ndarray]:
        """The boxes of an image, original pixels.

        Raises:
            AnnotationError: it has none.
        """
        tried = (str(item.path), item.path.as_posix(), item.name.as_posix(), item.path.name, str(item.path.resolve()))
        for key in tried:
            if key in self._table:
                return self._table[key]
        raise AnnotationError(
            f"{item.path}: {self._origin} has no box for it (looked for {item.path}, {item.name.as_posix()} and "
            f"{item.path.name})"
        )


def open_boxes(origin: str, kind: str) -> BoxTable:
    """The boxes of a CSV's path, or of a source ``FORMAT:PATH``, of the kind that a checkpoint was trained with.

    Raises:
        PifaError: it can't be read, or its faces have no such boxes.
    """
    from pifa_data.readers import FORMATS

    if origin.partition(":")[0] in FORMATS:
        return BoxTable(_source_boxes(origin, kind), origin)
    return BoxTable(read_boxes(Path(origin)), origin)


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
            if reader.fieldnames != COLUMNS:
                raise AnnotationError(f"{path}: expected the header {','.join(COLUMNS)}, found {reader.fieldnames}")
            for row in reader:
                try:
                    values = [float(row[name]) for name in COLUMNS[1:]]
                except (TypeError, ValueError):
                    raise AnnotationError(f"{path}: line {reader.line_num}: expected four numbers") from None
                box = check_box(np.array(values), f"{path}: line {reader.line_num}")
                table.setdefault(row["image"].strip(), []).append(box)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path}: can't be read as a CSV of boxes ({error})") from error
    return table


def _source_boxes(source: str, kind: str) -> dict[str, list[np.ndarray]]:
    from pipelines.sources import load_faces

    if kind == "detector":
        raise AnnotationError(f"--boxes {source}: the checkpoint was trained with a detector's boxes; give --detector")
    faces, _ = load_faces([source], fittable=False)
    table: dict[str, list[np.ndarray]] = {}
    for face in faces:
        box = face.box
        if kind == "tight":
            box = tight_box(face.landmarks, face.visibility) if face.visibility.any() else None
        if box is None or not (np.isfinite(box).all() and (box[2:] > box[:2]).all()):
            continue  # its image has no box, which is told when its turn comes
        table.setdefault(str(Path(face.file).resolve()), []).append(box)
    if not table:
        raise AnnotationError(f"--boxes {source}: the checkpoint wants boxes of kind {kind}; its faces have none")
    return table
