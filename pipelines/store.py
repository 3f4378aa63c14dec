"""``pifa store``: look into a store and check it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pifa_data.camera import decompose, project
from pifa_data.drawing import contact_sheet, draw_landmarks, draw_mesh, label_tile, write_png
from pifa_data.errors import StoreError
from pifa_data.store import Problem, Store
from pipelines.progress import progress

_TILE = 228


def store_info(path: str | Path) -> dict[str, Any]:
    """Counts, settings and origin of a store, finished or not."""
    store = Store(path, unfinished=True)
    attributes = store.attributes
    keys = ("tool", "schema_version", "complete", "digest", "sources", "scheme", "seed", "morphable", "config")
    info = {key: attributes.get(key) for key in keys}
    info["faces"] = attributes.get("faces")
    info["shards"] = store.layout.shards
    info["shards_finished"] = store.layout.shards - len(store.missing())
    info["skipped"] = [{"face": s.id, "reason": s.reason} for s in store.skipped()]
    info["fit_nme_mean"] = attributes.get("fit_nme_mean")
    return info


def verify_store(path: str | Path) -> list[Problem]:
    """Problems of a store; none if every array is what the manifest says."""
    store = Store(path, unfinished=True)
    with progress("checking", store.layout.shards, "shards") as advance:
        return list(store.verify(advance))


def draw_store(path: str | Path, out: Path, *, worst: int = 6, turned: int = 6, others: int = 12) -> None:
    """A contact sheet: each face's unjittered crop with its labels, and the fitted mesh over it.

    The rows show the worst fits, the most turned heads to either side, and faces in the store's own (random) order.

    Raises:
        StoreError: not a finished store, or no usable face in it.
    """
    store = Store(path)
    valid = np.flatnonzero(store.read("faces/valid"))
    if not len(valid):
        raise StoreError(f"{path}: no usable face in it")
    nme, pose = store.read("faces/fit_nme"), store.read("faces/pose")
    by_error = valid[np.argsort(-nme[valid])][:worst]
    by_yaw = valid[np.argsort(pose[valid, 0])]
    chosen = [*by_error, *by_yaw[: turned // 2], *by_yaw[-(turned - turned // 2) :], *valid[:others]]
    source, copy = store.read("source"), store.read("copy")
    tiles = []
    with progress("drawing", len(chosen), "faces") as advance:
        for face in chosen:
            row = int(np.flatnonzero((source == face) & (copy == 0))[0])
            tiles.append(_tile(store, row, f"{nme[face]:.1f}% yaw {np.degrees(pose[face, 0]):.0f}"))
            advance(1)
    write_png(out, contact_sheet(tiles, 4))


def _tile(store: Store, row: int, text: str) -> np.ndarray:
    """Crop with labels beside crop with the fitted mesh, enlarged."""
    size = store.layout.size
    factor = _TILE / size

    def enlarge(points: np.ndarray) -> np.ndarray:
        return (points + 0.5) * factor - 0.5

    image = cv2.resize(np.asarray(store.array("images")[row]), (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
    params = np.asarray(store.array("params")[row], dtype=np.float64)
    landmarks = enlarge(np.asarray(store.array("landmarks")[row], dtype=np.float64))
    labelled = np.asarray(store.array("visibility")[row]) > 0
    view = params[:8].reshape(2, 4)
    vertices = store.model.vertices(params[8:])
    scale, turn, _ = decompose(view)
    depth = -float(scale) * factor * vertices @ turn[2]
    mesh = draw_mesh(image, enlarge(project(vertices, view)), depth, store.model.triangles)
    points = draw_landmarks(image, landmarks[labelled], np.ones(int(labelled.sum()), bool))
    return np.concatenate([label_tile(points, text), mesh], axis=1)
