"""``pifa store``: look into a store and check it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from pipelines.commands.options import FILE, print_json


@click.command()
@click.argument("path", metavar="STORE")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def info(path: str, as_json: bool) -> None:
    """Counts, settings and origin of a store.

    \b
    Example:
      pifa store info S.zarr
    """
    from pipelines.store import store_info

    values = store_info(path)
    if as_json:
        print_json(values)
        return
    for key, value in values.items():
        if key == "skipped":
            click.echo(f"{'skipped':16} {len(value)}")
            for item in value:
                click.echo(f"  {item['face']}: {item['reason']}")
        else:
            click.echo(f"{key:16} {value}")


@click.command()
@click.argument("path", metavar="STORE")
def verify(path: str) -> None:
    """Read every shard and compare it with the manifest.

    \b
    Example:
      pifa store verify S.zarr
    """
    from pipelines.store import verify_store

    problems = verify_store(path)
    for problem in problems:
        click.echo(f"{path}: {problem}", err=True)
    if problems:
        raise SystemExit(1)
    click.echo(f"{path}: every array is as built")


@click.command()
@click.argument("path", metavar="STORE")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 4096), help="Local worker processes.")
@click.option("--scheduler", help="Address of a running Dask scheduler, as tcp://host:8786.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def repair(path: str, as_json: bool, **options: Any) -> None:
    """Check a store and build again just what is damaged or missing.

    The sources are read again: run it in the folder where the store was built.

    \b
    Example:
      pifa store repair S.zarr
    """
    from pipelines.repair import repair_store

    done = repair_store(path, **options)
    if as_json:
        print_json(done.as_json())
        return
    for problem in done.problems:
        click.echo(f"{path}: {problem}", err=True)
    click.echo(f"{path}: {done}")


@click.command()
@click.argument("path", metavar="STORE")
@click.option("--out", required=True, type=FILE, metavar="HTML", help="Page to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
def report(path: str, out: Path, overwrite: bool) -> None:
    """Write a page about a store: numbers, charts, crops with labels and fitted meshes, what was skipped and why.

    \b
    Example:
      pifa store report S.zarr --out report.html
    """
    from pipelines.store_report import run_store_report

    run_store_report(path, out, overwrite=overwrite)
    click.echo(str(out))


COMMANDS = (info, verify, repair, report)
