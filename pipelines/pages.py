"""What all HTML pages share: filling a template, foreign text and pictures in it, and writing the file.

A page is whole in itself: no script, no file beside it, no request.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pifa_data.errors import ImageError
from pifa_data.version import VERSION
from pipelines.fits import write_whole


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template of ``templates/`` and write it, whole or not at all.

    Raises:
        OSError: no space, or no right to write.
    """
    import jinja2  # not needed by a run without a page

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    page = environment.get_template(template).render(version=VERSION, **values)
    write_whole(path, lambda file: file.write(page.encode()))


def shown(text: str, longest: int = 160) -> str:
    """Foreign text as a page can show it: no control character, none that turns the writing round, no mile of it."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: longest + 1])
    return clean if len(clean) <= longest else f"{clean[:longest]}…"


def picture_address(image: np.ndarray) -> str:
    """A ``(H, W, 3)`` uint8 RGB picture as an address that holds it whole (JPEG)."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
    if not done:
        raise ImageError("a picture of the page can't be encoded")
    return data_address("image/jpeg", data.tobytes())


def data_address(kind: str, data: bytes) -> str:
    """The data as an address that holds it whole."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
