"""``pifa inspect``: what is in a data set, whether it is read right, and what is wrong with it.

Each source is read once (``inspect_survey``) and an even sample of its faces is fitted (``inspect_fits``). What was
found becomes one object (``inspect_summary``), a few lines (``inspect_text``), a page (``inspect_report``) and a
picture (``inspect_sheet``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pifa_data.drawing import encode_png
from pifa_data.errors import PifaError
from pifa_data.faces import Skipped
from pipelines.fits import check_free, is_page, write_whole
from pipelines.inspect_duplicates import add_duplicates
from pipelines.inspect_fits import fit_sample
from pipelines.inspect_report import write_report
from pipelines.inspect_sheet import all_picks, choose, draw_sheet
from pipelines.inspect_summary import summarise
from pipelines.inspect_survey import Selection, survey
from pipelines.progress import progress
from pipelines.sources import find_model, no_face, parse_sources


def run_inspect(
    sources: Sequence[str],
    *,
    morphable: str,
    split: str | None = None,
    limit: int | None = None,
    where: str | None = None,
    report: Path | None = None,
    sheet: Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Look into ``sources``, and write a page (``report``) and a contact sheet (``sheet``) about them.

    Args:
        sources: ``FORMAT:PATH`` or a path.
        morphable: file or name of the model that is fitted.
        split, limit, where: which faces of each source.
        report: HTML to write.
        sheet: PNG to write.
        overwrite: replace ``report`` and ``sheet``.

    Returns:
        What was found; docs/inspect.md has the keys.

    Raises:
        PifaError: bad sources or model, a file in the way, or no face that can be read.
    """
    start = time.perf_counter()
    if report is not None:
        check_free(report, overwrite, is_page, "an HTML page")
    if sheet is not None:
        check_free(sheet, overwrite, is_png, "a PNG picture")
        if report is not None and sheet.resolve() == report.resolve():
            raise PifaError(f"{sheet}: --report and --sheet name the same file")
    model = find_model(morphable)
    parse_sources(sources)  # refuses what is named twice
    selection = Selection(split, limit, where)
    with progress("reading", None, "faces") as advance:
        surveys = [survey(source, selection, advance) for source in sources]
        add_duplicates(surveys, selection)
    if not any(found.faces for found in surveys):
        skipped = [Skipped(*item) for found in surveys for item in found.problems["skipped"].listed]
        count = sum(found.skipped for found in surveys)
        raise no_face(sources, "no face can be read", skipped, count=count, split=split, where=where)
    kept = sum(len(sample.faces) for found in surveys for sample in found.samples.values())
    with progress("fitting", kept, "faces") as advance:
        fits = [fit_sample(found, model, advance) for found in surveys]
    seconds = time.perf_counter() - start
    summary = summarise(surveys, fits, selection, morphable=model.name, seconds=seconds)
    if report is None and sheet is None:
        return summary
    parts = [choose(found, fitted, len(surveys)) for found, fitted in zip(surveys, fits, strict=True)]
    pictures = sum(1 for _ in all_picks(parts))
    with progress("drawing", pictures * ((report is not None) + (sheet is not None)), "faces") as advance:
        if report is not None:
            write_report(report, summary, surveys, fits, parts, advance)
        if sheet is not None:
            data = encode_png(draw_sheet(parts, advance))
            write_whole(sheet, lambda file: file.write(data))
    return summary


def is_png(path: Path) -> bool:
    """Whether the file begins as a PNG does."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89PNG\r\n\x1a\n"
