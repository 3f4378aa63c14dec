"""The numbers of ``pifa inspect``, as one object for ``--json`` (docs/inspect.md has its keys), terminal and page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pifa_data.schemes import get_scheme
from pipelines.inspect_fits import ANGLES, Fitted, agreement, comparable
from pipelines.inspect_survey import Points, Selection, Survey

POSE_EDGES = np.arange(-180, 181, 10, dtype=np.float64)
"""Degrees, of the histograms of angles."""

SIZE_EDGES: np.ndarray = np.array([0.0, *(round(2.0 ** (half / 2), 1) for half in range(4, 27))])
"""Pixels, of the histograms of sizes: two bins an octave; what is larger falls into the last."""


def summarise(
    surveys: Sequence[Survey], fits: Sequence[Fitted], selection: Selection, *, morphable: str, seconds: float
) -> dict[str, Any]:
    """Everything that was found, of all sources."""
    sources = [_source(survey, fitted, selection) for survey, fitted in zip(surveys, fits, strict=True)]
    problems: dict[str, int] = {}
    for source in sources:
        for problem in source["problems"]:
            problems[problem["kind"]] = problems.get(problem["kind"], 0) + problem["count"]
    totals = {
        key: sum(source[key] for source in sources)
        for key in ("faces", "skipped", "unfittable", "images", "images_missing", "subjects")
    }
    return {
        **totals,
        "morphable": morphable,
        "seconds": round(seconds, 2),
        "problems": problems,
        "sources": sources,
    }


def _source(survey: Survey, fitted: Fitted, selection: Selection) -> dict[str, Any]:
    columns = survey.columns
    own = columns["pose"][np.isfinite(columns["pose"]).all(1)].astype(np.float64)
    both = comparable(fitted)
    return {
        "source": survey.source,
        "format": survey.format.name,
        "tried": survey.format.tried,
        "faces": survey.faces,
        "skipped": survey.skipped,
        "unfittable": survey.unfittable,
        "images": survey.images,
        "images_missing": survey.missing,
        "subjects": survey.subjects,
        "skipped_reasons": [{"reason": reason, "count": count} for reason, count in survey.reasons.most_common()],
        "schemes": dict(survey.schemes),
        "kinds": dict(survey.kinds),
        "splits": _splits(survey, selection),
        "points": [points_table(scheme, points) for scheme, points in survey.points.items()],
        "size": _spread(columns["size"].astype(np.float64), SIZE_EDGES),
        "image": _image(columns["image"].astype(np.float64)),
        "box": _box(columns["box"].astype(np.float64)),
        "fit": {
            "faces": int(fitted.done.sum()),
            "every": max((sample.step for sample in survey.samples.values()), default=1),
            "nme_median": _number(np.median, fitted.nme[fitted.done], 3),
            "nme_p95": _number(lambda values: np.percentile(values, 95), fitted.nme[fitted.done], 3),
            "notes": fitted.notes,
        },
        "pose": {"own": _poses(own), "fit": _poses(fitted.pose[fitted.done])},
        "pose_agreement": {"faces": int(both.sum()), **agreement(fitted.own[both], fitted.pose[both])}
        if both.any()
        else None,
        "problems": survey.problems.as_json(),
    }


def _splits(survey: Survey, selection: Selection) -> list[dict[str, Any]]:
    """The format's splits in its order, with what was found of each, then others that the faces name."""
    known = survey.format.splits
    rows = [(name, survey.splits[name], split.count, split.text) for name, split in known.items()]
    rows += [(name, count, None, "") for name, count in survey.splits.items() if name not in known]
    return [
        {"name": name, "faces": faces, "published": count, "whole": selection.has_whole(name), "text": text}
        for name, faces, count, text in rows
    ]


def points_table(scheme: str, points: Points) -> dict[str, Any]:
    """How often points are labelled: of all, of each part of the face (``groups``), and of each point (``points``)."""
    described = get_scheme(scheme)
    shares = points.visibility / max(points.faces, 1)
    outside = points.outside / max(points.measured, 1)

    def row(name: str, members: Sequence[int]) -> dict[str, Any]:
        none, covered, seen = (round(float(v), 4) for v in shares[list(members)].mean(0))
        out = round(float(outside[list(members)].mean()), 4) if points.measured else None
        return {"name": name, "visible": seen, "occluded": covered, "not_labelled": none, "outside": out}

    everywhere = range(len(shares))
    return {
        "scheme": scheme,
        "faces": points.faces,
        "all": row("all", everywhere),
        "groups": [row(name, members) for name, members in described.groups.items()],
        "points": [row(described.points[i], [i]) for i in everywhere],
    }


def _image(image: np.ndarray) -> dict[str, Any]:
    known = image[np.isfinite(image[:, 0])]
    width, height = (_spread(known[:, axis], SIZE_EDGES) for axis in range(2))
    return {"faces": len(known), "width": width, "height": height}


def _box(box: np.ndarray) -> dict[str, Any] | None:
    """Medians of how the data set's boxes lie about the tight ones; None where it has none."""
    known = box[np.isfinite(box).all(1)]
    if not len(known):
        return None
    x, y, width, height = (round(float(v), 4) for v in np.median(known, axis=0))
    scale = round(float(np.median(np.sqrt(known[:, 2] * known[:, 3]))), 4)
    return {"faces": len(known), "scale": scale, "width": width, "height": height, "x": x, "y": y}


def _poses(degrees: np.ndarray) -> dict[str, Any] | None:
    if not len(degrees):
        return None
    angles = {name: _spread(degrees[:, column], POSE_EDGES) for column, name in enumerate(ANGLES)}
    return {"faces": len(degrees), **angles}


def _spread(values: np.ndarray, edges: np.ndarray) -> dict[str, Any] | None:
    """Percentiles and a histogram; None of nothing."""
    if not len(values):
        return None
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    ranks = {"min": 0, "p5": 5, "median": 50, "p95": 95, "max": 100}
    found = {name: round(float(np.percentile(values, rank)), 2) for name, rank in ranks.items()}
    return {**found, "histogram": {"edges": edges.tolist(), "counts": counts.tolist()}}


def _number(function: Any, values: np.ndarray, digits: int) -> float | None:
    return round(float(function(values)), digits) if len(values) else None
