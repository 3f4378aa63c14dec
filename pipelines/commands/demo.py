"""``pifa demo``: everything once, without data."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from pipelines.commands.options import FILE


@click.command()
@click.option("--out", default="work/demo", show_default=True, type=FILE, help="Folder for everything it makes.")
@click.option("--faces", default=600, show_default=True, type=click.IntRange(40, 100_000), help="Faces to render.")
@click.option("--open/--no-open", "show", default=None, help="Open the page in a browser (default: on a terminal).")
def demo(out: Path, faces: int, show: bool | None) -> None:
    """Do everything once on rendered faces, in a few minutes: prep, train, eval, publish, align.

    Needs no data and no network, and ends with one page that shows each stage and its command.

    \b
    Example:
      pifa demo --out work/demo
    """
    import sys
    import webbrowser

    from pipelines.demo import run_demo

    page = run_demo(out, faces=faces, say=click.echo)
    click.echo(str(page))
    if sys.stdout.isatty() if show is None else show:
        webbrowser.open(page.resolve().as_uri())


COMMANDS = [demo]
