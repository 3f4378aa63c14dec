"""``pifa align``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from pipelines.commands.options import FILE, print_json


@click.command()
@click.argument("checkpoint")
@click.argument("paths", nargs=-1, required=True, type=FILE, metavar="IMAGE|FOLDER|VIDEO|camera:N...")
@click.option("--boxes", metavar="CSV|SOURCE", help="Where the faces are: CSV image,x0,y0,x1,y1, or FORMAT:PATH.")
@click.option("--detector", metavar="NAME", help="Finds the faces: haar (default), or a FaceDetectorYN model's file.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Leave out detected faces that score lower.")
@click.option("--out", type=FILE, help="Write here (of pts: a folder) and not to stdout; can be resumed.")
@click.option(
    "--format", "form", default="json", show_default=True, type=click.Choice(["json", "pts", "csv", "sqlite"])
)
@click.option("--resume", is_flag=True, help="Go on with an --out that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace an existing --out.")
@click.option("--overlay", type=FILE, help="Folder for pictures: visible landmarks green, hidden red.")
@click.option("--mesh", type=FILE, help="Folder for 3D faces, coloured from the image.")
@click.option("--mesh-format", default="obj", show_default=True, type=click.Choice(["obj", "ply", "npz"]))
@click.option("--maps", type=FILE, help="Folder for depth, normals, and the maps V of each block.")
@click.option("--smooth", is_flag=True, help="Steady the faces of videos.")
@click.option("--frames", type=click.IntRange(1), help="Stop a video or a camera after so many frames.")
@click.option("--landmarks", type=click.Choice(["2d", "3d"]), help="Landmark kind (default: as trained).")
@click.option("--scheme", help="Landmark scheme (default: as trained), as aflw21.")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1, 4096), help="Faces at once.")
@click.option("--morphable", help="Morphable model, if it is not found by its fingerprint.")
@click.option("--registry", help="Registry of a zoo name.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--runtime", default="torch", show_default=True, type=click.Choice(["torch", "onnx"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def align(
    checkpoint: str,
    paths: tuple[Path, ...],
    overlay: Path | None,
    mesh: Path | None,
    mesh_format: str,
    maps: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Align the faces of images, folders, videos or cameras with CHECKPOINT (run, file or zoo name).

    \b
    Example:
      pifa align pifa68-small photo.jpg --overlay out
      pifa align RUN photos --out faces.jsonl --mesh meshes --resume
      pifa align RUN photo.jpg --boxes boxes.csv --format csv
    """
    from pipelines.align import AlignOptions, PictureOptions, run_align

    if options["boxes"] and options["detector"]:
        raise click.UsageError("--boxes and --detector: give one of them")
    if (options["resume"] or options["overwrite"]) and not options["out"]:
        raise click.UsageError("--resume and --overwrite are about --out FILE; give it too")
    if as_json and options["form"] != "json":
        raise click.UsageError("--json prints JSON; --format is of other output")
    if as_json and options["out"]:
        raise click.UsageError("--json prints the faces; with --out FILE they are written there")
    names = ("boxes", "detector", "min_score", "landmarks", "scheme", "batch_size", "smooth", "frames")
    wanted = {name: options.pop(name) for name in names}
    pictures = PictureOptions(overlay, mesh, mesh_format, maps)
    say = None if as_json else lambda text: click.echo(text, nl=False)
    summary = run_align(checkpoint, paths, AlignOptions(**wanted, pictures=pictures), say=say, **options)
    if as_json:
        print_json(summary.as_json())
    for reason in summary.reasons:
        click.echo(f"pifa: {reason}", err=True)
    if summary.failures > len(summary.reasons):
        click.echo(f"pifa: {summary.failures - len(summary.reasons)} more; see the output", err=True)
    if options["out"]:
        click.echo(f"{options['out']}: {summary.faces} faces, {summary.failures} without")
    if not summary.faces:
        raise SystemExit(1)


COMMANDS = [align]
