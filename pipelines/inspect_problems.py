"""What is wrong with a data set, kind by kind: all of it counted, the first of each kind kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pifa_data.faces import Face

KEPT = 1000
"""Problems of one kind that are named; all are counted."""

DRAWN = 3
"""Faces of one kind of problem that a contact sheet shows."""

KINDS = {
    "stopped": "Reading stopped before the end",
    "split": "Splits that differ from the published count",
    "skipped": "Faces that can't be read",
    "swapped": "Left and right look swapped",
    "sign": "The data set's own pose runs against the fit's",
    "misfit": "Labels that fit no face",
    "slip": "Single labels far from where the fit has them",
    "pose": "The data set's own pose is far from the fit's",
    "duplicate": "The same labels under two names",
    "outside": "Labels out of the image",
    "image_size": "Images of another size than the annotation says",
    "unreadable": "Images that can't be read",
    "missing": "Images that are missing",
    "box": "Face boxes that hold less than half of the points",
    "tiny": "Faces of less than four pixels",
    "unfittable": "Faces with labels that can't be fitted",
}
"""Kinds of problems and their titles, the gravest first."""


@dataclass
class Kind:
    """Problems of one kind.

    Attributes:
        count: how many there are.
        listed: the first of them, as (face, what is wrong).
        faces: the first few faces, to be drawn.
    """

    count: int = 0
    listed: list[tuple[str, str]] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)


class Problems:
    """The problems of one source."""

    def __init__(self) -> None:
        self._kinds = {name: Kind() for name in KINDS}

    def __getitem__(self, kind: str) -> Kind:
        return self._kinds[kind]

    def __iter__(self) -> Iterator[tuple[str, Kind]]:
        """Kinds that there are, the gravest first."""
        return ((name, kind) for name, kind in self._kinds.items() if kind.count)

    def add(self, kind: str, name: str, text: str, face: Face | None = None) -> None:
        """Count a problem of the face called ``name``; ``face`` where it should be drawn."""
        entry = self._kinds[kind]
        entry.count += 1
        if len(entry.listed) < KEPT:
            entry.listed.append((name, text))
        if face is not None and len(entry.faces) < DRAWN:
            entry.faces.append(face)

    def replace(self, kind: str, name: str, text: str) -> None:
        """One line instead of all of a kind, for what is the same with every face."""
        self._kinds[kind] = Kind(1, [(name, text)])

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "kind": name,
                "title": KINDS[name],
                "count": kind.count,
                "listed": [{"face": face, "text": text} for face, text in kind.listed],
            }
            for name, kind in self
        ]
