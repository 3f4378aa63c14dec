"""A real photograph, aligned with the checkpoint that ships with the project: the end of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pifa_data.detection import input_box, open_detector
from pifa_data.drawing import draw_box, draw_landmarks, draw_mesh
from pifa_data.errors import PifaError
from pifa_data.images import read_image
from pifa_model import Aligner, Alignment
from pipelines.checkpoints import load_aligner
from zoo.registry import BUNDLED

PRETRAINED = "pifa68-small"


@dataclass(frozen=True)
class AlignedPhoto:
    """A photograph and the face in it.

    Attributes:
        file: where it lies.
        image: ``(H, W, 3)`` uint8 RGB.
        face: in its pixels.
        aligner: what aligned it.
    """

    file: Path
    image: np.ndarray
    face: Alignment
    aligner: Aligner

    def overlay(self) -> np.ndarray:
        """The photograph with box and landmarks."""
        boxed = draw_box(self.image, self.face.box)
        return draw_landmarks(boxed, self.face.landmarks, self.face.visibility, len(self.image) / 250)

    def mesh(self) -> np.ndarray:
        """The photograph with the 3D face over it."""
        mesh = self.aligner.mesh(self.face)
        return draw_mesh(self.image, mesh.vertices[:, :2], mesh.vertices[:, 2], mesh.triangles, opacity=0.7)


def align_photo() -> AlignedPhoto:
    """The photograph of Rear Admiral Grace Hopper (US Navy, public domain) that ships with Matplotlib.

    Raises:
        PifaError: this Matplotlib has no such file, or no face is found.
        ZooError: the project's own checkpoint is damaged.
    """
    from matplotlib import get_data_path  # slow to import

    file = Path(get_data_path()) / "sample_data" / "grace_hopper.jpg"
    image = read_image(file)
    faces = open_detector("haar")(image)
    if not faces:
        raise PifaError(f"{file}: the detector finds no face")
    aligner, _ = load_aligner(PRETRAINED, registry=str(BUNDLED), device="cpu")
    [face] = aligner(image, [input_box(faces[0], aligner.header.boxes)])
    return AlignedPhoto(file, image, face, aligner)
