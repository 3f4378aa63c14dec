"""``pifa inspect --report``: one page about a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.inspect_fits import Fitted
from pipelines.inspect_sheet import Section, draw_tile, is_few
from pipelines.inspect_survey import Survey
from pipelines.pages import write_page
from pipelines.progress import Advance


def write_report(
    path: Path,
    summary: dict[str, Any],
    surveys: Sequence[Survey],
    fits: Sequence[Fitted],
    parts: Sequence[list[Section]],
    advance: Advance,
) -> None:
    """Write the page of ``summary``; ``parts`` are the faces to draw, by source.

    Raises:
        OSError: no space, or no right to write.
    """
    from pipelines.inspect_charts import draw_charts  # Matplotlib is not needed by a run without a page

    few = is_few(parts)
    sources = []
    for source, survey, fitted, sections in zip(summary["sources"], surveys, fits, parts, strict=True):
        drawn = []
        for section in sections:
            tiles = []
            for pick in section.picks:
                tiles.append(draw_tile(pick, few))
                advance(1)
            drawn.append({"title": section.title, "tiles": tiles})
        charts = draw_charts(survey, fitted, source["points"])
        sources.append({**source, "charts": charts, "sections": drawn})
    write_page(path, "inspect.html.j2", summary=summary, sources=sources, few=few)
