"""What the server is asked and what it replies, as the OpenAPI description has it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_NUMBER = r"-?[0-9]{1,6}(\.[0-9]{1,6})?"
Box = Annotated[str, StringConstraints(pattern=rf"^{_NUMBER}(,{_NUMBER}){{3}}$", max_length=80)]

MOST_FACES = 64
"""Faces of one photo that can be asked for."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AlignQuery(_Strict):
    """Options of ``/api/align``."""

    box: list[Box] = Field(
        default=[],
        max_length=MOST_FACES,
        description="Where a face is: x0,y0,x1,y1 in pixels, by the checkpoint's kind of box. Repeated for several "
        "faces. Without any, the detector looks for faces.",
        examples=[["180,86,267,180"]],
    )
    landmarks: Literal["2d", "3d"] | None = Field(default=None, description="Landmark kind; by default as trained.")
    faces: int = Field(default=16, ge=1, le=MOST_FACES, description="The most faces wanted, surest first.")
    mesh: bool = Field(default=False, description="Whether each face has its `vertices`.")


class MeshQuery(_Strict):
    """Options of ``/api/mesh``."""

    box: Box = Field(description="Where the face is; the `box` that /api/align gave.", examples=["180,86,267,180"])
    format: Literal["ply", "obj"] = Field(default="ply", description="Binary PLY, or Wavefront OBJ.")


class Pose(_Strict):
    """Degrees; yaw > 0: the nose points to the image's left, pitch > 0: up, roll > 0: the head tips to its right."""

    yaw: float
    pitch: float
    roll: float


Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class Face(_Strict):
    """One face; pixels of the photo as sent, upright, (0, 0) the centre of the first."""

    box: list[float] = Field(min_length=4, max_length=4, description="x0, y0, x1, y1 it was aligned from.")
    landmarks: list[Point] = Field(description="x, y of each point of the scheme.")
    visibility: list[Annotated[int, Field(ge=0, le=1)]] = Field(description="1: the point faces the viewer.")
    pose: Pose
    score: float = Field(ge=0, le=1, description="Larger is surer.")
    camera: list[float] = Field(min_length=8, max_length=8, description="M, 2×4, row-major, model units to pixels.")
    coefficients: list[float] = Field(description="p of the morphable model, in standard deviations.")
    vertices: str | None = Field(
        default=None,
        description="If asked for: x, y, z of each vertex, base64 of little-endian float32; x right, y down, z away.",
    )


class Aligned(_Strict):
    """The faces of a photo."""

    width: int = Field(ge=1, description="Pixels, after its EXIF turning.")
    height: int = Field(ge=1)
    faces: list[Face] = Field(description="Surest first, or in the order of the boxes that were given.")
    found: int = Field(ge=0, description="Faces there were before `faces` cut the list.")
    milliseconds: float = Field(ge=0, description="Time that the photo was worked on.")


class Morphable(_Strict):
    """A morphable model."""

    name: str
    fingerprint: str
    licence: str
    vertices: int
    coefficients: int


class Served(_Strict):
    """What is served, and within which limits."""

    checkpoint: str
    scheme: str
    points: list[str] = Field(description="Anatomical names of the landmarks.")
    groups: dict[str, list[int]] = Field(description="Landmark numbers of each part of the face.")
    landmark_kind: Literal["2d", "3d"]
    boxes: Literal["tight", "dataset", "detector"] = Field(description="Kind of box the network was trained with.")
    detector: str
    morphable: Morphable
    triangles: str = Field(description="Vertex numbers, three a triangle, base64 of little-endian int32.")
    largest_bytes: int
    largest_pixels: int
    version: str


class Health(_Strict):
    """The server is up."""

    status: Literal["ok"] = "ok"
    version: str
