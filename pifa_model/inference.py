"""Aligning images with a trained checkpoint.

from pifa_model import Aligner
aligner = Aligner.load("RUN")          # a run's folder, a checkpoint's file, or an exported .onnx
faces = aligner(image)                 # (H, W, 3) uint8 RGB; or aligner(image, boxes) where the faces are known
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pifa_data.boxes import Square, check_box, square_of
from pifa_data.camera import pose_angles, uncrop_camera
from pifa_data.detection import Detector, input_box, open_detector, same_face
from pifa_data.errors import CheckpointError, ImageError
from pifa_data.images import crop_image
from pifa_data.mesh import FaceMesh, face_mesh
from pifa_data.morphable import MorphableModel, load_builtin
from pifa_model.calibration import scores
from pifa_model.checkpoint import load_checkpoint, read_header
from pifa_model.engine import Engine, TorchEngine, check_pixels
from pifa_model.results import Alignment, CropResult

Boxes = np.ndarray | Sequence[Sequence[float]] | Sequence[np.ndarray]

BATCH = 32
"""Crops computed at once. More are no faster on a CPU, and take memory."""

MIN_SCORE = 0.2
"""Detected faces whose calibrated score is lower are false alarms: 89 % of what is no face (docs/detection.md)."""


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

        def find(fingerprint: str) -> MorphableModel:
            beside = file.parent / "morphable.safetensors"
            if morphable is not None or beside.is_file():
                return MorphableModel.load(Path(morphable or beside))
            if (model := load_builtin()).fingerprint == fingerprint:
                return model
            raise CheckpointError(f"{file}: its morphable model is not beside it ({beside}); name it with `morphable`")

        if file.suffix == ".onnx":
            from pifa_model.onnx_engine import OnnxEngine

            return cls(OnnxEngine(file, find))
        model = find(read_header(file).morphable.fingerprint)
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
            return self.find([image], _detector(), kind)[0]
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
        names = _checked(images)
        if len(boxes) != len(images):
            raise ImageError(f"expected boxes of each of {len(images)} images, found those of {len(boxes)}")
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

    @property
    def least_score(self) -> float:
        """The score below which what was detected is no face: only a calibrated score can tell."""
        return MIN_SCORE if self.header.calibration else 0.0

    def find(
        self,
        images: Sequence[np.ndarray],
        detector: Detector,
        kind: str | None = None,
        size: int = BATCH,
        min_score: float | None = None,
    ) -> list[list[Alignment]]:
        """Detect and align the faces of images.

        Each is aligned twice, the second time from its own landmarks' box. Left out is what scores below ``min_score``
        (``least_score``), and of several that became one face all but the surest.

        Raises:
            PifaError: as of one image.
        """
        _checked(images)
        least = self.least_score if min_score is None else min_score
        boxes = [[input_box(face, self.header.boxes) for face in detector(image)] for image in images]
        first = self.batch(images, boxes, kind, size)
        second = self.batch(images, [[self.next_box(face) for face in faces] for faces in first], kind, size)
        return [without_doubles([face for face in faces if face.score >= least]) for faces in second]

    def square(self, box: np.ndarray) -> Square:
        """The crop that the network is given for a box."""
        return square_of(box, self.header.grow, self.header.input_size)

    def next_box(self, face: Alignment) -> np.ndarray:
        """The box around a face's landmarks: where to align it again, or in the next picture of a video.

        Of a network that was trained with a detector's boxes it is the box that was given.
        """
        if self.header.boxes == "detector":
            return face.box
        return face.tight

    def align_crops(self, crops: np.ndarray, kinds: Sequence[str] | None = None) -> CropResult:
        """Align ``(N, S, S, 3)`` uint8 RGB crops; see ``Engine``."""
        return self.engine.align_crops(crops, kinds)

    def align_cut(
        self, crops: np.ndarray, boxes: Sequence[np.ndarray], squares: Sequence[Square], kind: str | None = None
    ) -> list[Alignment]:
        """Align ``(N, S, S, 3)`` crops that were cut by ``square`` of ``boxes``; faces in the image's pixels."""
        result = self.engine.align_crops(crops, [kind] * len(crops) if kind else None)
        told = zip(self.scores(result), boxes, squares, strict=True)
        return [self._alignment(result, i, float(score), box, square) for i, (score, box, square) in enumerate(told)]

    def scores(self, result: CropResult) -> np.ndarray:
        """How sure each alignment is, ``(N,)`` 0 to 1; see ``Alignment``."""
        return scores(self.header.calibration, result, 100 * self.header.grow / self.header.input_size)

    def mesh(self, face: Alignment) -> FaceMesh:
        """The dense 3D face of an alignment, in the image's pixels."""
        return face_mesh(self.model, face.params)

    def maps(self, image: np.ndarray, box: np.ndarray) -> list[np.ndarray]:
        """V that each block was given for a face (equation 9): a list of ``(s, s)`` float32, on the crop of the box.

        Raises:
            CheckpointError: the runtime does not give them.
        """
        return self.torch("visualization maps").maps(crop_image(image, self.square(box)))

    def _alignment(self, result: CropResult, i: int, score: float, box: np.ndarray, square: Square) -> Alignment:
        params = result.params[-1, i].astype(np.float64)
        camera = uncrop_camera(params[:8].reshape(2, 4), square)
        return Alignment(
            box=box,
            landmarks=square.to_image(result.landmarks[-1, i].astype(np.float64)),
            visibility=result.visibility[i],
            pose=pose_angles(camera),
            params=np.concatenate([camera.ravel(), params[8:]]),
            score=score,
        )


def without_doubles(faces: Sequence[Alignment]) -> list[Alignment]:
    """Faces in their order, without those whose landmarks lie where those of a surer one do."""
    boxes = [face.tight for face in faces]
    kept: list[int] = []
    for i in sorted(range(len(faces)), key=lambda i: -faces[i].score):
        if not any(same_face(boxes[i], boxes[other]) for other in kept):
            kept.append(i)
    return [faces[i] for i in sorted(kept)]


@functools.cache
def _detector() -> Detector:
    return open_detector("haar")


def _checked(images: Sequence[np.ndarray]) -> list[str]:
    """Names of images for errors; raises ``ImageError`` where one is none."""
    names = [f"image {i}" for i in range(len(images))] if len(images) > 1 else ["image"]
    for name, image in zip(names, images, strict=True):
        check_pixels(image, name, ("H", "W", 3))
        if not image.size:
            raise ImageError(f"{name}: has no pixels")
    return names


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
