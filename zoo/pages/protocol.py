"""How a metric was measured, in words: what one must know before one compares two numbers."""

from collections.abc import Callable, Mapping

from zoo.entry import Metric
from zoo.pages.texts import number
from zoo.plain import plain

NORMALISERS = {
    "tight": "√(w·h) of the box around the labelled points",
    "box": "√(w·h) of the data set's own box",
    "interocular": "the distance of the outer eye corners",
}
_SHORT = {"tight": "tight box", "box": "data set's box", "interocular": "interocular distance"}
BOXES = {
    "tight": "the box around the labelled points",
    "dataset": "the data set's own",
    "jittered": "the box around the labelled points, moved and scaled at random, the same in every evaluation",
    "detector": "drawn at random as a face detector's lie, the same in every evaluation",
    "store": "the crops of a training store as they are, jittered as in training",
}
SUBSETS = {
    "held-out": "only people that it was not trained on",
    "val": "the people that its training held out for validation",
    "train": "people that it was trained on: this says how well it fits, not how well it generalises",
    "all": "every face, also of people that it was trained on if there are any",
}
LANDMARKS = {
    "2d": "jaw points on the visible silhouette",
    "3d": "every point one place on the head",
    "2d and 3d": "faces of both kinds, jaw points on the silhouette or fixed to the head",
}


def measured_on(metric: Metric) -> str:
    """What a metric was measured on, in few words, one line."""
    boxes = f"{metric.boxes} boxes" if metric.boxes not in (None, "store") else None
    return plain(", ".join(filter(None, (metric.source or f"{metric.faces:,} faces", metric.subset, boxes))), 120)


def normaliser_name(name: str) -> str:
    """A normaliser in two words; its own name where it is another."""
    return _SHORT.get(name) or plain(name, 24)


def protocol(metric: Metric, as_text: Callable[[str], str] = plain) -> list[tuple[str, str]]:
    """Pairs of what and how; ``as_text`` makes foreign text safe for where it is shown."""
    extra = metric.__pydantic_extra__
    rows = [("faces", _faces(metric))]
    if metric.subset is not None:
        rows.append(("subset", _named(metric.subset, SUBSETS, as_text)))
    if metric.boxes is not None:
        rows.append(("boxes", _named(metric.boxes, BOXES, as_text)))
    kind = "" if metric.landmarks is None else _named(metric.landmarks, LANDMARKS, as_text)
    scheme = extra.get("scheme")
    points = ", ".join(filter(None, (as_text(plain(scheme, 60)) if isinstance(scheme, str) else "", kind)))
    if points:
        rows.append(("landmarks", points))
    rows.append(("normaliser", _named(metric.normaliser, NORMALISERS, as_text)))
    rows.append(("error", "mean distance of the visible points from their labels, percent of the normaliser"))
    if interval := _interval(extra.get("nme_interval")):
        rows.append(("95 % interval", interval))
    return rows


def _named(name: str, words: Mapping[str, str], as_text: Callable[[str], str]) -> str:
    shown = as_text(plain(name, 60))
    return f"{shown}: {words[name]}" if name in words else shown


def _faces(metric: Metric) -> str:
    counts = {key: metric.__pydantic_extra__.get(key) for key in ("crops", "skipped")}
    parts = [
        f"{count:,} {key}"
        for key, count in counts.items()
        if isinstance(count, int)
        and not isinstance(count, bool)
        and count > 0
        and (key, count) != ("crops", metric.faces)
    ]
    return ", ".join([f"{metric.faces:,}", *parts])


def _interval(found: object) -> str | None:
    """Of ``nme_interval``, which an index does not check: by the bootstrap over people."""
    if not isinstance(found, dict):
        return None
    low, high, people = (found.get(key) for key in ("low", "high", "people"))
    if not isinstance(low, int | float) or not isinstance(high, int | float) or not isinstance(people, int):
        return None
    return f"{number(low)} to {number(high)} %, by the bootstrap over {people:,} people"
