"""The report as a page in a terminal; plain text where there is none."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.doctor.rows import Row
from pipelines.doctor.run import Report
from pipelines.doctor.timing import Timing

TITLES = {
    "versions": "Versions",
    "extras": "Extras",
    "devices": "Devices",
    "places": "Places",
    "variables": "Environment variables that are set",
    "programs": "Other programs",
}
STYLES = {"ok": "green", "absent": "dim", "warning": "yellow", "broken": "bold red"}
WORDS = {"ok": "ok", "absent": "-", "warning": "look", "broken": "BROKEN"}
WIDTH = 120
"""Columns where there is no terminal."""


def print_page(report: Report, console: Console | None = None) -> None:
    """Print the page on stdout, or on another console."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDTH, no_color=True, highlight=False)
    names = max((len(row.name) for rows in report.sections.values() for row in rows), default=0)
    for name, rows in report.sections.items():
        if rows:
            console.print(Text(TITLES[name], "bold"))
            console.print(_rows(rows, min(names, 24)))
            console.print()
    if report.speed:
        console.print(Text("Speed, the best of a few", "bold"))
        console.print(_speed(report.speed))
        console.print()
    if report.note:
        console.print(Text(f"Speed: {report.note}", "bold"))
    _end(report, console)


def _rows(rows: list[Row], names: int) -> Table:
    """A section, its columns below those of the others."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True, min_width=max(map(len, WORDS.values())))
    table.add_column(overflow="fold", min_width=names)
    table.add_column(overflow="fold")
    for row in rows:
        value = Text(row.value)
        if row.cure:
            value.append(f"\ncure: {row.cure}", "bold")
        table.add_row(Text(WORDS[row.state], STYLES[row.state]), Text(row.name), value)
    return table


def _speed(timings: list[Timing]) -> Table:
    devices = list(dict.fromkeys(timing.device for timing in timings))
    stages = list(dict.fromkeys(timing.stage for timing in timings))
    by = {(timing.stage, timing.device): timing for timing in timings}
    table = Table(box=None, padding=(0, 1))
    table.add_column("stage", header_style="dim")
    for device in devices:
        table.add_column(device, header_style="dim", justify="right", no_wrap=True)
        table.add_column("", no_wrap=False, overflow="fold")
    for stage in stages:
        cells = [cell for device in devices for cell in _cells(by.get((stage, device)))]
        table.add_row(Text(stage), *cells)
    return table


def _cells(timing: Timing | None) -> tuple[Text, Text]:
    """Milliseconds of a call, and how many a second."""
    if timing is None:
        return Text(""), Text("")
    if timing.seconds is None or timing.per_second is None:
        return Text("BROKEN", STYLES["broken"]), Text(timing.error)
    milliseconds = 1e3 * timing.seconds
    digits = 2 if milliseconds < 10 else 1 if milliseconds < 100 else 0
    rate = f"{timing.per_second:,.{0 if timing.per_second >= 9.5 else 1}f}"
    return Text(f"{milliseconds:.{digits}f} ms"), Text(f"{rate} {timing.unit} a second")


def _end(report: Report, console: Console) -> None:
    for row in report.warnings:
        console.print(Text.assemble(("look: ", STYLES["warning"]), str(row)))
    for row in report.broken:
        console.print(Text.assemble(("BROKEN: ", STYLES["broken"]), str(row)))
    if report.broken:
        count = len(report.broken)
        console.print(Text(f"{count} thing{'s' * (count != 1)} that pifa needs {'is' if count == 1 else 'are'} broken"))
    else:
        console.print(Text("everything needed is here", "green"))
