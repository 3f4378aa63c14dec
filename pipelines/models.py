"""``pifa morphable``: import, list, look at morphable models."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.camera import camera, project, rotation
from pifa_data.drawing import draw_lines, draw_mesh, draw_numbers, label_tile, mesh_depth, write_png
from pifa_data.errors import MorphableError
from pifa_data.morphable import BUILTIN, IMPORTERS, MorphableModel, load_builtin
from pifa_data.morphable.mapping import read_mapping
from pifa_data.morphable.points import contour_of, landmark_vertices
from pipelines.sources import find_model, model_folder


def run_import(
    form: str, paths: Sequence[Path], out: Path, *, landmarks: Path | None = None, overwrite: bool = False
) -> MorphableModel:
    """Import a model's originals into ``out``, and keep a copy where checkpoints find it by fingerprint.

    Args:
        landmarks: mapping file of the user's own, whose vertices replace the importer's.

    Raises:
        MorphableError: not such files, ``out`` exists, or it would be taken for the ``builtin`` model.
    """
    if out.name in (BUILTIN, f"{BUILTIN}.safetensors"):
        raise MorphableError(f"{out}: {BUILTIN} is the model that ships with the program; choose another name")
    if out.exists() and not overwrite:
        raise MorphableError(f"{out}: exists already; give --overwrite to replace it")
    model = IMPORTERS[form](paths, read_mapping(landmarks) if landmarks is not None else None)
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save(out)
    keep_model(model)
    return model


def keep_model(model: MorphableModel) -> None:
    """Keep a model by its name; another one of that name stays too, named by its fingerprint, for its checkpoints.

    Raises:
        MorphableError: its name is that of the ``builtin`` model.
    """
    if model.name == BUILTIN:
        raise MorphableError(f"{BUILTIN}: a model of this name ships with the program; give yours another name")
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
    """``builtin`` and the imported models; one that can't be read is warned of and left out."""
    models = [load_builtin()]
    for path in sorted(model_folder().glob("*.safetensors")):
        try:
            models.append(MorphableModel.load(path))
        except MorphableError as error:
            warnings.warn(str(error), stacklevel=2)
    return models


RENDER_SIZE = 1200
"""Side of a rendering, pixels: WFLW's 98 numbers can be read."""


def run_render(
    name: str,
    out: Path,
    *,
    yaw: float = 0.0,
    landmarks: bool = False,
    scheme: str = "ibug68",
    contours: bool = False,
    coefficients: tuple[float, ...] = (),
) -> None:
    """Draw the shaded model from a yaw in degrees, with the landmarks of one scheme numbered, hidden ones dimmed.

    Args:
        contours: draw the candidate lines of the scheme's contour landmarks too.

    Raises:
        MorphableError: no such model, more coefficients than it has, no landmarks of that scheme, or a yaw or
            coefficients that are no finite numbers or far too large.
    """
    model = find_model(name)
    if len(coefficients) > model.n_coefficients:
        raise MorphableError(f"{name}: expected at most {model.n_coefficients} coefficients, found {len(coefficients)}")
    chosen = landmark_vertices(model, scheme) if landmarks or contours else np.empty(0, np.int32)
    lines = contour_of(model, scheme) if contours else None
    if contours and lines is None:
        raise MorphableError(f"{name}: no contour lines for {scheme}; it has {', '.join(sorted(model.contours))}")
    p = np.zeros(model.n_coefficients)
    p[: len(coefficients)] = coefficients
    vertices = model.vertices(p)
    size = RENDER_SIZE
    turn = rotation(np.radians(yaw), 0.0, 0.0)
    middle = (vertices.min(0) + vertices.max(0)) / 2
    # The picture has the same scale from every side.
    scale = 0.92 * size / (2 * np.linalg.norm(vertices - middle, axis=1).max())
    view = camera(np.array(scale), turn, np.zeros(2))
    view[:, 3] = size / 2 - view[:, :3] @ middle
    points, depth = project(vertices, view), -scale * vertices @ turn[2]
    if not (np.isfinite(points).all() and np.isfinite(depth).all()):
        raise MorphableError(f"{name}: can't be drawn so; expected a yaw and coefficients of plausible size")
    picture = draw_mesh(np.full((size, size, 3), 24, np.uint8), points, depth, model.triangles, 1.0)
    if lines is not None:
        picture = draw_lines(picture, points[lines.vertices])
    if landmarks:
        picture = draw_numbers(picture, points[chosen], _hidden(points, depth, model, turn, chosen))
    text = f"{model.name}, yaw {yaw:.0f}" + (f", {scheme}" if landmarks or contours else "")
    write_png(out, label_tile(picture, text))


def _hidden(
    points: np.ndarray, depth: np.ndarray, model: MorphableModel, turn: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """Which vertices look away, or lie behind the surface that is seen at their pixel: ``(L,)`` bool."""
    nearest = mesh_depth(points, depth, model.triangles, (RENDER_SIZE, RENDER_SIZE))
    x, y = np.round(points[chosen]).astype(int).clip(0, RENDER_SIZE - 1).T
    behind = depth[chosen] > nearest[y, x] + 0.02 * RENDER_SIZE  # some 4 mm: neighbours on slanting skin
    return behind | (model.normals[chosen] @ turn[2] <= 0)
