"""``pifa calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from pipelines.commands.options import FILE, print_json


@click.command()
@click.argument("checkpoint")
@click.argument("source", metavar="SOURCE")
@click.option("--out", required=True, type=FILE, metavar="FILE.safetensors", help="The calibrated copy.")
@click.option("--overwrite", is_flag=True, help="Replace an existing --out.")
@click.option("--subset", type=click.Choice(["val", "train", "all"]), help="Default: people it did not train on.")
@click.option("--split", help="Only faces of this split or subset of the data set.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N faces.")
@click.option("--where", metavar="EXPR", help="Only faces that meet it, as 'abs(yaw) > 45 and size >= 100'.")
@click.option("--morphable", help="Morphable model, if it is not found by its fingerprint.")
@click.option("--registry", help="Registry of a zoo name.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def calibrate(checkpoint: str, source: str, out: Path, as_json: bool, **options: Any) -> None:
    """Write a copy of CHECKPOINT (run, file or zoo name) whose score is a probability.

    The score is fitted on SOURCE's faces, in good boxes and in bad ones, and on places without a face. It then is the
    probability that the mean error is below 5 % of the tight box.

    \b
    Example:
      pifa calibrate RUN keypoints-csv:faces --out calibrated/best.safetensors
      pifa eval calibrated keypoints-csv:faces --report faces.html
    """
    from pipelines.calibrate import run_calibrate

    found, note = run_calibrate(checkpoint, source, out, **options)
    if as_json:
        click.echo(f"pifa: {note}", err=True)
        print_json(found.model_dump(mode="json"))
        return
    click.echo(f"{out}: score fitted on {found.crops:,} crops of {found.people:,} people ({note})")
    if found.ece is not None and found.brier is not None and found.auc is not None:
        measured = f"off by {found.ece:.3f} (ECE), Brier {found.brier:.3f}, AUC {found.auc:.3f}"
        click.echo(f"on people that the fit did not see: {measured}")


COMMANDS = [calibrate]
