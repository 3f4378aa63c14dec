"""``pifa morphable``: get and import morphable models, and look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from pipelines.commands.options import FILE, print_json

FORMATS = ["bfm2009", "bfm2017", "bfm2019", "flame", "ict", "ict-npz", "surrey"]


@click.command("import")
@click.argument("form", metavar="FORMAT", type=click.Choice(FORMATS))
@click.argument("paths", nargs=-1, required=True, type=FILE)
@click.option("--out", required=True, type=FILE, help="File to write (.safetensors).")
@click.option("--landmarks", type=FILE, metavar="MAPPING", help="Landmark vertices of your own, before the format's.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def import_(form: str, paths: tuple[Path, ...], out: Path, landmarks: Path | None, overwrite: bool) -> None:
    """Make a model's file from its owner's originals; docs/morphable.md has what each FORMAT wants.

    FORMAT is bfm2009, bfm2017, bfm2019, flame, ict, ict-npz or surrey.

    \b
    Example:
      pifa morphable import ict FaceXModel --out ict.safetensors
      pifa morphable import bfm2009 Model_Shape.mat Model_Expression.mat --out bfm.safetensors
    """
    from pipelines.models import run_import

    model = run_import(form, paths, out, landmarks=landmarks, overwrite=overwrite)
    click.echo(
        f"{out}: {model.name}, {len(model.mean)} vertices, {model.n_coefficients} modes, licence {model.licence}"
    )
    click.echo(f"fingerprint {model.fingerprint}")


@click.command()
@click.argument("name", type=click.Choice(["ict"]))
@click.option("--url", envvar="PIFA_ICT_URL", hidden=True, help="Mirror of the kit's folder at the pinned commit.")
def get(name: str, url: str | None) -> None:
    """Download a model that its owner offers freely, check it, import it and keep it under NAME.

    `ict` is ICT-FaceKit (MIT licence), 400 MB in 159 files; a download that was stopped goes on where it was.

    \b
    Example:
      pifa morphable get ict
    """
    from pipelines.fetch_models import run_get

    model, fetched, licence = run_get(name, url)
    click.echo(licence, err=True)
    click.echo(
        f"{name}: {fetched} files fetched; {len(model.mean)} vertices, {model.n_coefficients} modes, "
        f"licence {model.licence}"
    )
    click.echo(f"fingerprint {model.fingerprint}")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def list_(as_json: bool) -> None:
    """List `builtin` and the imported models.

    \b
    Example:
      pifa morphable list
    """
    from pipelines.models import list_models, model_info

    infos = [model_info(model) for model in list_models()]
    if as_json:
        print_json({"models": infos})
    else:
        for info in infos:
            click.echo(
                f"{info['name']:12} {info['vertices']:6} vertices  {info['fingerprint'][:12]}  {info['licence']}"
            )


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def info(model: str, as_json: bool) -> None:
    """Sizes, schemes, licence and fingerprint of a model.

    \b
    Example:
      pifa morphable info builtin
    """
    from pipelines.models import model_info
    from pipelines.sources import find_model

    values = model_info(find_model(model))
    if as_json:
        print_json(values)
        return
    for key, value in values.items():
        click.echo(f"{key:22} {value}")


@click.command()
@click.argument("model")
@click.option("--out", required=True, type=FILE, help="PNG to write.")
@click.option("--yaw", default=0.0, show_default=True, type=float, help="Degrees; positive turns the nose to the left.")
@click.option("--landmarks", is_flag=True, help="Draw the landmarks with their numbers; hidden ones are dimmed.")
@click.option("--scheme", default="ibug68", show_default=True, help="Landmark scheme to draw.")
@click.option("--contours", is_flag=True, help="Draw the lines along which contour landmarks march.")
@click.option("--coefficients", default="", help="Comma-separated, in standard deviations, identity first.")
def render(model: str, out: Path, coefficients: str, **options: Any) -> None:
    """Draw a shaded model.

    \b
    Example:
      pifa morphable render builtin --out builtin.png --landmarks --yaw 45
    """
    from pipelines.models import run_render

    try:
        values = tuple(float(part) for part in coefficients.split(",") if part.strip())
    except ValueError:
        raise click.BadParameter("expected comma-separated numbers", param_hint="--coefficients") from None
    run_render(model, out, coefficients=values, **options)
    click.echo(str(out))


COMMANDS = (import_, get, list_, info, render)
