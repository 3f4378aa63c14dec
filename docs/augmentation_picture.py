"""Draw crops as augmentation changes them, each with its landmarks; a row a setting, the last row all of them.

    python docs/augmentation_picture.py docs/images/augmentation.png [STORE]

Without a store the faces are the builtin model's, drawn into larger pictures as in the layout ``faces``. Of those of a
store nothing may be shown to others that its data set does not allow.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import cv2
import numpy as np
import torch

from pifa_data.camera import camera, project, rotation
from pifa_data.crop_rows import crop_windows
from pifa_data.drawing import draw_landmarks, draw_mesh, label_tile
from pifa_data.fitting import landmarks_of
from pifa_data.morphable import load_builtin
from pifa_data.store import Store
from pifa_data.store.layout import LARGE
from pifa_model.augmentation import augment, draw
from pifa_model.batches import to_device
from pifa_model.config import load_config
from pifa_model.rows import Batch
from pifa_model.store_rows import StoreRows

SIZE, ENLARGED, COLUMNS = 114, 2, 4
ON = ("training.brightness=0.2", "training.contrast=0.3")
OFF = ("training.brightness=0.0", "training.contrast=0.0")
SETTINGS: dict[str, tuple[str, ...]] = {
    "as stored": (),
    "rotation 30": ("augmentation.rotation=30",),
    "scale 0.25": ("augmentation.scale=0.25",),
    "shift 0.1": ("augmentation.shift=0.1",),
    "colour": (
        "training.brightness=0.2",
        "training.contrast=0.3",
        "augmentation.saturation=0.5",
        "augmentation.tint=0.2",
    ),
    "blur": ("augmentation.blur=1.0",),
    "occlusion": ("augmentation.occlusion=1.0",),
}


def rendered() -> Batch:
    """The builtin model at several poses, coloured."""
    model, large = load_builtin(), 2 * round(SIZE * LARGE / 2)
    p, pictures, params, landmarks = np.zeros(model.n_coefficients), [], [], []
    background = np.full((large, large, 3), (58, 70, 84), np.uint8)
    for degrees in np.linspace(-60, 60, COLUMNS):
        turn = rotation(np.radians(degrees), 0.0, 0.0)
        scale = SIZE / 190.0  # 190 mm fill a crop
        view = camera(np.array(scale), turn, np.full(2, (large - 1) / 2))
        view[:, 3] -= view[:, :3] @ model.mean[model.landmarks["ibug68"]].mean(0)
        vertices = model.vertices(p)
        picture = draw_mesh(background, project(vertices, view), -scale * vertices @ turn[2], model.triangles, 1.0)
        skin = (picture != background).any(2, keepdims=True)
        pictures.append(np.where(skin, picture * [1.0, 0.8, 0.66], picture).astype(np.uint8))
        view[:, 3] -= (large - SIZE) / 2
        params.append(np.r_[view.ravel(), p])
        landmarks.append(landmarks_of(model, "ibug68", params[-1][None], "2d")[0])
    box = np.tile([0.0, 0.0, 1.0, 1.0], (COLUMNS, 1))
    return Batch(
        images=np.stack(pictures),
        windows=crop_windows(box, np.zeros(COLUMNS, bool), box, 1.0, large / SIZE),
        params=np.array(params, np.float32),
        landmarks=np.array(landmarks, np.float32),
        visibility=np.full((COLUMNS, 68), 2, np.uint8),
        marching=np.ones(COLUMNS, bool),
        rows=np.arange(COLUMNS),
    )


def from_store(where: str) -> Batch:
    """Crops of as many faces, as they were photographed."""
    data = StoreRows(Store(where))
    rows = data.as_photographed(data.rows_of(np.ones(len(data.subjects), bool)))
    rows = rows[np.unique(data.source[rows], return_index=True)[1]][:COLUMNS]
    return data.batch(rows, data.read_pictures(rows), np.zeros(len(rows), bool))


def main() -> None:
    out, *store = sys.argv[1:]
    batch = from_store(store[0]) if store else rendered()
    batch = replace(batch, draws=draw(np.random.default_rng(4), len(batch.rows)))
    every = tuple(setting for settings in SETTINGS.values() for setting in settings)
    rows = []
    for name, settings in {**SETTINGS, "all": every}.items():
        config = load_config("compact", OFF + settings)
        tensors = augment(to_device(batch, torch.device("cpu")), config, SIZE)
        images = tensors["images"].round().byte().permute(0, 2, 3, 1).numpy()
        tiles = []
        for image, points, seen in zip(
            images, tensors["landmarks"].numpy(), tensors["visibility"].numpy(), strict=True
        ):
            large = image.repeat(ENLARGED, 0).repeat(ENLARGED, 1)
            tiles.append(draw_landmarks(large, (points + 0.5) * ENLARGED - 0.5, seen == 2, 1.0))
        rows.append(np.concatenate([label_tile(tiles[0], name), *tiles[1:]], axis=1))
    if not cv2.imwrite(out, np.concatenate(rows)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        sys.exit(f"{out}: can't be written")


if __name__ == "__main__":
    main()
