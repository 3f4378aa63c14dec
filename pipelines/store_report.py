"""``pifa store report``: one page about a store, finished or not."""

from __future__ import annotations

from pathlib import Path

from pifa_data.store import Store
from pifa_data.views import table_rows
from pipelines.fits import check_free, is_page
from pipelines.inspect_summary import points_table
from pipelines.pages import picture_address, write_page
from pipelines.progress import progress
from pipelines.store_crops import draw_heat, draw_mean, sample_crops
from pipelines.store_reader import StoreReader
from pipelines.store_summary import by_name, by_yaw, list_skipped, measure, summarise
from pipelines.store_table import SHARDS, read_faces
from pipelines.store_tiles import COPIES, TILE, choose, draw_copies, draw_face

MISSING = 20
"""Shards that are not built, or damaged, that are named."""


def run_store_report(path: str | Path, out: Path, *, overwrite: bool = False) -> None:
    """Write the page.

    Raises:
        StoreError: not a store, or what is to be drawn can't be read.
        PifaError: a file in the way.
        OSError: no space, or no right to write.
    """
    from pipelines.store_charts import draw_charts  # Matplotlib is slow to import

    check_free(out, overwrite, is_page, "an HTML page")
    store = Store(path, unfinished=True)
    layout, attributes = store.layout, store.attributes
    missing = store.missing()
    there = [shard for shard in range(layout.shards) if shard not in missing]
    shards = there[:SHARDS]
    with progress("reading", min(len(shards) * layout.shard_faces, layout.faces), "faces") as advance:
        table = read_faces(store, shards, advance)
    reader = StoreReader(store)
    sample = sample_crops(reader, shards)
    table.points.outside += sample.outside
    table.points.measured += sample.crops
    points = points_table(reader.scheme, table.points)
    sections = choose(table)
    shown_copies = min(layout.copies, COPIES) if sections else 0
    with progress("drawing", sum(len(faces) for _, faces in sections) + shown_copies, "crops") as advance:
        drawn = [
            {"title": title, "tiles": [draw_face(reader, table, i, advance) for i in picks]}
            for title, picks in sections
        ]
        copies = draw_copies(reader, int(table.number[0]), advance) if sections else None
    skipped = list_skipped(store.skipped())
    rows_a_face = table_rows(attributes["config"]["profile"])
    faces_there = sum(span.stop - span.start for span in map(layout.face_range, there)) // rows_a_face
    write_page(
        out,
        "store_report.html.j2",
        store=str(store.location),
        attributes=attributes,
        selection={key: value for key, value in attributes.get("selection", {}).items() if value and key != "sources"},
        model=store.model,
        layout=layout,
        complete=bool(attributes.get("complete")),
        missing=list(missing.values())[:MISSING],
        there=len(there),
        faces_there=faces_there,
        faces_read=table.read // rows_a_face,
        table=table,
        summary=summarise(table),
        by_yaw=by_yaw(table),
        names=by_name(table),
        points=points,
        sample=sample,
        pictures={"mean": picture_address(draw_mean(sample)), "heat": picture_address(draw_heat(sample))},
        charts=draw_charts(table, sample, points, attributes["config"]) if sections else {},
        arrays=measure(store),
        sections=drawn,
        copies=copies,
        skipped=skipped,
        skipped_count=sum(group["count"] for group in skipped),
        tile=TILE,
    )
