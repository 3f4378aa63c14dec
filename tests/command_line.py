"""The ``pifa`` command as a user types it, in the test's own process."""

from __future__ import annotations

from typing import Any

from click.testing import CliRunner, Result

from cli import main

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
