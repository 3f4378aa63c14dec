"""What a store holds: its arrays and how their rows fall into shards (``docs/store.md``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

TEXTS = ("id", "path", "subject", "split", "subsets", "scheme", "kind")
"""Text columns of the face table, kept as zero-padded UTF-8 bytes (F, W): Zarr v3 has no settled string type yet."""

FACES_A_SHARD = 128
"""Unless told otherwise: 2,560 crops of 20 copies, 100 MB of pixels."""

CHUNK = 64
"""Rows read together."""

LARGE = 1.3
"""Side of the large crop of layout ``faces`` over the side of a crop, at the same scale. The margin of 0.15 crops is
3.8 standard deviations of where an edge of a jittered crop lies: N(0, 0.05) of the box, which is 1/1.4 of the crop,
beside half of its side's N(0, 0.035). 20 crops of 114² pixels are 11.9 times as many as one of 148²."""


@dataclass(frozen=True)
class Column:
    """One array of a store.

    Attributes:
        shape: of one row.
        dtype: NumPy's name.
        of: ``crop`` or ``face``, what a row is.
        chunk: rows that are compressed, and read, together.
    """

    shape: tuple[int, ...]
    dtype: str
    of: str
    chunk: int


@dataclass(frozen=True)
class Layout:
    """Sizes of a store, known before the first row is written.

    Attributes:
        faces: rows of the face table.
        copies: crops a face.
        size: side of a crop, pixels.
        points, params: landmarks a face, and numbers of P.
        text_widths: bytes of each text column.
        kind: ``crops``, or ``faces``: one larger crop a face, which the crops are cut from when they are read.
        shard_faces: faces a shard.
    """

    faces: int
    copies: int
    size: int
    points: int
    params: int
    text_widths: dict[str, int]
    kind: str = "crops"
    shard_faces: int = FACES_A_SHARD

    @property
    def shards(self) -> int:
        return -(-self.faces // self.shard_faces)

    @property
    def image_size(self) -> int:
        """Side of the stored pictures, pixels; even, so that both have a middle of the same kind."""
        return self.size if self.kind == "crops" else 2 * round(self.size * LARGE / 2)

    def face_range(self, shard: int) -> slice:
        return slice(shard * self.shard_faces, min((shard + 1) * self.shard_faces, self.faces))

    def row_range(self, shard: int) -> slice:
        faces = self.face_range(shard)
        return slice(faces.start * self.copies, faces.stop * self.copies)

    def rows_of(self, name: str, shard: int) -> slice:
        """The rows of a column that a shard holds."""
        return self.row_range(shard) if self.columns()[name].of == "crop" else self.face_range(shard)

    def shard_rows(self, name: str) -> int:
        """Rows of a column in a whole shard."""
        return self.shard_faces * (self.copies if self.columns()[name].of == "crop" else 1)

    def columns(self) -> dict[str, Column]:
        """Every array by name, as ``images`` or ``faces/pose``."""
        numbers: dict[str, tuple[tuple[int, ...], str]] = {
            "boxes": ((4,), "float32"),
            "valid": ((), "bool"),
            "source": ((), "int64"),
            "copy": ((), "int16"),
            "mirrored": ((), "bool"),
        }
        if self.kind == "crops":
            numbers |= {
                "params": ((self.params,), "float32"),
                "landmarks": ((self.points, 2), "float32"),
                "visibility": ((self.points,), "uint8"),
            }
        table: dict[str, tuple[tuple[int, ...], str]] = {
            "box": ((4,), "float32"),
            "dataset_box": ((4,), "float32"),
            "dataset_pose": ((3,), "float32"),
            "landmarks": ((self.points, 2), "float32"),
            "visibility": ((self.points,), "uint8"),
            "params": ((self.params,), "float32"),
            "params_mirrored": ((self.params,), "float32"),
            "fit_nme": ((), "float32"),
            "fit_nme_mirrored": ((), "float32"),
            "pose": ((3,), "float32"),
            "profile": ((), "float32"),
            "valid": ((), "bool"),
        }
        table |= {name: ((width,), "uint8") for name, width in self.text_widths.items()}
        picture = ((self.image_size, self.image_size, 3), "uint8")
        rows = self.shard_faces * self.copies
        images = Column(*picture, "crop", math.gcd(CHUNK, rows))
        if self.kind == "faces":
            images = Column(*picture, "face", math.gcd(CHUNK, self.shard_faces))
        return {
            "images": images,
            **{name: Column(*kind, "crop", math.gcd(CHUNK, rows)) for name, kind in numbers.items()},
            **{f"faces/{name}": Column(*kind, "face", self.shard_faces) for name, kind in table.items()},
        }
