"""Pictures for a card of the zoo: charts of a run and its evaluations, and a publisher's own, made safe to hand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from pifa_data.errors import ImageError
from pifa_data.images import read_image
from pipelines.fits import write_whole
from pipelines.report import MOST
from pipelines.report_entries import Entry, read_entries, read_rounds

LARGEST_SIDE = 1160
"""Pixels of a publisher's picture; a larger one is shrunk. A page is 1040 wide, and no picture of that size, however
it is compressed, has more bytes than a registry takes."""

_QUALITY = 92
_MORE = {"training": ": training loss, and validation error after each block"}


def run_pictures(run: Path | None, metrics: Sequence[Path], folder: Path) -> list[tuple[Path, str]]:
    """Draw the charts of a card as PNG: learning curves, error by block, error by yaw.

    Args:
        run: a run's folder, for its learning curves; None, or one without them, has none.
        metrics: files that ``pifa eval --json`` wrote; of more than 24, the first 24 are drawn.
        folder: where the pictures go; it must exist.

    Returns:
        The files and what they show. The same run and metrics give the same bytes.

    Raises:
        PifaError, ZooError: a metric that is no evaluation.
        OSError: no space, or no right to write.
    """
    from pipelines.report_charts import draw_charts  # Matplotlib is slow to import

    rounds = read_rounds(run / "metrics.csv", []) if run is not None else []
    measured = draw_charts([_by_data(entry) for entry in read_entries(metrics[:MOST])])
    # Apart from the evaluations: of one entry alone, every block has its line.
    trained = draw_charts([Entry("this run", "run", rounds=rounds)])
    found = []
    for kind, charts in {"training": trained["training"], "blocks": measured["blocks"], "yaw": measured["yaw"]}.items():
        for number, chart in enumerate(charts, 1):
            path = folder / f"{kind}{'' if number == 1 else f'-{number}'}.png"
            write_whole(path, lambda file, chart=chart: file.write(chart.png()))  # type: ignore[misc]
            found.append((path, f"{chart.title}{_MORE.get(kind, '')}"))
    return found


def _by_data(entry: Entry) -> Entry:
    """An evaluation named by what it was measured on: on a card they are all of one checkpoint."""
    numbers = entry.numbers
    if numbers is None or not numbers.source:
        return entry
    boxes = f", {numbers.boxes} boxes" if numbers.boxes not in ("", "store") else ""
    return replace(entry, name=f"{numbers.source}{boxes}", numbers=numbers.model_copy(update={"source": ""}))


def checked_picture(path: Path, target: Path) -> None:
    """Decode a publisher's picture and write it anew: of its metadata (place, date, camera) nothing is left.

    Args:
        path: PNG, JPEG or another kind that ``read_image`` reads; what is transparent becomes white.
        target: its ending, ``.png`` or ``.jpg``, decides the format.

    Raises:
        ImageError: no picture, or a damaged or too large one; another ending.
        OSError: no space, or no right to write.
    """
    settings = {".png": [], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]}.get(target.suffix)
    if settings is None:
        raise ImageError(f"{target}: expected a name that ends in .png or .jpg, found another; choose one of these")
    image = _on_white(path, cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR))
    height, width = image.shape[:2]
    if max(height, width) > LARGEST_SIDE:
        factor = LARGEST_SIDE / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(target.suffix, image, settings)
    if not done:
        raise ImageError(f"{path}: the picture can't be encoded as {target.suffix}; convert it")
    write_whole(target, lambda file: file.write(encoded.tobytes()))


def _on_white(path: Path, image: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` uint8 BGR over white, where the file says how transparent it is: its colours there are any."""
    whole = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if whole is None or whole.ndim != 3 or whole.shape != (*image.shape[:2], 4):
        return image
    opacity = whole[..., 3:].astype(np.float32) / (255 if whole.dtype == np.uint8 else 65535)
    return np.round(opacity * image + (1 - opacity) * 255).astype(np.uint8)
