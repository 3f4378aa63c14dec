"""Pictures of a card: what they are by their first bytes, whatever their names say."""

from __future__ import annotations

from zoo.errors import ZooError

MAX_PICTURE_BYTES = 4 * 2**20
"""A card has a handful, and a page shows them all."""

_STARTS = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}


def picture_suffix(data: bytes, where: str) -> str:
    """``.png`` or ``.jpg``.

    Raises:
        ZooError: neither, or over 4 MiB.
    """
    if len(data) > MAX_PICTURE_BYTES:
        raise ZooError(f"{where}: expected a picture of at most {MAX_PICTURE_BYTES} bytes, found more; make it smaller")
    for start, suffix in _STARTS.items():
        if data.startswith(start):
            return suffix
    raise ZooError(f"{where}: expected a PNG or JPEG picture, found something else; give such a picture")
