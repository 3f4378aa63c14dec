"""The model card: one Markdown page made from the entry, the configuration and the metrics alone.

It holds no date, so that publishing again after a killed publication gives the same bytes. Every text in it comes
from a file of somebody's, and is shown as text (`zoo.pages.texts`).
"""

from collections.abc import Iterable, Iterator, Sequence

from pydantic import JsonValue

from zoo.checkpoint import Header
from zoo.entry import WEIGHTS, Entry, Metric
from zoo.pages.protocol import measured_on, protocol
from zoo.pages.texts import code, link, markdown, size, value

KINDS = {"2d": "jaw points on the visible silhouette", "3d": "every point one place on the head"}

TRAINING, LIMITS = "How it was trained", "Limits"
"""Sections that a site takes over from the card: what they say stands nowhere else."""

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
    ("visibility_accuracy", "visibility right"),
    ("ms_per_face", "ms a face"),
)
_SETTINGS = 80
"""Rows of settings; a real configuration has about thirty, and a hostile one must not fill the card."""


def make_card(entry: Entry, header: Header, limits: Sequence[str] = ()) -> bytes:
    """The card of an entry, UTF-8 Markdown; ``limits`` are the publisher's own lines for "Limits"."""
    sections = [
        [f"# {entry.label}", "", *_what(entry, header)],
        [f"## {TRAINING}", "", *_training(entry, header)],
        ["## How it was measured", "", *_measured(entry.metrics)],
        *([["## Pictures", *_pictures(entry)]] if entry.pictures else []),
        [f"## {LIMITS}", "", *_limits(entry, limits)],
        ["## How to use it", "", *_use(entry)],
        ["## Licence", "", markdown(entry.licence or "Not stated: ask the publisher before you use it.")],
    ]
    return ("\n\n".join("\n".join(section) for section in sections) + "\n").encode("utf-8")


def _what(entry: Entry, header: Header) -> list[str]:
    rows = [
        ("preset", markdown(entry.preset)),
        *([("architecture", markdown(entry.architecture))] if entry.architecture else []),
        ("landmarks", f"{markdown(entry.scheme)}, {entry.landmark_kind} ({KINDS[entry.landmark_kind]})"),
        ("morphable model", f"{markdown(entry.morphable.name)}, fingerprint {code(entry.morphable.fingerprint)}"),
        ("where to get that model", link(entry.morphable.where or "not stated")),
        ("input", f"{entry.input_size} × {entry.input_size} pixels"),
        ("box", f"{markdown(entry.boxes)}, grown by {entry.grow:g}"),
        ("written by", f"pifa {markdown(header.config.pifa_version)}"),
        ("oldest pifa that runs it", entry.min_pifa or "not stated"),
        ("source commit", markdown(entry.source_commit or "not stated")),
        *((code(file.name), f"{size(file.size)}, SHA-256 {code(file.sha256)}") for file in entry.files),
        *(("the same files also at", link(mirror)) for mirror in entry.mirrors),
    ]
    return [
        "Pose-invariant face alignment: one end-to-end network that fits a 3D morphable model to a face in an image.",
        "",
        *_table(("property", "value"), rows),
    ]


def _training(entry: Entry, header: Header) -> list[str]:
    data = [f"- {markdown(line)}" for line in entry.training_data] or ["- no data stated"]
    rows = [(markdown(key, 80), markdown(found)) for key, found in _settings(header)][:_SETTINGS]
    table = ["", *_table(("setting", "value"), rows)] if rows else []
    return ["Data:", "", *data, *table, "", "Every setting is in `config.json`."]


def _settings(header: Header) -> Iterator[tuple[str, str]]:
    """What training says of itself, then its configuration's parts about optimiser, losses and data."""
    for key, found in (header.config.training.model_extra or {}).items():
        if key in ("train_subjects", "val_subjects") and isinstance(found, list):
            yield f"people {'trained on' if key[0] == 't' else 'held out'}", f"{len(found):,}"
        elif found is not None and not isinstance(found, dict | list):
            yield key, value(found)
    config = header.document.get("config") if isinstance(header.document, dict) else None
    for part in ("training", "optimizer", "losses"):
        section = config.get(part) if isinstance(config, dict) else None
        for key, found in section.items() if isinstance(section, dict) else ():
            if (shown := _short(found)) is not None:
                yield f"{part}.{key}", shown


def _short(found: JsonValue) -> str | None:
    """A value, or a short list of such; None for what is not set or nested."""
    if found is None:
        return None
    if not isinstance(found, list):
        return None if isinstance(found, dict) else value(found)
    flat = [value(item) for item in found if not isinstance(item, dict | list)]
    return ", ".join(flat) if flat and len(flat) == len(found) <= 16 else None


def _measured(metrics: Sequence[Metric]) -> list[str]:
    if not metrics:
        return ["Not measured: this version was published without an evaluation."]
    dumped = [metric.model_dump() for metric in metrics]
    used = columns(metrics)
    lines = [
        "As `pifa eval --json` wrote it. NME is the mean point error over visible landmarks, in percent of "
        "the normaliser. Numbers of different faces, boxes, landmarks or normalisers are not to be compared.",
        "",
        *_table([title for _, title in used], [[_cell(v.get(key)) for key, _ in used] for v in dumped]),
    ]
    for metric in metrics:
        lines += ["", f"**{markdown(measured_on(metric))}**", ""]
        lines += [f"- {what}: {how}" for what, how in protocol(metric, markdown)]
    blocks = max(len(metric.nme_per_block or ()) for metric in metrics)
    if blocks:
        rows = [[_on(m), *_padded(m.nme_per_block or (), blocks)] for m in metrics]
        lines += ["", "NME % after each block:", ""]
        lines += _table(["measured on", *(f"block {i + 1}" for i in range(blocks))], rows)
    yaws = list(dict.fromkeys(yaw for metric in metrics for yaw in metric.nme_by_yaw or {}))
    if yaws:
        rows = [[_on(m), *(_cell((m.nme_by_yaw or {}).get(yaw)) for yaw in yaws)] for m in metrics]
        head = ["measured on", *(markdown(yaw, 40) for yaw in yaws)]
        lines += ["", "NME % by yaw, degrees:", "", *_table(head, rows)]
    return lines


def _pictures(entry: Entry) -> Iterator[str]:
    for picture in entry.pictures:
        yield from ("", f"![{markdown(picture.caption)}]({picture.file})", "", markdown(picture.caption))


def _limits(entry: Entry, limits: Sequence[str]) -> list[str]:
    own = [
        f"It expects boxes of the convention “{markdown(entry.boxes)}”; other boxes cost accuracy.",
        f"It needs the morphable model of the fingerprint above and gives {markdown(entry.scheme)} landmarks.",
        "The numbers above hold for the faces they were measured on, and for no others by themselves."
        if entry.metrics
        else "Nothing is known here about its accuracy.",
    ]
    return [f"- {line}" for line in (*own, *map(markdown, limits))]


def _use(entry: Entry) -> list[str]:
    return [
        "```",
        f"pifa align {entry.label} photo.jpg --boxes boxes.csv",
        "```",
        "",
        f"`pifa zoo get {entry.label}` fetches and checks `{WEIGHTS}`.",
    ]


def columns(metrics: Sequence[Metric]) -> list[tuple[str, str]]:
    """Keys and titles of a table's columns: those that some metric has a value for."""
    given = [metric.model_dump() for metric in metrics]
    return [(key, title) for key, title in _COLUMNS if any(values.get(key) is not None for values in given)]


def _on(metric: Metric) -> str:
    return markdown(measured_on(metric))


def _padded(values: Sequence[float | None], length: int) -> list[str]:
    return [*map(value, values), *["–"] * (length - len(values))]


def _cell(found: JsonValue) -> str:
    return markdown(value(found), 120)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Cells are Markdown already; only what would end a cell is escaped."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
