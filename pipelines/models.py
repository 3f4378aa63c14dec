"""``pifa morphable``: import, list, look at morphable models."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pifa_data.camera import camera, project, rotation
from pifa_data.drawing import draw_landmarks, draw_mesh, label_tile, write_png
from pifa_data.errors import MorphableError
from pifa_data.morphable import IMPORTERS, MorphableModel
from pipelines.sources import find_model, model_folder


def run_import(form: str, path: Path, out: Path, *, overwrite: bool = False) -> MorphableModel:
    """Import a model's original into ``out``, and keep a copy where checkpoints find it by fingerprint.

    Raises:
        MorphableError: not such a file, or ``out`` exists.
    """
    if out.exists() and not overwrite:
        raise MorphableError(f"{out}: exists already; give --overwrite to replace it")
    model = IMPORTERS[form](path)
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save(out)
    keep_model(model)
    return model


def keep_model(model: MorphableModel) -> None:
    """Keep a model by its name; another one of that name stays too, named by its fingerprint, for its checkpoints."""
    folder = model_folder()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{model.name}.safetensors"
    if kept.is_file():
        with contextlib.suppress(MorphableError):  # a damaged one is of no use to anybody
            before = MorphableModel.load(kept)
            if before.fingerprint != model.fingerprint:
                kept.replace(folder / f"{before.name}-{before.fingerprint[:12]}.safetensors")
    model.save(kept)


def model_info(model: MorphableModel) -> dict[str, Any]:
    """What a person or script wants to know of a model."""
    return {
        "name": model.name,
        "fingerprint": model.fingerprint,
        "vertices": len(model.mean),
        "triangles": len(model.triangles),
        "identity_modes": len(model.identity),
        "expression_modes": len(model.expression),
        "schemes": sorted(model.landmarks),
        "schemes_with_contour": sorted(model.contours),
        "units": model.units,
        "licence": model.licence,
        "source": model.source,
    }


def list_models() -> list[MorphableModel]:
    """The imported models."""
    return [MorphableModel.load(path) for path in sorted(model_folder().glob("*.safetensors"))]


def run_render(
    name: str, out: Path, *, yaw: float = 0.0, landmarks: bool = False, coefficients: tuple[float, ...] = ()
) -> None:
    """Draw the shaded model from a yaw in degrees, with its landmarks numbered.

    Raises:
        MorphableError: no such model, or more coefficients than it has.
    """
    model = find_model(name)
    if len(coefficients) > model.n_coefficients:
        raise MorphableError(f"{name}: expected at most {model.n_coefficients} coefficients, found {len(coefficients)}")
    p = np.zeros(model.n_coefficients)
    p[: len(coefficients)] = coefficients
    vertices = model.vertices(p)
    size = 720
    turn = rotation(np.radians(yaw), 0.0, 0.0)
    extent = np.ptp(vertices, axis=0).max()
    scale = 0.9 * size / extent
    middle = (vertices.min(0) + vertices.max(0)) / 2
    view = camera(np.array(scale), turn, np.zeros(2))
    view[:, 3] = size / 2 - view[:, :3] @ middle
    points = project(vertices, view)
    picture = draw_mesh(
        np.full((size, size, 3), 24, np.uint8), points, -scale * vertices @ turn[2], model.triangles, 1.0
    )
    if landmarks:
        for scheme_vertices in model.landmarks.values():
            at = points[scheme_vertices]
            picture = draw_landmarks(picture, at, np.zeros(len(at), bool), 2.5)
            for number, (x, y) in enumerate(at):
                cv2.putText(
                    picture,
                    str(number),
                    (int(x) + 3, int(y) - 3),
                    cv2.FONT_HERSHEY_SIMPLEX,
                    0.32,
                    (0, 90, 255),
                    1,
                    cv2.LINE_AA,
                )
    picture = label_tile(picture, f"{model.name}, yaw {yaw:.0f}")
    write_png(out, picture)
