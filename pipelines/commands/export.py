"""``pifa export``: a checkpoint for other runtimes."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from pipelines.commands.options import FILE, print_json


@click.command()
@click.argument("checkpoint")
@click.option("--out", required=True, type=FILE, metavar="FILE", help="File to write: .onnx or .safetensors.")
@click.option("--faces", metavar="STORE", help="Store whose crops the file is checked with (default: drawn faces).")
@click.option("--morphable", help="Morphable model, if it is not found by its fingerprint.")
@click.option("--registry", help="Registry of a zoo name.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def export(
    checkpoint: str,
    out: Path,
    faces: str | None,
    morphable: str | None,
    registry: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write CHECKPOINT (run, file or zoo name) as an ONNX file: the whole network, for any number of faces at once.

    It is written only if its landmarks are those of PyTorch; docs/export.md has its inputs and outputs. A file called
    .safetensors is the checkpoint itself with weights in float16, half as large.

    \b
    Example:
      pifa export pifa68-small --out small.onnx
      pifa export RUN --out half/best.safetensors
      pifa align small.onnx photo.jpg --runtime onnx
    """
    from dataclasses import asdict

    from pipelines.export import run_export

    done = run_export(checkpoint, out, faces=faces, morphable=morphable, registry=registry, overwrite=overwrite)
    if as_json:
        print_json({**asdict(done), "path": str(done.path)})
        return
    if out.suffix == ".safetensors":
        apart = f"landmarks {done.mean:.1g} pixels from the checkpoint's on average of"
    else:
        apart = f"landmarks within {done.largest:.1g} pixels of PyTorch's on"
    click.echo(f"{done.path}: {done.bytes / 1e6:.1f} MB, {apart} {done.faces} faces")


COMMANDS = [export]
