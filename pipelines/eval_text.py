"""What ``pifa eval`` prints: the numbers that one looks for, for a terminal; ``--json`` has all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.pages import shown

NORMALISERS = {"tight": "the tight box", "box": "the data set's box", "interocular": "the interocular distance"}
SKIPPED = 5
"""Skipped faces that are named."""

_WIDTH = 14


def as_text(values: dict[str, Any], note: str) -> str:
    """The note, the numbers, and the error block by block."""
    name, source = shown(values["network"]["name"], 60), shown(values["source"], 60)
    parts = [[f"{name} on {source}: {note}"], list(_numbers(values)), list(_blocks(values)), list(_skipped(values))]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _numbers(values: dict[str, Any]) -> Iterator[str]:
    interval = values["nme_interval"]
    of = f"of {NORMALISERS[values['normaliser']]}"
    spread = ""
    if interval:
        spread = f", 95 % [{interval['low']:.2f}, {interval['high']:.2f}] over {interval['people']} people"
    yield _line("NME", f"{_value(values['nme'])} % {of}{spread}")
    # At 68 and 51 points where the scheme has them, else at its own.
    kinds = {"_68": "interocular", "_51": "  51 points"} if values["nme_interocular_51"] is not None else {}
    for points, title in (kinds or {"": "interocular"}).items():
        if values[f"nme_interocular{points}"] is not None:
            failures, area = values[f"failure_rate_8{points}"], values[f"auc_8{points}"]
            nme = _value(values[f"nme_interocular{points}"])
            yield _line(title, f"{nme} %, above 8 %: {100 * failures:.1f} % of the faces, AUC {area:.3f}")
    yield _line("MAPE", f"{_value(values['mape'])} pixels")
    if offset := values["offset"]:
        yield _line(
            "offset", f"{offset[0]:+.2f} % in x, {offset[1]:+.2f} % in y: the mean of all errors with their signs"
        )
    groups = [f"{part} {_value(error)}" for part, error in values["nme_by_group"].items() if error is not None]
    yield _line("parts", ", ".join(groups))
    if values["nme_occluded"] is not None:
        occluded, labelled = _value(values["nme_occluded"]), _value(values["nme_labelled"])
        yield _line("occluded", f"{occluded} % at occluded points, {labelled} % at visible and occluded ones")
    if values["visibility_accuracy"] is not None:
        yield _line("visibility", f"{100 * values['visibility_accuracy']:.1f} % of the points right")
    for against, name in (("fit", "the fit of the labels"), ("dataset", "the data set's own")):
        if error := values["pose_error"][against]:
            angles = ", ".join(f"{angle} {error[angle]:.1f}°" for angle in ("yaw", "pitch", "roll"))
            yield _line("pose", f"{angles} from {name}")
    yield _line("shape", f"mean p² {_value(values['mean_square_coefficient'])} (1 by the model's prior)")
    if values["score_brier"] is not None:
        auc = "" if values["score_auc"] is None else f", AUC {values['score_auc']:.3f}"
        of = f"the probability of an error below {values['score_threshold']:g} % of the tight box"
        yield _line("score", f"{of}: off by {values['score_ece']:.3f} (ECE), Brier {values['score_brier']:.3f}{auc}")
    yield _line("time", f"{values['ms_per_face']:.1f} ms a crop")


def _blocks(values: dict[str, Any]) -> Iterator[str]:
    blocks = values["nme_per_block"]
    yield _row("NME, %", ["P⁰", *(f"block {i + 1}" for i in range(len(blocks)))])
    yield _row("all", [_value(values["nme_initial"]), *map(_value, blocks)], f"{values['crops']:,} crops")
    for name, of in values["nme_per_block_by_yaw"].items():
        if count := values["crops_by_yaw"][name]:
            yield _row(f"|yaw| {name}°", ["", *map(_value, of)], f"{count:,}")


def _skipped(values: dict[str, Any]) -> Iterator[str]:
    for face in values["skipped_faces"][:SKIPPED]:
        yield f"skipped {shown(face['face'], 80)}: {shown(face['reason'])}"
    if values["skipped"] > SKIPPED:
        yield f"… and {values['skipped'] - SKIPPED:,} more skipped; --json lists them"


def _line(title: str, text: str) -> str:
    return f"{title:{_WIDTH}}{text}"


def _row(title: str, cells: Sequence[str], end: str = "") -> str:
    return f"{title:{_WIDTH}}{''.join(f'{cell:>9}' for cell in cells)}   {end}".rstrip()


def _value(number: float | None) -> str:
    return "–" if number is None else f"{number:.2f}"
