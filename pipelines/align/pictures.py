"""Files made beside the records: overlays, meshes, depth and normals, the maps of the network's blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pifa_data.drawing import draw_axes, draw_box, draw_landmarks, write_png
from pifa_data.images import crop_image
from pifa_data.mesh import FaceMesh, depth_picture, normal_picture, obj_text, ply_bytes, vertex_colours
from pifa_data.photos import Photo
from pifa_model import Aligner, Alignment
from pipelines.align.formats import numbered
from pipelines.align.inputs import Item, files_for

DEPTH = ".depth.png"


@dataclass(frozen=True)
class PictureOptions:
    """Folders for what is wanted, None for what is not."""

    overlay: Path | None = None
    mesh: Path | None = None
    mesh_format: str = "obj"
    maps: Path | None = None

    @property
    def folders(self) -> dict[str, Path | None]:
        """By the options' names."""
        return {"overlay": self.overlay, "mesh": self.mesh, "maps": self.maps}

    def __bool__(self) -> bool:
        return any(self.folders.values())


class Pictures:
    """Writes the files of each image."""

    def __init__(self, options: PictureOptions, aligner: Aligner, items: Sequence[Item]) -> None:
        """Raises AnnotationError if a file would replace one of the images; CheckpointError without maps."""
        self._options, self._aligner = options, aligner
        self._overlays = self._files(options.overlay, items, ".png", "--overlay")
        self._meshes = self._files(options.mesh, items, f".{options.mesh_format}", "--mesh")
        self._mesh_names = set(self._meshes.values())
        images = [item for item in items if item.kind == "image"]
        self._maps = self._files(options.maps, images, DEPTH, "--maps")
        if options.maps:
            aligner.torch("visualization maps")

    def video(self, item: Item) -> Path | None:
        """The file of a video's overlay, if one is wanted."""
        return _folder(self._overlays[item.path]) if self._options.overlay else None

    def write(self, item: Item, photo: Photo, faces: Sequence[Alignment]) -> None:
        """Write what is wanted of one image.

        Args:
            item: the image.
            photo: its pixels.
            faces: in the pixels of ``photo``.

        Raises:
            OSError: no space or right.
        """
        if not faces:
            return
        if self._options.overlay:
            write_png(_folder(self._overlays[item.path]), draw_faces(photo.pixels, faces))
        meshes = [self._aligner.mesh(face) for face in faces] if self._options.mesh or self._options.maps else []
        if self._options.mesh:
            for number, mesh in enumerate(meshes):
                file = numbered(_folder(self._meshes[item.path]), number, ".", self._mesh_names)
                self._write_mesh(file, mesh, photo)
        if self._options.maps:
            self._write_maps(_folder(self._maps[item.path]), photo, faces, meshes)

    def _write_mesh(self, file: Path, mesh: FaceMesh, photo: Photo) -> None:
        colours = vertex_colours(mesh, photo.pixels, self._aligner.model)
        vertices = mesh.vertices * photo.factor + np.append(photo.shift, 0.0)
        whole = FaceMesh(vertices, mesh.triangles)
        if self._options.mesh_format == "obj":
            file.write_text(obj_text(whole, colours), encoding="ascii")
        elif self._options.mesh_format == "ply":
            file.write_bytes(ply_bytes(whole, colours))
        else:
            np.savez_compressed(
                file,
                vertices=vertices.astype(np.float32),
                triangles=mesh.triangles,
                colours=colours,
                allow_pickle=False,
            )

    def _write_maps(self, file: Path, photo: Photo, faces: Sequence[Alignment], meshes: Sequence[FaceMesh]) -> None:
        shape = photo.pixels.shape[:2]
        deep = [FaceMesh(mesh.vertices * (1, 1, photo.factor), mesh.triangles) for mesh in meshes]
        write_png(file, depth_picture(deep, shape))
        stem = file.name.removesuffix(DEPTH)
        write_png(file.with_name(f"{stem}.normals.png"), normal_picture(meshes, shape))
        for number, face in enumerate(faces):
            target = file.with_name(f"{stem}.{number}.blocks.png" if number else f"{stem}.blocks.png")
            write_png(target, self._strip(photo.pixels, face))

    def _strip(self, image: np.ndarray, face: Alignment) -> np.ndarray:
        """The crop that the network saw, and V of each block beside it, brought to its size."""
        square = self._aligner.square(face.box)
        tiles = [crop_image(image, square)]
        for v in self._aligner.maps(image, face.box):
            grey = np.round(255 * v / max(float(v.max()), 1e-6)).astype(np.uint8)
            tile = cv2.resize(grey, (square.size, square.size), interpolation=cv2.INTER_NEAREST)
            tiles.append(np.repeat(tile[..., None], 3, axis=2))
        return np.concatenate(tiles, axis=1)

    @staticmethod
    def _files(folder: Path | None, items: Sequence[Item], suffix: str, option: str) -> dict[Path, Path]:
        return files_for(folder, items, suffix, option) if folder is not None else {}


def draw_faces(image: np.ndarray, faces: Sequence[Alignment]) -> np.ndarray:
    """Boxes yellow, the head's axes, visible landmarks green, hidden ones red."""
    picture = image
    for face in faces:
        size = float(np.sqrt(np.prod(face.box[2:] - face.box[:2])))
        camera, middle = face.params[:8].reshape(2, 4), face.landmarks.mean(0)
        picture = draw_axes(draw_box(picture, face.box), camera, middle, size / 2)
        picture = draw_landmarks(picture, face.landmarks, face.visibility, max(1.2, size / 90))
    return picture


def _folder(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
