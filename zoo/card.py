"""The model card: one Markdown page made from the entry, the configuration and the metrics alone.

It holds no date, so that publishing again after a killed publication gives the same bytes.
"""

from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from zoo.checkpoint import Header
from zoo.entry import WEIGHTS, Entry, Metric

_COLUMNS = (
    ("source", "measured on"),
    ("subset", "subset"),
    ("faces", "faces"),
    ("boxes", "boxes"),
    ("landmarks", "landmarks"),
    ("normaliser", "normaliser"),
    ("nme", "NME %"),
    ("nme_initial", "before the first block, NME %"),
    ("nme_interocular", "interocular NME %"),
    ("failure_rate_8", "failure rate at 8 %"),
    ("auc_8", "AUC to 8 %"),
    ("mape", "MAPE px"),
    ("ms_per_face", "ms a face"),
)


def make_card(entry: Entry, header: Header, limits: Sequence[str] = ()) -> bytes:
    """The card of an entry, UTF-8 Markdown; ``limits`` are the publisher's own lines for "Limits"."""
    sections = [
        [f"# {entry.label}", "", *_what(entry, header)],
        ["## How it was trained", "", *_training(entry, header)],
        ["## How it was measured", "", *_measured(entry.metrics)],
        ["## Limits", "", *_limits(entry, limits)],
        ["## How to use it", "", *_use(entry)],
        ["## Licence", "", _text(entry.licence or "Not stated: ask the publisher before you use it.")],
    ]
    return ("\n\n".join("\n".join(section) for section in sections) + "\n").encode("utf-8")


def _what(entry: Entry, header: Header) -> list[str]:
    morphable = f"{entry.morphable.name}, fingerprint `{_text(entry.morphable.fingerprint)}`"
    kind = {"2d": "jaw points on the visible silhouette", "3d": "every point one place on the head"}
    rows = [
        ("preset", entry.preset),
        ("landmarks", f"{entry.scheme}, {entry.landmark_kind} ({kind[entry.landmark_kind]})"),
        ("morphable model", morphable),
        ("where to get that model", entry.morphable.where or "not stated"),
        ("input", f"{entry.input_size} × {entry.input_size} pixels"),
        ("box", f"{entry.boxes}, grown by {entry.grow:g}"),
        ("written by", f"pifa {header.config.pifa_version}"),
        ("source commit", entry.source_commit or "not stated"),
        *((f"`{file.name}`", f"{file.size} bytes, SHA-256 `{file.sha256}`") for file in entry.files),
    ]
    return [
        "Pose-invariant face alignment: one end-to-end network that fits a 3D morphable model to a face in an image.",
        "",
        *_table(("property", "value"), rows),
    ]


def _training(entry: Entry, header: Header) -> list[str]:
    data = [f"- {_text(line)}" for line in entry.training_data] or ["- no data stated"]
    facts = header.config.training.model_extra or {}
    rows = [(key, _value(value)) for key, value in facts.items() if not isinstance(value, dict | list)]
    table = ["", *_table(("setting", "value"), rows)] if rows else []
    return ["Data:", "", *data, *table, "", "Every setting is in `config.json`."]


def _measured(metrics: Sequence[Metric]) -> list[str]:
    if not metrics:
        return ["Not measured: this version was published without an evaluation."]
    dumped = [metric.model_dump() for metric in metrics]
    used = [(key, title) for key, title in _COLUMNS if any(key in values for values in dumped)]
    lines = [
        "As `pifa eval --json` wrote it. NME is the mean point error over visible landmarks, in percent of "
        "the normaliser.",
        "",
        *_table([title for _, title in used], [[_value(v.get(key)) for key, _ in used] for v in dumped]),
    ]
    blocks = max(len(metric.nme_per_block or ()) for metric in metrics)
    if blocks:
        rows = [[_on(m), *_padded(m.nme_per_block or (), blocks)] for m in metrics]
        lines += ["", "NME % after each block:", ""]
        lines += _table(["measured on", *(f"block {i + 1}" for i in range(blocks))], rows)
    yaws = list(dict.fromkeys(yaw for metric in metrics for yaw in metric.nme_by_yaw or {}))
    if yaws:
        rows = [[_on(m), *(_value((m.nme_by_yaw or {}).get(yaw)) for yaw in yaws)] for m in metrics]
        lines += ["", "NME % by yaw, degrees:", "", *_table(["measured on", *yaws], rows)]
    return lines


def _limits(entry: Entry, limits: Sequence[str]) -> list[str]:
    own = [
        f"It expects boxes of the convention “{_text(entry.boxes)}”; other boxes cost accuracy.",
        f"It needs the morphable model of the fingerprint above and gives {_text(entry.scheme)} landmarks.",
        "The numbers above hold for the faces they were measured on, and for no others by themselves."
        if entry.metrics
        else "Nothing is known here about its accuracy.",
    ]
    return [f"- {line}" for line in (*own, *map(_text, limits))]


def _use(entry: Entry) -> list[str]:
    return [
        "```",
        f"pifa align {entry.label} photo.jpg --boxes boxes.csv",
        "```",
        "",
        f"`pifa zoo get {entry.label}` fetches and checks `{WEIGHTS}`.",
    ]


def _on(metric: Metric) -> str:
    return " ".join(part for part in (metric.source, metric.subset) if part) or f"{metric.faces} faces"


def _padded(values: Sequence[float | None], length: int) -> list[str]:
    return [_value(value) for value in values] + ["–"] * (length - len(values))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return ["| " + " | ".join(_text(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]


def _value(value: JsonValue) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _text(text: str) -> str:
    """One line without HTML: texts come from files, and a card is shown on web pages."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
