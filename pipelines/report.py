"""``pifa report`` and ``pifa eval --report``: one page about one network, or about several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pifa_data.errors import PifaError
from pipelines.evaluate import Evaluation
from pipelines.fits import check_free, is_page
from pipelines.pages import write_page
from pipelines.progress import Advance, progress
from pipelines.report_entries import Entry, of_evaluation, read_entries

MOST = 24
"""Entries on a page: more are no longer told apart by colour and dashes."""

SIDE_BY_SIDE = 3
"""From more entries than this on, fewer faces are drawn of each."""

ENDS, ENDS_EACH, ENDS_IN_ALL = 8, 3, 24
"""Faces of the largest errors, and as many of the smallest, that are drawn: of one entry, of each of several, and of
all together. A face takes 35 kB of the page."""


def run_report(paths: Sequence[Path], out: Path, *, overwrite: bool = False) -> list[Entry]:
    """Write a page about runs and evaluations; returns what is on it.

    Args:
        paths: run folders, each measured on the faces that it held out, and files that ``pifa eval --json`` wrote.
        out: the page.
        overwrite: replace an existing page.

    Raises:
        PifaError, ZooError: a path that is neither; too many; a file in the way.
        OSError: no space, or no right to write.
    """
    check_free(out, overwrite, is_page, "an HTML page")
    if len(paths) > MOST:
        raise PifaError(f"expected at most {MOST} runs and evaluations on one page, found {len(paths)}")
    entries = read_entries(paths)
    _write(out, entries)
    return entries


def write_eval_page(out: Path, evaluation: Evaluation) -> None:
    """Write the page about what was just measured.

    Raises:
        OSError: no space, or no right to write.
    """
    _write(out, [of_evaluation(evaluation)])


def _write(out: Path, entries: Sequence[Entry]) -> None:
    from pipelines.report_charts import draw_charts  # Matplotlib is slow to import
    from pipelines.report_tables import data_of, normaliser_of, rows_of, settings_of, settings_that_differ

    with progress("drawing", None, "faces") as advance:
        faces, notes = _draw_faces(entries, advance)
    write_page(
        out,
        "report.html.j2",
        entries=entries,
        rows=rows_of(entries),
        charts=draw_charts(entries),
        faces=faces,
        notes=_notes(entries),
        drawing_notes=notes,
        differing=settings_that_differ(entries) if len(entries) > 1 else [],
        settings=settings_of(entries[0]) if len(entries) == 1 else [],
        data_of=data_of,
        normaliser_of=normaliser_of,
    )


def _notes(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """What is missing, and of which entries."""
    names: dict[str, list[str]] = {}
    for entry in entries:
        for note in entry.notes:
            names.setdefault(note, []).append(entry.name)
    return [(", ".join(of), note) for note, of in names.items()]


def _draw_faces(entries: Sequence[Entry], advance: Advance) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Strips and tiles of the entries that were measured now, and what could not be drawn."""
    from pipelines.report_pictures import choose, draw_ends, draw_strip

    drawn: dict[str, list[dict[str, Any]]] = {"strips": [], "ends": []}
    notes = []
    measured = [(i, entry) for i, entry in enumerate(entries) if entry.evaluation is not None]
    count = ENDS if len(measured) == 1 else max(1, min(ENDS_EACH, ENDS_IN_ALL // max(1, len(measured))))
    # Entries measured on the same faces show the same ones, chosen by the first of them.
    chosen: dict[tuple[str, str, str] | None, list[tuple[str, int]]] = {}
    for i, entry in measured:
        evaluation = entry.evaluation
        assert evaluation is not None  # for the type checker
        try:
            picks = chosen.setdefault(entry.data, choose(evaluation, few=len(measured) > SIDE_BY_SIDE))
            for title, at in picks:
                strip = draw_strip(evaluation, at)
                face = evaluation.collected.ids[at]
                drawn["strips"].append({"number": i, "name": entry.name, "rule": title, "face": face, "strip": strip})
                advance(1)
            for title, tiles in draw_ends(evaluation, count):
                drawn["ends"].append({"number": i, "name": entry.name, "title": title, "tiles": tiles})
                advance(len(tiles))
        except (PifaError, OSError) as error:
            notes.append(f"{entry.name}: its faces could not be drawn: {error}")
    # Face by face, so that what several networks make of one face stands together.
    order = {key: place for place, key in enumerate(dict.fromkeys((s["face"], s["rule"]) for s in drawn["strips"]))}
    drawn["strips"].sort(key=lambda strip: order[strip["face"], strip["rule"]])
    return drawn, notes
