"""Aligning images with a trained checkpoint.

from pifa_model import Aligner
aligner = Aligner.load("RUN")          # a run's folder, a checkpoint's file, or an exported .onnx
faces = aligner(image)                 # (H, W, 3) uint8 RGB; or aligner(image, boxes) where the faces are known
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pifa_data.boxes import Square, check_box, square_of, tight_box
from pifa_data.camera import pose_angles, uncrop_camera
from pifa_data.detection import Detector, input_box, open_detector
from pifa_data.errors import CheckpointError
from pifa_data.images import crop_image
from pifa_data.mesh import FaceMesh, face_mesh
from pifa_data.morphable import MorphableModel, load_builtin
from pifa_model.checkpoint import load_checkpoint, read_header
from pifa_model.engine import Engine, TorchEngine, check_pixels
from pifa_model.results import Alignment, CropResult

Boxes = np.ndarray | Sequence[Sequence[float]] | Sequence[np.ndarray]

BATCH = 32
"""Crops computed at once. More are no faster on a CPU, and take memory."""

FAILURE = 8.0
"""Percent of √(w·h) of the box: the expected error at which the score is 0."""


class Aligner:
    """A checkpoint ready to align faces. Keeps no state between calls, so threads may share one."""

    def __init__(self, engine: Engine) -> None:
        """An aligner of an engine; ``load`` makes one of a file."""
        self.engine = engine
        self.header, self.model, self.scheme = engine.header, engine.model, engine.scheme

    @classmethod
    def load(
        cls, path: str | Path, morphable: str | Path | None = None, device: str = "cpu", blocks: int | None = None
    ) -> Aligner:
        """Load a checkpoint, to stop after ``blocks`` blocks.

        Args:
            path: a run's folder (its best weights), a checkpoint's file, or an exported ``.onnx``. A checkpoint of the
                zoo is loaded by ``Aligner.load(zoo.fetch(NAME))``.
            morphable: its morphable model's file; by default the one beside it, or the built-in one.
            device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``: what PyTorch calls it.
            blocks: all by default.

        Raises:
            CheckpointError, MorphableError: see ``load_checkpoint``.
        """
        file = checkpoint_in(Path(path))
        fingerprint = read_header(file).morphable.fingerprint
        beside = file.parent / "morphable.safetensors"
        if morphable is not None or beside.is_file():
            model = MorphableModel.load(Path(morphable or beside))
        elif (model := load_builtin()).fingerprint != fingerprint:
            raise CheckpointError(f"{file}: its morphable model is not beside it ({beside}); name it with `morphable`")
        return cls(TorchEngine(load_checkpoint(file, model), device, blocks))

    def with_scheme(self, scheme: str) -> Aligner:
        """The same network giving the landmarks of another scheme, whose places on the head its model knows.

        Raises:
            MorphableError: the model has no vertices for that scheme.
            CheckpointError: the runtime gives those alone that it was exported with.
        """
        if scheme == self.scheme:
            return self
        return Aligner(self.torch(f"other landmarks than {self.scheme}").with_scheme(scheme))

    def torch(self, wanted: str) -> TorchEngine:
        """The network in PyTorch, for what it alone gives.

        Raises:
            CheckpointError: the runtime is another; the error says that it has not got what is ``wanted``.
        """
        if not isinstance(self.engine, TorchEngine):
            raise CheckpointError(f"an exported network gives no {wanted}; use the checkpoint with --runtime torch")
        return self.engine

    def __call__(self, image: np.ndarray, boxes: Boxes | None = None, kind: str | None = None) -> list[Alignment]:
        """Align the faces of one image.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            boxes: ``(N, 4)`` x0, y0, x1, y1 pixels, by the checkpoint's box convention (``header.boxes``); by default
                a detector finds them (``find``).
            kind: landmark kind, by default the one trained with.

        Raises:
            PifaError: a box without area; an image of another shape or type.
        """
        if boxes is None:
            return self.find([image], open_detector("haar"), kind)[0]
        return self.batch([image], [boxes], kind)[0]

    def batch(
        self, images: Sequence[np.ndarray], boxes: Sequence[Boxes], kind: str | None = None, size: int = BATCH
    ) -> list[list[Alignment]]:
        """Align the faces of many images, ``size`` crops at once.

        Args:
            images: each ``(H, W, 3)`` uint8 RGB, of any size.
            boxes: of each image, ``(N, 4)``.
            kind: landmark kind of all, by default the one trained with.
            size: crops computed at once; memory grows with it.

        Returns:
            For each image its faces, in the order of its boxes.

        Raises:
            PifaError: as of one image.
        """
        names = [f"image {i}" for i in range(len(images))] if len(images) > 1 else ["image"]
        for name, image in zip(names, images, strict=True):
            check_pixels(image, name, ("H", "W", 3))
        works = [
            (picture, check_box(np.asarray(box), f"{names[picture]}: box {i}"))
            for picture, of_one in enumerate(boxes)
            for i, box in enumerate(of_one)
        ]
        found: list[list[Alignment]] = [[] for _ in images]
        for start in range(0, len(works), size):
            part = works[start : start + size]
            squares = [self.square(box) for _, box in part]
            crops = [crop_image(images[picture], square) for (picture, _), square in zip(part, squares, strict=True)]
            faces = self.align_cut(np.stack(crops), [box for _, box in part], squares, kind)
            for (picture, _), face in zip(part, faces, strict=True):
                found[picture].append(face)
        return found

    def find(
        self, images: Sequence[np.ndarray], detector: Detector, kind: str | None = None, size: int = BATCH
    ) -> list[list[Alignment]]:
        """Detect and align the faces of images; each is aligned twice, the second time from its own landmarks' box."""
        boxes = [[input_box(face, self.header.boxes) for face in detector(image)] for image in images]
        first = self.batch(images, boxes, kind, size)
        return self.batch(images, [[self.next_box(face) for face in faces] for faces in first], kind, size)

    def square(self, box: np.ndarray) -> Square:
        """The crop that the network is given for a box."""
        return square_of(box, self.header.grow, self.header.input_size)

    def next_box(self, face: Alignment) -> np.ndarray:
        """The box around a face's landmarks: where to align it again, or in the next picture of a video.

        Of a network that was trained with a detector's boxes it is the box that was given.
        """
        if self.header.boxes == "detector":
            return face.box
        return tight_box(face.landmarks, np.ones(len(face.landmarks)))

    def align_crops(self, crops: np.ndarray, kinds: Sequence[str] | None = None) -> CropResult:
        """Align ``(N, S, S, 3)`` uint8 RGB crops; see ``Engine``."""
        return self.engine.align_crops(crops, kinds)

    def align_cut(
        self, crops: np.ndarray, boxes: Sequence[np.ndarray], squares: Sequence[Square], kind: str | None = None
    ) -> list[Alignment]:
        """Align ``(N, S, S, 3)`` crops that were cut by ``square`` of ``boxes``; faces in the image's pixels."""
        result = self.engine.align_crops(crops, [kind] * len(crops) if kind else None)
        return [
            self._alignment(result, i, box, square) for i, (box, square) in enumerate(zip(boxes, squares, strict=True))
        ]

    def mesh(self, face: Alignment) -> FaceMesh:
        """The dense 3D face of an alignment, in the image's pixels."""
        return face_mesh(self.model, face.params)

    def maps(self, image: np.ndarray, box: np.ndarray) -> list[np.ndarray]:
        """V that each block was given for a face (equation 9): a list of ``(s, s)`` float32, on the crop of the box.

        Raises:
            CheckpointError: the runtime does not give them.
        """
        return self.torch("visualization maps").maps(crop_image(image, self.square(box)))

    def _alignment(self, result: CropResult, i: int, box: np.ndarray, square: Square) -> Alignment:
        before, after = result.landmarks[-2, i], result.landmarks[-1, i]
        to_percent = 100 * self.header.grow / self.header.input_size
        moved = to_percent * np.linalg.norm(after - before, axis=1).mean()
        expected = to_percent * result.expected[i]
        score = 1 / (1 + moved) if np.isnan(expected) else max(0.0, 1 - expected / FAILURE)
        params = result.params[-1, i].astype(np.float64)
        camera = uncrop_camera(params[:8].reshape(2, 4), square)
        return Alignment(
            box=box,
            landmarks=square.to_image(after.astype(np.float64)),
            visibility=result.visibility[i],
            pose=pose_angles(camera),
            params=np.concatenate([camera.ravel(), params[8:]]),
            score=float(score),
        )


def checkpoint_in(path: Path) -> Path:
    """The weights' file of a run's folder; a file is given back.

    Raises:
        CheckpointError: neither.
    """
    if not path.is_dir():
        return path
    for name in ("best.safetensors", "last.safetensors", "weights.safetensors"):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path}: a folder, but no run: no best.safetensors or last.safetensors in it")
