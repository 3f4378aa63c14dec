"""What the commands of several groups share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import rich_click as click

FILE = click.Path(path_type=Path)


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))
