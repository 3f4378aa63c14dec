"""The numbers of the page about a store."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pifa_data.faces import Skipped
from pifa_data.store import Store
from pipelines.fit_report import YAW_BANDS
from pipelines.inspect_survey import general
from pipelines.store_table import FaceTable

LISTED = 1000
"""Skipped faces of one reason that are named."""

GROUPS = 100
"""Reasons that are told apart; damage may give every face one of its own."""


@dataclass(frozen=True)
class Summary:
    """Numbers of the faces that were read; errors are None where there is no face.

    Attributes:
        faces, views: how many.
        labelled: share of the points that are labelled.
        occluded: share of the labelled points that are.
    """

    faces: int
    views: int
    nme_mean: float | None
    nme_median: float | None
    nme_p95: float | None
    nme_max: float | None
    labelled: float | None
    occluded: float | None


def summarise(table: FaceTable) -> Summary:
    """The numbers on top of the page."""
    nme = table.nme[table.photographed]
    if not len(nme):
        return Summary(0, 0, None, None, None, None, None, None)
    none, covered, seen = table.points.visibility.sum(0).tolist()
    return Summary(
        faces=len(nme),
        views=len(table.nme) - len(nme),
        nme_mean=float(nme.mean()),
        nme_median=float(np.median(nme)),
        nme_p95=float(np.percentile(nme, 95)),
        nme_max=float(nme.max()),
        labelled=(covered + seen) / max(none + covered + seen, 1),
        occluded=covered / max(covered + seen, 1),
    )


def by_yaw(table: FaceTable) -> list[dict[str, Any]]:
    """One row a band of |yaw| that has faces or views of them; shares and errors are of faces, None without any."""
    size, rows = np.abs(table.pose[:, 0]), []
    for low, high in YAW_BANDS:
        inside = (size >= low) & (size < high)
        nme = table.nme[inside & table.photographed]
        if inside.any():
            title = f"{low}° to {min(high, 180)}°"
            median, p95 = (float(np.percentile(nme, rank)) if len(nme) else None for rank in (50, 95))
            share = len(nme) / max(int(table.photographed.sum()), 1)
            counts = {"faces": len(nme), "views": int(inside.sum()) - len(nme), "share": share}
            rows.append({"title": title, **counts, "median": median, "p95": p95})
    return rows


def by_name(table: FaceTable) -> list[tuple[str, str, int]]:
    """(what, name, faces) by split, subset, scheme and landmark kind, the most frequent of each first."""
    titles = {"split": "split", "subsets": "subset", "scheme": "scheme", "kind": "landmarks"}
    return [
        (titles[column], name, count)
        for column, counter in table.names.items()
        for name, count in counter.most_common()
        if name
    ]


def list_skipped(skipped: Iterable[Skipped]) -> list[dict[str, Any]]:
    """Faces that are not in the store, by what is wrong with them: ``{title, count, listed}``, the largest first."""
    groups: dict[str, dict[str, Any]] = {}
    for face in skipped:
        title = general(face.reason)
        if title not in groups and len(groups) >= GROUPS:
            title = "other reasons"
        group = groups.setdefault(title, {"title": title, "count": 0, "listed": []})
        group["count"] += 1
        if len(group["listed"]) < LISTED:
            group["listed"].append({"face": face.id, "text": face.reason})
    return sorted(groups.values(), key=lambda group: -group["count"])


def measure(store: Store) -> list[dict[str, Any]]:
    """Bytes of each array: ``{name, shape, type, raw, stored}``; the face table's in one row, the whole last."""
    stored: Counter[str] = Counter()
    for key, size in store.location.sizes().items():
        stored[key.partition("/c/")[0].removesuffix("/zarr.json")] += size
    rows: list[dict[str, Any]] = []
    for name, column in store.layout.columns().items():
        length = store.layout.faces * (store.layout.copies if column.of == "crop" else 1)
        raw = length * math.prod(column.shape) * np.dtype(column.dtype).itemsize
        shape = (length, *column.shape)
        rows.append({"name": name, "shape": shape, "type": column.dtype, "raw": raw, "stored": stored[name]})
    crops, table = ([row for row in rows if row["name"].startswith("faces/") == of] for of in (False, True))
    arrays = _total("all arrays", rows)
    rest = {"name": "the rest: model, manifest", "shape": (), "type": "", "raw": 0}
    rest["stored"] = sum(stored.values()) - arrays["stored"]
    return [*crops, _total(f"faces/ ({len(table)} arrays)", table), rest, _total("everything", [arrays, rest])]


def _total(title: str, part: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": title, "shape": (), "type": ""} | {key: sum(row[key] for row in part) for key in ("raw", "stored")}
