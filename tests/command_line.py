"""The ``pifa`` command as a user types it, in the test's own process."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cli import main
from pifa_data.boxes import tight_box
from pifa_data.faces import Face

QUICK = ("--set", "network.hidden=8", "--set", "network.visualization.vertices=150", "--set", "training.round_steps=3")
"""Settings with which ``pifa train`` takes seconds."""


def pifa(*arguments: Any) -> Result:
    """Run a command, whatever comes of it."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def good(*arguments: Any) -> Result:
    """Run a command that has to succeed."""
    result = pifa(*arguments)
    assert result.exit_code == 0, result.output or repr(result.exception)
    return result


def write_boxes(path: Path, faces: list[Face]) -> None:
    """The tight boxes of labelled faces as the CSV that ``pifa align --boxes`` reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "x0", "y0", "x1", "y1"])
        for face in faces:
            writer.writerow([face.image.name, *(f"{v:.2f}" for v in tight_box(face.landmarks, face.visibility))])
