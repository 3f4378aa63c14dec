"""What is done with a photo: pixels, faces, mesh. No network, no files, nothing kept."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pifa_data.boxes import check_box
from pifa_data.detection import Detection, Detector
from pifa_data.errors import ImageError, PifaError
from pifa_data.image_header import read_size
from pifa_data.mesh import FaceMesh, obj_text, ply_bytes, vertex_colours
from pifa_data.photos import Photo, decode_photo
from pifa_data.schemes import get_scheme
from pifa_data.version import VERSION
from pifa_model import Aligner
from pifa_model.results import Alignment
from pipelines.align.records import face_record
from pipelines.serve.answers import MOST_FACES, Aligned, AlignQuery, Face, Morphable, Served
from pipelines.serve.limits import Limits, now
from pipelines.serve.problems import Refusal

COLOURED = 1000
"""Pixels that a face is wide or high at most where a mesh takes its colours from: 20,000 vertices show no more."""

NAME = "photo"
"""What errors call the photo: its own name is not sent."""


@dataclass(frozen=True)
class Worker:
    """Aligns photos. Threads share one.

    Attributes:
        aligner: of the checkpoint.
        detector: finds the faces of a photo without boxes.
        limits: of the server.
        checkpoint: what it is called.
        least: score below which a detected face is a false alarm.
    """

    aligner: Aligner
    detector: Detector
    limits: Limits
    checkpoint: str
    least: float = 0.0

    def align(self, data: bytes, query: AlignQuery) -> Aligned:
        """The faces of a photo's file.

        Raises:
            Refusal: 400, 413 or 422, see ``problems.REASONS``.
        """
        start = now()
        boxes = [_box(text) for text in query.box]
        photo = self._decode(data)
        if boxes:
            found, faces = len(boxes), self._in_boxes(photo, boxes[: query.faces], query.landmarks)
        else:
            found, faces = self._detected(photo, query.faces, query.landmarks)
        records = []
        for face in faces:
            whole = face.enlarged(photo.factor, photo.shift)
            vertices = _base64(self.aligner.mesh(whole).vertices, "<f4") if query.mesh else None
            records.append(Face(**face_record(whole), vertices=vertices))
        return Aligned(
            width=photo.width,
            height=photo.height,
            faces=records,
            found=found,
            milliseconds=round(1000 * (now() - start), 1),
        )

    def mesh(self, data: bytes, box: str, form: str) -> bytes:
        """The face in a box as a coloured mesh, original pixels: PLY, or OBJ.

        Raises:
            Refusal: as ``align``.
        """
        photo = self._decode(data)
        [face] = self._in_boxes(photo, [_box(box)], None)
        whole = self.aligner.mesh(face.enlarged(photo.factor, photo.shift))
        colours = self._colours(self.aligner.mesh(face), photo.pixels)
        return ply_bytes(whole, colours) if form == "ply" else obj_text(whole, colours).encode("ascii")

    def warm(self) -> None:
        """Do once what the first photo would wait for."""
        grey = np.full((120, 120, 3), 127, np.uint8)
        self.detector(grey)
        self.aligner(grey, [[30, 30, 90, 90]])

    def served(self) -> Served:
        """What is served."""
        model, header = self.aligner.model, self.aligner.header
        scheme = get_scheme(self.aligner.scheme)
        return Served(
            checkpoint=self.checkpoint,
            scheme=scheme.name,
            points=list(scheme.points),
            groups={name: list(members) for name, members in scheme.groups.items()},
            landmark_kind=header.landmark_kind,
            boxes=header.boxes,
            detector=self.detector.name,
            morphable=Morphable(
                name=model.name,
                fingerprint=model.fingerprint,
                licence=model.licence,
                vertices=len(model.mean),
                coefficients=model.n_coefficients,
            ),
            triangles=_base64(model.triangles, "<i4"),
            largest_bytes=self.limits.bytes,
            largest_pixels=self.limits.pixels,
            version=VERSION,
        )

    def _decode(self, data: bytes) -> Photo:
        size = read_size(io.BytesIO(data))
        if size and size[0] * size[1] > self.limits.pixels:
            found = f"{size[0]} × {size[1]} pixels"
            raise Refusal(413, f"{NAME}: expected at most {self.limits.pixels} pixels, found {found}; scale it down")
        try:
            return decode_photo(data, NAME, largest=self.limits.pixels)
        except ImageError as error:
            raise Refusal(400, str(error)) from error

    def _detected(self, photo: Photo, most: int, kind: str | None) -> tuple[int, list[Alignment]]:
        """How many faces there are, and the surest of them aligned; what is beyond ``MOST_FACES`` may all be faces."""
        seen = self.detector(photo.pixels)
        faces = self.aligner.find([photo.pixels], _Seen(seen[:MOST_FACES]), kind, min_score=self.least)[0]
        faces.sort(key=lambda face: -face.score)
        return len(faces) + len(seen[MOST_FACES:]), faces[:most]

    def _in_boxes(self, photo: Photo, boxes: Sequence[np.ndarray], kind: str | None) -> list[Alignment]:
        for box in boxes:
            if not photo.meets(box):
                raise Refusal(422, f"box: expected one that meets the image of {photo.width} × {photo.height} pixels")
        return self.aligner(photo.pixels, [photo.box_from_original(box) for box in boxes], kind)

    def _colours(self, mesh: FaceMesh, pixels: np.ndarray) -> np.ndarray:
        """As ``vertex_colours``, of the part of the photo that the face is in, made smaller where it is large.

        The rest costs time for nothing, and ``vertex_colours`` takes some 84 bytes a pixel.
        """
        size = pixels.shape[1], pixels.shape[0]
        low = np.clip(np.floor(mesh.vertices[:, :2].min(0)) - 2, 0, np.subtract(size, 1)).astype(int)
        high = np.clip(np.ceil(mesh.vertices[:, :2].max(0)) + 3, low + 1, size).astype(int)
        part = pixels[low[1] : high[1], low[0] : high[0]]
        vertices = mesh.vertices - (*low, 0)
        if (factor := COLOURED / max(part.shape[:2])) < 1:
            width, height = (max(1, round(factor * side)) for side in part.shape[1::-1])
            scales = np.array([width / part.shape[1], height / part.shape[0], factor])
            part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
            half = np.array([0.5, 0.5, 0])  # (0, 0) is the centre of the first pixel
            vertices = (vertices + half) * scales - half
        return vertex_colours(FaceMesh(vertices, mesh.triangles), part, self.aligner.model)


@dataclass
class _Seen:
    """A detector that has looked already."""

    faces: list[Detection]
    name: str = "seen"

    def __call__(self, image: np.ndarray) -> list[Detection]:
        return self.faces


def _box(text: str) -> np.ndarray:
    try:
        return check_box(np.array([float(part) for part in text.split(",")]), "box")
    except PifaError as error:
        raise Refusal(422, str(error)) from error


def _base64(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode("ascii")
