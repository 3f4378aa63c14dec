"""``pifa doctor``: what is installed, what is missing and the cure, devices, speed."""

from __future__ import annotations

import rich_click as click

from pipelines.commands.options import print_json


@click.command()
@click.option("--speed/--no-speed", default=True, help="Time each stage of the work, a few seconds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def doctor(speed: bool, as_json: bool) -> None:
    """Tell what is installed, what is missing and the cure, what there is to compute with, and how fast it is.

    The network is not used, and nothing is changed. Exit status 1: something that pifa needs is broken.

    \b
    Example:
      pifa doctor
      pifa doctor --no-speed --json > doctor.json
    """
    from pipelines.doctor import print_page, run_doctor

    report = run_doctor(speed=speed)
    if as_json:
        print_json(report.as_json())
    else:
        print_page(report)
    if report.broken:
        raise SystemExit(1)


COMMANDS = (doctor,)
