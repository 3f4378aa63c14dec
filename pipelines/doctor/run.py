"""``pifa doctor``: looks at everything, one thing after the other, and tells what is wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.doctor.devices import cpu_rows, torch_rows
from pipelines.doctor.packages import package_rows, program_rows
from pipelines.doctor.places import place_rows
from pipelines.doctor.rows import Row, error_text, looked
from pipelines.doctor.surroundings import program_rows as other_program_rows
from pipelines.doctor.surroundings import variable_rows
from pipelines.doctor.timing import SECONDS, Timing, time_stages
from pipelines.progress import progress


@dataclass(frozen=True)
class Report:
    """What the doctor found.

    Attributes:
        sections: rows by the section's name.
        speed: timings; empty where they were not asked for.
        note: why there are none, where they were.
    """

    sections: dict[str, list[Row]]
    speed: list[Timing] = field(default_factory=list)
    note: str = ""

    @property
    def rows(self) -> list[Row]:
        """The rows of all sections, and one a stage that failed."""
        failed = [Row(f"{t.stage} ({t.device})", t.error, "broken") for t in self.speed if t.error]
        return [row for rows in self.sections.values() for row in rows] + failed

    @property
    def broken(self) -> list[Row]:
        """What is needed and does not work."""
        return [row for row in self.rows if row.state == "broken"]

    @property
    def warnings(self) -> list[Row]:
        """What works, but is worth a look."""
        return [row for row in self.rows if row.state == "warning"]

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return {
            "ok": not self.broken,
            "broken": [str(row) for row in self.broken],
            "warnings": [str(row) for row in self.warnings],
            **{name: [row.as_json() for row in rows] for name, rows in self.sections.items()},
            "speed": [timing.as_json() for timing in self.speed],
            "speed_note": self.note or None,
        }


def run_doctor(*, speed: bool = True, seconds: float = SECONDS) -> Report:
    """Look at everything; nothing that is broken is raised, and the network is not used.

    Args:
        speed: also time each stage of the work.
        seconds: for so long each.
    """
    with progress("pifa doctor", None, "") as advance:
        say = partial(advance, 0)
        sections = {"versions": looked("pifa", program_rows)}
        packages, sections["extras"] = _packages(say)
        sections["versions"] += packages
        known = any(row.state == "broken" for row in sections["versions"])
        say("devices")
        sections["devices"] = looked("CPU", cpu_rows)
        if fatal := [row.name for row in packages if row.details.get("fatal")]:
            # In this process it would end the doctor.
            sections["places"] = [Row("places", f"not looked at: importing {fatal[0]} ends the process", "absent")]
        else:
            sections["devices"] += looked("PyTorch", torch_rows, known=known)
            say("places")
            sections["places"] = place_rows(known=known)
        sections["variables"] = variable_rows()
        sections["programs"] = other_program_rows()
    if not speed:
        return Report(sections)
    if known:
        return Report(sections, note="not measured, as packages are broken")
    try:
        with tempfile.TemporaryDirectory(prefix="pifa-doctor-") as folder:
            return Report(sections, _speed(Path(folder), seconds))
    except Exception as error:  # what all stages need can't be made: no stage says so
        return Report(sections, [Timing("all stages", "cpu", 0, "", None, error_text(error))])


def _packages(say: Callable[[str], None]) -> tuple[list[Row], list[Row]]:
    """The rows of packages and of extras; one row that says why where somebody's metadata can't be read."""
    extras: list[Row] = []

    def look() -> list[Row]:
        packages, found = package_rows(say)
        extras.extend(found)
        return packages

    return looked("packages", look), extras


def _speed(folder: Path, seconds: float) -> list[Timing]:
    from pipelines.doctor.data_stages import Subject, data_stages
    from pipelines.doctor.network_stages import network_stages

    subject = Subject(folder)
    stages = data_stages(subject) + network_stages(subject)
    with progress("speed", len(stages), "stages") as advance:
        begun: list[str] = []

        def said(name: str) -> None:
            advance(min(1, len(begun)), name)
            begun.append(name)

        return time_stages(stages, said, seconds)
