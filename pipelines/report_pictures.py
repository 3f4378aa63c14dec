"""The faces on a report's page: what a network does block by block (the paper's figure 10), the best and the worst."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from pifa_data.boxes import Square
from pifa_model.results import CropResult
from pipelines.evaluate import Evaluation
from pipelines.fit_tiles import Drawing, draw_fit
from pipelines.pages import picture_address
from pipelines.store_crops import enlarge

TILE = 228
"""Pixels of a drawn face, and units of the drawings over it."""


@dataclass(frozen=True)
class Step:
    """One column of a strip: the face after a block.

    Attributes:
        title: ``P⁰`` or the block's number.
        nme: of this crop, percent, or None.
        visible, hidden: landmarks as the ``d`` of an SVG path of dots, units of the strip's photo.
        map: V of this P, as the next block is given it; of the last P as one more block would be.
    """

    title: str
    nme: float | None
    visible: str
    hidden: str
    map: str


@dataclass(frozen=True)
class Strip:
    """One face block by block; ``labels`` are dots, ``photo`` and ``mesh`` addresses of pictures."""

    photo: str
    mesh: str
    labels: str
    covered: str
    steps: list[Step]


@dataclass(frozen=True)
class Tile:
    """One face as it was aligned in the end, and its labels."""

    face: str
    nme: float
    yaw: float | None
    drawing: Drawing


def choose(evaluation: Evaluation, few: bool) -> list[tuple[str, int]]:
    """Which crops are shown block by block, and by what rule; of those that a rule finds equal, the first."""
    errors, yaw = evaluation.measurement.errors[-1], np.degrees(evaluation.measurement.truth.yaw)
    known = np.flatnonzero(np.isfinite(errors))
    by_error = known[np.argsort(errors[known], kind="stable")]
    rules = [("median error", int(by_error[len(by_error) // 2]))]
    for side, sign in (("left", 1), ("right", -1)):  # yaw > 0: the nose points to the image's left
        turned = known[sign * yaw[known] > 0]
        if len(turned):
            rules.append((f"turned most to the image's {side}", int(turned[np.argmax(sign * yaw[turned])])))
    rules.append(("largest error", int(by_error[-1])))
    if few:
        rules = [rules[0], rules[-1]]
    chosen: dict[int, str] = {}
    for title, at in rules:
        chosen[at] = f"{chosen[at]} and {title}" if at in chosen else title
    return [(title, at) for at, title in chosen.items()]


@torch.inference_mode()
def draw_strip(evaluation: Evaluation, at: int) -> Strip:
    """Draw one crop with the landmarks after each block and the map V of each P.

    Raises:
        PifaError: the image can't be read any more.
    """
    aligner, kind, truth = evaluation.aligner, evaluation.collected.kinds[at], evaluation.measurement.truth
    crop, result = _align(evaluation, at)
    square = _whole(crop)
    engine = aligner.torch("visualization maps")
    marching = torch.tensor([kind == "2d"], device=engine.device)
    steps = []
    for stage, params in enumerate(torch.from_numpy(result.params).to(engine.device)):
        seen = engine.landmarks.visibility(params, marching)[0].cpu().numpy()
        points = square.to_crop(result.landmarks[stage, 0].astype(np.float64))
        nme = float(evaluation.measurement.errors[stage, at])
        steps.append(
            Step(
                title=f"block {stage}" if stage else "P⁰",
                nme=nme if np.isfinite(nme) else None,
                visible=_dots(points[seen]),
                hidden=_dots(points[~seen]),
                map=picture_address(_grey(engine.network.draw(params, min(stage, 1))[0, 0].cpu().numpy())),
            )
        )
    labels = square.to_crop(evaluation.collected.squares[at].to_crop(truth.landmarks[at]))
    return Strip(
        photo=picture_address(crop),
        mesh=_fit(evaluation, at, crop, result).mesh,
        labels=_dots(labels[truth.visibility[at] == 2]),
        covered=_dots(labels[truth.visibility[at] == 1]),
        steps=steps,
    )


def draw_ends(evaluation: Evaluation, count: int) -> list[tuple[str, list[Tile]]]:
    """The crops of the largest and of the smallest errors, so many of each, labels and result drawn.

    Raises:
        PifaError: an image can't be read any more.
    """
    errors = evaluation.measurement.errors[-1]
    order = [int(i) for i in np.argsort(errors, kind="stable") if np.isfinite(errors[i])]
    count = min(count, max(1, len(order) // 2))
    return [
        ("Largest errors", [_tile(evaluation, at) for at in order[::-1][:count]]),
        ("Smallest errors", [_tile(evaluation, at) for at in order[:count]]),
    ]


def _tile(evaluation: Evaluation, at: int) -> Tile:
    yaw = float(np.degrees(evaluation.measurement.truth.yaw[at]))
    return Tile(
        face=evaluation.collected.ids[at],
        nme=float(evaluation.measurement.errors[-1, at]),
        yaw=yaw if np.isfinite(yaw) else None,
        drawing=_fit(evaluation, at, *_align(evaluation, at)),
    )


def _align(evaluation: Evaluation, at: int) -> tuple[np.ndarray, CropResult]:
    """The crop again, ``(S, S, 3)``, and what the network gives for it alone."""
    out = evaluation.collected
    crop = out.cut[at]()
    return crop, evaluation.aligner.align_crops(crop[None], [out.kinds[at]])


def _fit(evaluation: Evaluation, at: int, crop: np.ndarray, result: CropResult) -> Drawing:
    aligner, truth = evaluation.aligner, evaluation.measurement.truth
    labels = evaluation.collected.squares[at].to_crop(truth.landmarks[at])
    found = result.landmarks[-1, 0].astype(np.float64)
    return draw_fit(
        *(_whole(crop), enlarge(crop, TILE), labels, truth.visibility[at], found, result.params[-1, 0]),
        *(aligner.model, aligner.scheme),
    )


def _whole(crop: np.ndarray) -> Square:
    """All of a crop, drawn ``TILE`` pixels wide."""
    side = len(crop)
    return Square(x=(side - 1) / 2, y=(side - 1) / 2, side=side, size=TILE)


def _dots(points: np.ndarray) -> str:
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in np.clip(points, -2 * TILE, 3 * TILE))


def _grey(drawn: np.ndarray) -> np.ndarray:
    """V as a picture: 0 is grey, the middle of the face light, its outline dark; the mask's values lie within ±1.5."""
    grey = np.clip((drawn + 1.2) * 85, 0, 255).astype(np.uint8)
    large = cv2.resize(grey, (TILE // 2, TILE // 2), interpolation=cv2.INTER_CUBIC)
    return np.repeat(large[..., None], 3, axis=2)
