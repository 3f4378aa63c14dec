"""What ``pifa inspect`` prints: the summary as a few lines a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.pages import shown

LISTED = 20
"""Problems of one kind that are named on the terminal."""

ABSENT = 8
"""Splits without a face that are named."""

_WIDTH = 9


def as_text(summary: dict[str, Any]) -> str:
    """The whole report for a terminal."""
    return "\n".join(line for source in summary["sources"] for line in _source(source))


def _source(source: dict[str, Any]) -> Iterator[str]:
    yield f"{shown(source['source'], 400)}  ({source['format']})"
    yield _line("faces", _faces(source))
    if source["skipped_reasons"]:
        reasons = source["skipped_reasons"]
        yield _line("skipped", f"{reasons[0]['count']:,} {shown(reasons[0]['reason'])}")
        for reason in reasons[1:LISTED]:
            yield _line("", f"{reason['count']:,} {shown(reason['reason'])}")
    there = [split for split in source["splits"] if split["faces"]]
    for number, split in enumerate(there[:LISTED]):
        yield _line("" if number else "splits", _split(split))
    absent = [shown(split["name"], 60) for split in source["splits"] if not split["faces"]]
    if absent:
        more = f" and {len(absent) - ABSENT} more" if len(absent) > ABSENT else ""
        yield _line("" if there else "splits", f"none of {', '.join(absent[:ABSENT])}{more}")
    for points in source["points"]:
        yield _line("points", _points(points))
    if source["size"]:
        yield _line("size", f"{_range(source['size'])} pixels, √(w·h) of the tight box")
    if source["image"]["faces"]:
        width, height = source["image"]["width"], source["image"]["height"]
        yield _line("images", f"width {_range(width)}, height {_range(height)} pixels")
    if source["box"]:
        box = source["box"]
        where = f"centre {box['x']:+z.2f}, {box['y']:+z.2f} of its size from its centre"
        sides = f"{box['width']:.2f} × {box['height']:.2f}"
        yield _line("boxes", f"{box['scale']:.2f} times the tight box ({sides}), {where} (medians)")
    if source["faces"]:
        yield _line("fit", _fit(source["fit"]))
    for name, title in (("own", "own pose"), ("fit", "fit pose")):
        pose = source["pose"][name]
        if pose:
            angles = ", ".join(f"{angle} {_range(pose[angle], '°')}" for angle in ("yaw", "pitch", "roll"))
            yield _line(title, angles)
    if source["pose_agreement"]:
        yield _line("fit − own", _agreement(source["pose_agreement"]))
    if not source["problems"]:
        yield _line("problems", "none found")
    for problem in source["problems"]:
        yield f"  ! {problem['title']}: {problem['count']:,}"
        for item in problem["listed"][:LISTED]:
            yield f"      {shown(item['face'], 100)}: {shown(item['text'], 300)}"
        if problem["count"] > LISTED and len(problem["listed"]) > LISTED:
            yield f"      … and {problem['count'] - LISTED:,} more (--report and --json list them)"


def _line(title: str, text: str) -> str:
    return f"  {title:{_WIDTH}} {text}"


def _faces(source: dict[str, Any]) -> str:
    missing = f" ({source['images_missing']:,} missing)" if source["images_missing"] else ""
    schemes = ", ".join(f"{name} {count:,}" for name, count in source["schemes"].items())
    kinds = " and ".join(source["kinds"])
    subjects = f" of {source['subjects']:,} subjects" if source["subjects"] else ""
    return (
        f"{source['faces']:,}{subjects} in {source['images']:,} images{missing}; {source['skipped']:,} skipped, "
        f"{source['unfittable']:,} can't be fitted; {schemes or 'no scheme'} ({kinds or '–'})"
    )


def _split(split: dict[str, Any]) -> str:
    published = f" of {split['published']:,}" if split["published"] is not None else ""
    return f"{shown(split['name'], 60)} {split['faces']:,}{published}"


def _points(points: dict[str, Any]) -> str:
    everywhere = points["all"]
    parts = [
        f"{100 * everywhere[key]:.1f} % {key.replace('_', ' ')}" for key in ("visible", "occluded", "not_labelled")
    ]
    if everywhere["outside"] is not None:
        parts.append(f"{100 * everywhere['outside']:.2f} % out of the image")
    return f"{points['scheme']}: {', '.join(parts)}"


def _fit(fit: dict[str, Any]) -> str:
    notes = "".join(f"; {note}" for note in fit["notes"])
    if not fit["faces"]:
        return f"no face was fitted{notes}"
    of = f", one of {fit['every']}" if fit["every"] > 1 else ""
    return (
        f"{fit['faces']:,} faces{of}: error median {fit['nme_median']:.2f} %, 95th percentile {fit['nme_p95']:.2f} % "
        f"of the tight box{notes}"
    )


def _range(spread: dict[str, Any], unit: str = "") -> str:
    return f"{spread['median']:z.0f}{unit} ({spread['p5']:z.0f}{unit} to {spread['p95']:z.0f}{unit})"


def _agreement(values: dict[str, Any]) -> str:
    parts = []
    for angle in ("yaw", "pitch", "roll"):
        one = values[angle]
        correlation = "" if one["correlation"] is None else f", correlation {one['correlation']:+.2f}"
        parts.append(f"{angle} {one['median_absolute_difference']:.1f}°{correlation}")
    return f"median absolute difference of {values['faces']:,} faces: {'; '.join(parts)}"
