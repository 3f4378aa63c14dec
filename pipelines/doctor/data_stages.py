"""Stages without PyTorch: decode, crop, fit, store, detect. All on a rendered face of the built-in model."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from pifa_data.boxes import face_rng, jitter_box, square_of, tight_box
from pifa_data.build import PrepConfig
from pifa_data.camera import camera, project, rotation
from pifa_data.detection import open_detector
from pifa_data.drawing import draw_mesh
from pifa_data.fitting import LandmarkFitter, landmarks_of
from pifa_data.images import CropSource, decode_image
from pifa_data.morphable import load_builtin
from pifa_data.store import CHUNK, TEXTS, Layout, Store, create_store, write_shard
from pipelines.doctor.timing import Stage, Work

SCHEME: Final = "ibug68"
KIND: Final = "2d"
WIDTH, HEIGHT = 640, 480
FITTED = 64
"""Faces of one fit."""
COPIES = 4
"""Crops a face of the store."""


class Subject:
    """A picture of the mean face and what is known of it; every part is made when it is first asked for.

    Attributes:
        folder: an empty one, for a store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = load_builtin()

    @cached_property
    def params(self) -> np.ndarray:
        """P of the face in the picture: ``(1, 8 + K)``."""
        points = self.model.mean[self.model.landmarks[SCHEME]]
        scale = 0.5 * HEIGHT / np.ptp(points[:, 1])
        view = camera(np.array(scale), rotation(0.1, 0.0, 0.0), np.zeros(2))
        view[:, 3] = np.array([WIDTH, HEIGHT]) / 2 - view[:, :3] @ points.mean(0)
        return np.concatenate([view.ravel(), np.zeros(self.model.n_coefficients)])[None]

    @cached_property
    def picture(self) -> np.ndarray:
        """``(480, 640, 3)`` uint8 RGB, with a photograph's fine structure: smooth grey would compress to nothing."""
        rng = np.random.default_rng(0)
        coarse = rng.integers(40, 200, (HEIGHT // 40, WIDTH // 40, 3), dtype=np.uint8)
        ground = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        view = self.params[0, :8].reshape(2, 4)
        away = np.cross(view[0, :3], view[1, :3])
        depth = self.model.mean @ (away / np.linalg.norm(view[0, :3]))
        drawn = draw_mesh(ground, project(self.model.mean, view), depth, self.model.triangles, 1.0)
        return np.clip(drawn + rng.normal(0, 4, drawn.shape), 0, 255).astype(np.uint8)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """``(68, 2)`` pixels of the picture."""
        return landmarks_of(self.model, SCHEME, self.params, KIND)[0]

    @cached_property
    def box(self) -> np.ndarray:
        """``(4,)`` tight box."""
        return tight_box(self.landmarks, np.full(len(self.landmarks), 2, np.uint8))

    def decode(self) -> Work:
        """JPEG of quality 92, as a camera's is."""
        bgr = cv2.cvtColor(self.picture, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        return lambda: decode_image(data, "rendered face")

    def crop(self) -> Work:
        """The jittered crops of one face, as `pifa prep` cuts them."""
        config, picture, box = PrepConfig(), self.picture, self.box
        boxes = [jitter_box(box, face_rng(0, "face", copy)) for copy in range(config.copies)]
        squares = [square_of(one, config.grow, config.size) for one in boxes]

        def work() -> None:
            source = CropSource(picture, squares[0])
            for square in squares:
                source.crop(square)

        return work

    def fit(self) -> Work:
        """Faces of all poses, their labels off by what people's are."""
        rng = np.random.default_rng(1)
        fitter = LandmarkFitter(self.model, SCHEME)
        yaw, pitch = rng.uniform(-1.2, 1.2, FITTED), rng.uniform(-0.3, 0.3, FITTED)
        views = camera(np.full(FITTED, 1.0), rotation(yaw, pitch, np.zeros(FITTED)), np.full((FITTED, 2), 100.0))
        coefficients = 0.7 * rng.standard_normal((FITTED, self.model.n_coefficients))
        params = np.concatenate([views.reshape(FITTED, 8), coefficients], axis=1)
        labels = landmarks_of(self.model, SCHEME, params, KIND)
        labels += rng.normal(0, float(fitter.sigma), labels.shape)
        visibility = np.full(labels.shape[:2], 2, np.uint8)
        return lambda: fitter.fit(labels, visibility, KIND)

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """A shard of the store: crops that differ, other columns of zeros."""
        layout = self.layout
        arrays = {
            name: np.zeros((layout.shard_rows(name), *column.shape), column.dtype)
            for name, column in layout.columns().items()
        }
        source = CropSource(self.picture, square_of(self.box, PrepConfig().grow, layout.size))
        for row in range(len(arrays["images"])):
            box = jitter_box(self.box, face_rng(0, "face", row))
            arrays["images"][row] = source.crop(square_of(box, PrepConfig().grow, layout.size))
        return arrays

    @property
    def layout(self) -> Layout:
        """Of a store of one shard."""
        config = PrepConfig(scheme=SCHEME, copies=COPIES, shard_faces=CHUNK)
        return config.layout_of(CHUNK, 8 + self.model.n_coefficients, dict.fromkeys(TEXTS, 16))

    @cached_property
    def store(self) -> Path:
        """A store without a shard yet."""
        create_store(self.folder / "S.zarr", self.layout, {"plan": "doctor"}, self.model)
        return self.folder / "S.zarr"

    def write(self) -> Work:
        """A shard, over and over."""
        store, layout, rows = self.store, self.layout, self.rows
        return lambda: write_shard(store, layout, 0, rows, {}, "doctor")

    def read(self) -> Work:
        """What training reads of the shard, from the system's own cache."""
        self.write()()

        def work() -> None:
            store = Store(self.store, unfinished=True)
            for name in ("images", "params", "landmarks", "visibility"):
                store.read(name)

        return work

    def detect(self) -> Work:
        """The built-in detector on the whole picture."""
        detector, picture = open_detector("haar"), self.picture
        return lambda: detector(picture)


def data_stages(subject: Subject) -> list[Stage]:
    """The stages, in the order of the work."""
    crops = CHUNK * COPIES
    return [
        Stage("decode a JPEG of 640x480", "cpu", 1, "images", subject.decode),
        Stage("detect faces, Haar, 640x480", "cpu", 1, "images", subject.detect),
        Stage("fit to 68 landmarks", "cpu", FITTED, "faces", subject.fit),
        Stage("crop, 20 a face", "cpu", PrepConfig().copies, "crops", subject.crop),
        Stage("store, write", "cpu", crops, "crops", subject.write),
        Stage("store, read", "cpu", crops, "crops", subject.read),
    ]
