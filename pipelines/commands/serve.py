"""``pifa serve``: a web page and a REST interface for a checkpoint."""

from __future__ import annotations

from typing import Any

import rich_click as click


@click.command()
@click.argument("checkpoint")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; others let others in.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--name", multiple=True, metavar="HOST", help="Name it is reached by, for a web server in front; repeat.")
@click.option("--detector", metavar="NAME", help="haar (default), or the .onnx file of a YuNet face detector.")
@click.option("--morphable", help="Morphable model, if it is not found by its fingerprint.")
@click.option("--registry", help="Registry of a zoo name.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--runtime", default="torch", show_default=True, type=click.Choice(["torch", "onnx"]))
@click.option("--max-bytes", type=click.IntRange(1024, 2**28), help="Of a photo's file (default: 20 MiB).")
@click.option("--max-pixels", type=click.IntRange(1024, 2**30 - 1), help="Of a photo (default: 33,554,432).")
@click.option("--timeout", type=click.FloatRange(0.1, 600), help="Seconds to arrive, and to be answered (default: 20).")
@click.option("--concurrency", type=click.IntRange(1, 64), help="Photos worked on at once (default: 2).")
@click.option("--waiting", type=click.IntRange(0, 1000), help="Photos that may wait besides (default: 16).")
def serve(checkpoint: str, **options: Any) -> None:
    """Serve a web page and a REST interface for CHECKPOINT, to this machine alone unless --host says otherwise.

    \b
    Example:
      pifa serve pifa68-small
      curl -T photo.jpg -X POST http://127.0.0.1:8000/api/align
    """
    from pipelines.serve.run import run_serve

    run_serve(checkpoint, **options, say=lambda text: click.echo(f"pifa: {text}", err=True))


COMMANDS = [serve]
