"""The ``pifa`` command: parse, call one pipeline, print. No logic, and no heavy import outside a command."""

from __future__ import annotations

import importlib
import json
import logging
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import rich_click as click

_FILE = click.Path(path_type=Path)
_MODEL: dict[str, Any] = {
    "default": "builtin",
    "show_default": True,
    "help": "Morphable model: builtin, an imported one's name, or a file.",
}


def _set_verbosity(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Callback of -v and -q, wherever on the command line they stand."""
    if value:
        ctx.meta["pifa.verbose"] = param.name == "verbose"
        logging.getLogger("pifa").setLevel(logging.DEBUG if param.name == "verbose" else logging.ERROR)


def _verbosity() -> list[click.Parameter]:
    common: dict[str, Any] = {"is_flag": True, "expose_value": False, "callback": _set_verbosity}
    return [
        click.Option(["-v", "--verbose"], help="More on stderr; tracebacks for errors.", **common),
        click.Option(["-q", "--quiet"], help="Only errors on stderr.", **common),
    ]


class _Command(click.RichCommand):
    """A command that also takes -v and -q."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _verbosity()


class _Group(click.RichGroup):
    """A group of such commands, which takes them too."""

    command_class = _Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _verbosity()


class _LaterGroup(_Group):
    """A group with commands in modules of ``pipelines/commands``, which are read when one of them is used."""

    def __init__(self, *args: Any, modules: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._modules = modules

    def _read(self) -> None:
        modules, self._modules = self._modules, ()
        for module in modules:
            for command in importlib.import_module(f"pipelines.commands.{module}").COMMANDS:
                command.params += _verbosity()
                self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._read()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        self._read()
        return super().get_command(ctx, name)


class _Main(_LaterGroup):
    """Turns errors that are the user's into one line on stderr and exit status 1."""

    group_class = _Group

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # who reads the output may stop, as `head` does: Click ends quietly
        except Exception as error:
            if ctx.meta.get("pifa.verbose") or not _is_users(error):
                raise
            click.echo(f"pifa: {error}", err=True)
            ctx.exit(1)


def _is_users(error: Exception) -> bool:
    from pifa_data.errors import PifaError
    from zoo import ZooError

    return isinstance(error, (PifaError, ZooError, OSError))


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, allow_nan=False))


@click.group(
    cls=_Main,
    modules=("align", "calibrate", "demo", "doctor", "export", "serve"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="pifa")
def main() -> None:
    """Pose-invariant face alignment by 3D morphable model and a single CNN.

    \b
    Example, from labelled faces to landmarks on a photo:
      pifa prep keypoints-csv:faces --store S.zarr
      pifa train S.zarr --out RUN
      pifa align RUN photo.jpg --boxes boxes.csv --overlay out
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    if logging.getLogger("pifa").level == logging.NOTSET:
        logging.getLogger("pifa").setLevel(logging.INFO)
    # Warnings are for people here: one line, without the place in the code.
    warnings.showwarning = lambda message, *_: click.echo(f"pifa: warning: {message}", err=True)


@main.command()
@click.argument("name", required=False)
@click.option("--cite", is_flag=True, help="BibTeX of the papers to cite, for a bibliography.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def formats(name: str | None, cite: bool, as_json: bool) -> None:
    """List the annotation formats, or tell all about one: layout, splits, options, licence.

    \b
    Example:
      pifa formats
      pifa formats 300w
      pifa formats --cite > data_sets.bib
    """
    from pipelines.formats import chosen_formats, describe, overview

    found = chosen_formats(name)
    if as_json:
        _print_json({"formats": [describe(fmt) for fmt in found]})
    elif cite:
        click.echo("\n\n".join(dict.fromkeys(fmt.citation for fmt in found if fmt.citation)))
    else:
        click.echo(overview(found, whole=name is not None))


@main.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--report", type=_FILE, metavar="HTML", help="Also write a page: numbers, charts, faces, all problems.")
@click.option("--sheet", type=_FILE, metavar="PNG", help="Also write a contact sheet: faces with their points drawn.")
@click.option("--split", help="Only faces of this split or subset of the data set.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N faces of each source.")
@click.option("--where", metavar="EXPR", help="Only faces that meet it, as 'abs(yaw) > 45 and size >= 100'.")
@click.option("--morphable", **_MODEL)
@click.option("--overwrite", is_flag=True, help="Replace an existing page and sheet.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def inspect(sources: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Tell what is in SOURCES, whether it is read right, and what is wrong with it.

    \b
    Example:
      pifa inspect 300w:300W --report 300w.html --sheet 300w.png
    """
    from pipelines.inspect import run_inspect
    from pipelines.inspect_text import as_text

    summary = run_inspect(sources, **options)
    if as_json:
        _print_json(summary)
    else:
        click.echo(as_text(summary))


@main.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, type=_FILE, help="FITS.npz to write.")
@click.option("--morphable", **_MODEL)
@click.option("--landmarks", type=click.Choice(["2d", "3d"]), help="Landmark kind, if the source's own is wrong.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 256), help="Local worker processes.")
@click.option("--split", help="Only faces of this split or subset of the data set.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N faces of each source.")
@click.option("--where", metavar="EXPR", help="Only faces that meet it, as 'abs(yaw) > 45 and size >= 100'.")
@click.option("--report", type=_FILE, metavar="HTML", help="Also write a page: errors, poses, the worst fits drawn.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file and page.")
@click.option("--strict", is_flag=True, help="Stop at the first face that can't be used.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def fit(sources: tuple[str, ...], out: Path, as_json: bool, **options: Any) -> None:
    """Fit a morphable model to the landmarks of SOURCES; needs no images.

    \b
    Example:
      pifa fit merl-rav:merl_rav_labels --out FITS.npz --report fits.html
    """
    from pipelines.fit import run_fit

    summary = run_fit(sources, out, **options)
    if as_json:
        _print_json(summary.as_json())
        return
    click.echo(
        f"{out}: {summary.faces} faces in {summary.seconds:.1f} s ({summary.faces_per_second:.0f} a second), error "
        f"median {summary.nme_median:.2f} %, 95th percentile {summary.nme_p95:.2f} % (tight)"
    )
    click.echo(f"  {summary.not_converged} not converged, {summary.implausible} implausible, {summary.skipped} skipped")
    for skipped in summary.reasons[:20]:
        click.echo(f"  skipped {skipped.id}: {skipped.reason}", err=True)
    if len(summary.reasons) > 20:
        click.echo(f"  … and {len(summary.reasons) - 20} more; {out} lists them", err=True)


@main.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--store", required=True, help="The new Zarr store: a folder, or a URL as s3://bucket/name.")
@click.option("--morphable", **_MODEL)
@click.option("--copies", default=20, show_default=True, type=click.IntRange(1, 1000), help="Crops a face.")
@click.option("--size", default=114, show_default=True, type=click.IntRange(32, 1024), help="Side of a crop, pixels.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the jitter and the order.")
@click.option(
    "--boxes",
    default="tight",
    show_default=True,
    type=click.Choice(["tight", "dataset", "detector"]),
    help="Face boxes: around the labels, the data set's own, or as a face detector's.",
)
@click.option(
    "--grow", type=click.FloatRange(0.5, 10), help="Side of the crop over the box's size (1.4; detector 1.6)."
)
@click.option("--jitter", help="SHIFT,SCALE: noise of the box's centre and sides (0.05,0.05; detector 0.03,0.10).")
@click.option("--landmarks", type=click.Choice(["2d", "3d"]), help="Landmark kind, if the source's own is wrong.")
@click.option("--scheme", help="Landmark scheme of the store: a name, or union (default: that of the faces).")
@click.option("--mirror", is_flag=True, help="As many copies again, flipped left to right.")
@click.option(
    "--layout",
    default="crops",
    show_default=True,
    type=click.Choice(["crops", "faces"]),
    help="Crops, or one larger crop a face that they are cut from while training: a twelfth of the space.",
)
@click.option(
    "--profile",
    metavar="DEG",
    type=click.FloatRange(0, 90, min_open=True),
    help="Also three views of each face, turned in 3D to yaws of up to DEG degrees.",
)
@click.option(
    "--shard-faces", type=click.IntRange(1, 65536), help="Faces a shard, which a worker holds in memory (default 128)."
)
@click.option("--images", metavar="FOLDER|URL", help="Where the images are, if not beside the labels; also s3://….")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 4096), help="Local worker processes.")
@click.option("--scheduler", help="Address of a running Dask scheduler, as tcp://host:8786.")
@click.option("--split", help="Only faces of this split or subset of the data set.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N faces of each source.")
@click.option("--where", metavar="EXPR", help="Only faces that meet it, as 'abs(yaw) > 45 and size >= 100'.")
@click.option("--resume", is_flag=True, help="Go on with a build that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
@click.option("--strict", is_flag=True, help="Stop at the first face that can't be used.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def prep(sources: tuple[str, ...], store: str, as_json: bool, **options: Any) -> None:
    """Fit, crop and jitter the faces of SOURCES into a new Zarr STORE.

    \b
    Example:
      pifa prep keypoints-csv:faces --store S.zarr --copies 20
      pifa prep 300w:300W wflw:WFLW --store S.zarr --split train --scheme union
      pifa prep 300w:300W --store s3://bucket/S.zarr --scheduler tcp://head:8786 --layout faces
    """
    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume and --overwrite exclude each other")
    from pifa_data.build import PrepConfig
    from pipelines.prep import run_prep

    config: dict[str, Any] = {
        key: options.pop(key)
        for key in ("copies", "size", "seed", "boxes", "landmarks", "scheme", "mirror", "layout", "profile")
    }
    grow, jitter, shard_faces = (options.pop(key) for key in ("grow", "jitter", "shard_faces"))
    if shard_faces is not None:
        config["shard_faces"] = shard_faces
    if config["size"] % 2:
        raise click.BadParameter("expected an even number: later blocks see half of it", param_hint="--size")
    for name, value in (("--grow", grow), ("--profile", config["profile"])):
        if value is not None and not math.isfinite(value):
            raise click.BadParameter("expected a finite number", param_hint=name)
    if grow is not None:
        config["grow"] = grow
    if jitter is not None:
        config["jitter_shift"], config["jitter_scale"] = _jitter(jitter)
    summary = run_prep(sources, store, config=PrepConfig.for_boxes(**config), **options)
    if as_json:
        _print_json(summary.as_json())
        return
    views = f" and {summary.views} turned views of them" if summary.views else ""
    click.echo(
        f"{store}: {summary.crops} crops of {summary.faces} faces{views} in {summary.seconds:.0f} s, "
        f"{summary.skipped} skipped, mean fit error {summary.fit_nme_mean:.2f} % (tight)"
    )
    for skipped in summary.reasons[:20]:
        click.echo(f"  skipped {skipped.id}: {skipped.reason}", err=True)
    if len(summary.reasons) > 20:
        click.echo(f"  … and {len(summary.reasons) - 20} more; `pifa store info {store}` lists them", err=True)


def _jitter(text: str) -> tuple[float, float]:
    try:
        shift, scale = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter("expected SHIFT,SCALE, as in 0.05,0.05", param_hint="--jitter") from None
    if not (0 <= shift < 1 and 0 <= scale < 1):
        raise click.BadParameter("expected two shares from 0 to below 1", param_hint="--jitter")
    return shift, scale


@main.group("store", cls=_LaterGroup, modules=("store",))
def store_group() -> None:
    """Look into a store and check it."""


@main.command()
@click.argument("stores", nargs=-1, required=True)
@click.option("--out", required=True, type=_FILE, help="Run folder.")
@click.option("--preset", default="compact", show_default=True, help="compact, small, paper, or a .toml file.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting, as optimizer.name=sgd.")
@click.option("--val", metavar="STORE", help="Store to validate on, of other people, in place of --val-fraction.")
@click.option("--init", metavar="CHECKPOINT", help="Begin with the weights of this run, file or zoo name.")
@click.option("--val-fraction", type=click.FloatRange(0, 0.9), help="Share of the people held out (default 0.1).")
@click.option("--epochs", type=click.FloatRange(0, min_open=True), help="Passes over the training crops; may be 0.5.")
@click.option("--batch-size", type=click.IntRange(1), help="Crops a step.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--devices", type=click.IntRange(1), help="Processes on this machine, a GPU each (default 1).")
@click.option("--precision", type=click.Choice(["32", "bf16", "16"]), help="Arithmetic of the convolutions.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace an existing run.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def train(
    stores: tuple[str, ...],
    out: Path,
    preset: str,
    settings: tuple[str, ...],
    val: str | None,
    init: str | None,
    device: str,
    devices: int | None,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    **shortcuts: Any,
) -> None:
    """Train a network on stores that `pifa prep` made; people, never crops, are held out for validation.

    A batch is shared by all devices, started by --devices, by torchrun on each of several machines, or by SLURM.

    \b
    Example:
      pifa train S.zarr --out RUN --preset compact --val-fraction 0.15 --epochs 2
      pifa train S.zarr --out RUN --preset small --init pifa68-small --set optimizer.learning_rate=3e-4
      pifa train A.zarr B.zarr --val C.zarr --out RUN --device cuda --devices 4 --batch-size 256
      torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \
        --no-python pifa train S.zarr --out RUN --device cuda
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    if val is not None and shortcuts["val_fraction"] is not None:
        raise click.UsageError("--val and --val-fraction exclude each other")
    from pifa_model.config import load_config
    from pipelines.train import run_training

    given = tuple(f"training.{key}={json.dumps(value)}" for key, value in shortcuts.items() if value is not None)
    config = load_config(preset, settings + given)
    summary = run_training(
        stores, out, config, val=val, init=init, device=device, devices=devices, resume=resume, overwrite=overwrite
    )
    if summary is None:  # the first process tells it
        return
    if as_json:
        _print_json({**summary.__dict__, "run": str(summary.run)})
        return
    best = "no validation" if summary.best_nme is None else f"best validation NME {summary.best_nme:.2f} % (tight)"
    click.echo(f"{out}: {summary.steps} steps in {summary.seconds:.0f} s, {best}")


@main.command()
@click.argument("table")
@click.option("--store", required=True, help="Store to train and measure on; its people are held out as always.")
@click.option("--budget", default=10_000, show_default=True, type=click.IntRange(1), help="Crops a run is trained on.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="Runs of each variant.")
@click.option("--preset", default="small", show_default=True, help="The network that is varied.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting of all runs.")
@click.option("--test", "tests", multiple=True, metavar="SOURCE", help="Also measure each run on it, as its papers do.")
@click.option("--out", default="paper", show_default=True, type=_FILE, help="Folder of the results, a JSON file a run.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def paper(table: str, seeds: int, tests: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Run the experiment of a TABLE of the paper within a budget, and print the paper's numbers beside yours.

    TABLE is table2 to table8, figure7, noise or training-time. Runs are shared between tables; what is done is not
    done again, and what was stopped goes on.

    \b
    Example:
      pifa paper table6 --store S.zarr --seeds 3
      pifa paper table2 --store aflw.zarr --preset paper --budget 2574660 --test aflw-lpfa:AFLW --device cuda
    """
    from pipelines.experiments import Plan
    from pipelines.paper import as_markdown, run_paper

    result = run_paper(table, Plan(each_block=False, **options), seeds=seeds, tests=tests)
    if as_json:
        _print_json(result)
        return
    click.echo(as_markdown(result))


@main.command("eval")
@click.argument("checkpoint")
@click.argument("target", metavar="STORE|SOURCE")
@click.option(
    "--boxes",
    type=click.Choice(["tight", "dataset", "jittered", "detector"]),
    help="Input boxes (default: as trained).",
)
@click.option("--subset", type=click.Choice(["val", "train", "all"]), help="Default: people it did not train on.")
@click.option("--normaliser", default="tight", show_default=True, type=click.Choice(["tight", "box", "interocular"]))
@click.option("--landmarks", type=click.Choice(["2d", "3d"]), help="Landmark kind, if the source's own is wrong.")
@click.option("--morphable", help="Morphable model, if it is not found by its fingerprint.")
@click.option("--registry", help="Registry of a zoo name.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1))
@click.option("--split", help="Only faces of this split or subset of the data set.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N faces.")
@click.option("--where", metavar="EXPR", help="Only faces that meet it, as 'abs(yaw) > 45 and size >= 100'.")
@click.option("--report", type=_FILE, metavar="HTML", help="Also write a page: numbers, charts, faces block by block.")
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def evaluate(checkpoint: str, target: str, as_json: bool, **options: Any) -> None:
    """Measure CHECKPOINT (run, file or zoo name) on a store's crops or a source's faces.

    Of a store neither mirrored crops nor turned views are taken.

    \b
    Example:
      pifa eval RUN S.zarr
      pifa eval RUN keypoints-csv:faces --boxes jittered --report faces.html
      pifa eval RUN 300w:300W --split challenging --normaliser interocular
      pifa eval NAME@1.0.0 aflw:AFLW --normaliser box --json > aflw.json
    """
    from pipelines.eval_text import as_text
    from pipelines.evaluate import run_eval

    result = run_eval(checkpoint, target, **options)
    if as_json:
        click.echo(f"pifa: {result.note}", err=True)
        _print_json(result.values)
        return
    click.echo(as_text(result.values, result.note))


@main.command()
@click.argument("paths", nargs=-1, required=True, type=_FILE, metavar="RUN|EVAL...")
@click.option("--out", required=True, type=_FILE, metavar="HTML", help="Page to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
def report(paths: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Write a page about runs, measured on the people they held out, and files of `pifa eval --json`, side by side.

    \b
    Example:
      pifa report RUN --out run.html
      pifa report compact small faces.json --out compared.html
    """
    from pipelines.pages import shown
    from pipelines.report import run_report

    for entry in run_report(paths, out, overwrite=overwrite):
        for note in entry.notes:
            click.echo(f"pifa: {shown(entry.name)}: {shown(note, 1000)}", err=True)
    click.echo(str(out))


@main.group("morphable", cls=_LaterGroup, modules=("morphable",))
def morphable_group() -> None:
    """Get and import morphable models, and look at them; `builtin` is always there."""


@main.group("zoo", cls=_LaterGroup, modules=("zoo",))
def zoo_group() -> None:
    """Publish checkpoints to a registry, and get them from one."""


if __name__ == "__main__":
    main()
