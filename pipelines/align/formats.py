"""Records as text: JSON lines, CSV, iBUG's ``.pts``; and as files of a folder or a database."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pifa_data.errors import AnnotationError
from pipelines.align.boxes import COLUMNS
from pipelines.align.records import Record, is_face


def as_text(records: Iterable[Record], form: str, points: int, coefficients: int) -> Iterator[str]:
    """Records as pieces of text, one a record and perhaps a head.

    Args:
        records: as they come.
        form: ``json`` (an object a line), ``csv`` (a row), or ``pts`` (iBUG's blocks, pixels counted from 1).
        points: landmarks a face.
        coefficients: of the morphable model.
    """
    if form == "csv":
        yield _row(_head(points, coefficients))
    for record in records:
        if form == "json":
            yield json.dumps(record) + "\n"
        elif form == "csv":
            yield _row(_cells(record, points, coefficients))
        elif is_face(record):
            yield plain(f"// {_place(record)}\n{pts_text(record)}")
        else:
            yield plain(f"// {_place(record)}: {record['reason']}\n")


def pts_text(record: Record) -> str:
    """One face as the ``.pts`` of 300W, whose pixels count from 1."""
    rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in record["landmarks"])
    return f"version: 1\nn_points: {len(record['landmarks'])}\n{{\n{rows}\n}}\n"


def write_pts(folder: Path, records: Iterable[Record], names: dict[str, Path]) -> None:
    """A ``.pts`` file a face, named after its image; the second face of an image is ``NAME_1.pts``, or the next number
    whose name is no other image's.

    Args:
        folder: where.
        records: faces; reasons go into ``failures.jsonl``.
        names: the file of each image.

    Raises:
        OSError: no space or right.
    """
    count: dict[str, int] = {}
    taken = set(names.values())
    failures = []
    (folder / "failures.jsonl").unlink(missing_ok=True)
    for record in records:
        if not is_face(record):
            failures.append(json.dumps(record) + "\n")
            continue
        key = record["image"]
        target = names[key]
        number = count.get(key, 0)
        count[key] = number + 1
        target = numbered(target, number, "_", taken)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(pts_text(record), encoding="ascii")
    if failures:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failures.jsonl").write_text("".join(failures), encoding="utf-8")


def check_form(form: str, out: Path | None) -> None:
    """Raises ``AnnotationError`` where a format needs a file and there is none, or a folder, or the other way round."""
    if form == "sqlite" and out is None:
        raise AnnotationError("--format sqlite: a database is a file; name it with --out FILE")
    if out is not None and form == "pts" and out.exists() and not out.is_dir():
        raise AnnotationError(f"--out {out}: a file; --format pts writes into a folder")
    if out is not None and form != "pts" and out.is_dir():
        raise AnnotationError(f"--out {out}: a folder; --format {form} writes a file, as {out / f'faces.{form}'}")


def _place(record: Record) -> str:
    return f"{record['image']}" + (f" frame {record['frame']}" if "frame" in record else "")


def _head(points: int, coefficients: int) -> list[str]:
    marks = [f"p{i}_{part}" for i in range(points) for part in ("x", "y", "visible")]
    camera = [f"m{i + 1}" for i in range(8)]
    shape = [f"c{i}" for i in range(coefficients)]
    about = [*COLUMNS, "yaw", "pitch", "roll", "score", *marks]
    return [*about, *camera, *shape, "width", "height", "frame", "time", "track", "reason"]


def _cells(record: Record, points: int, coefficients: int) -> list[object]:
    video = [*record.get("size", ("", "")), *(record.get(name, "") for name in ("frame", "time", "track"))]
    if not is_face(record):
        empty = len(_head(points, coefficients)) - 7
        return [record["image"], *[""] * empty, *video, record["reason"]]
    marks = [v for (x, y), seen in zip(record["landmarks"], record["visibility"], strict=True) for v in (x, y, seen)]
    face = [record["image"], *record["box"], *record["pose"].values(), record["score"], *marks]
    return [*face, *record["camera"], *record["coefficients"], *video, ""]


def _row(cells: list[object] | list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return plain(text.getvalue())


def plain(text: str) -> str:
    """Text that UTF-8 can hold: a file's name need not be any."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def numbered(file: Path, number: int, between: str, taken: set[Path]) -> Path:
    """``file`` for the first face of an image, ``NAME_1.pts`` and so on for others, past names that are ``taken``."""
    if not number:
        return file
    free = (f"{file.stem}{between}{n}{file.suffix}" for n in itertools.count(1))
    names = (name for name in free if file.with_name(name) not in taken)
    return file.with_name(next(itertools.islice(names, number - 1, None)))
