"""The weights of a network for another morphable model: what it has learned of images stays of use.

A network knows its morphable model by P, and by the vertices at which the head ``sample`` reads the maps. Both models
are faces, so each P of the one means about the same face as some P' of the other:

- X ≈ s R X' + t, from the landmarks that both have, so M' = [s M₁₋₃ R, M₁₋₃ t + M₄];
- p' of least squares on the landmarks and on vertices of the front, each with the vertex nearest to it on the other
  mean face, with the prior that p' has: p' = T p + c.

P' = L P + (0, c) is linear, so the last layer of every block can put out ΔP' = L ΔP. A map's value at a vertex of the
old model is about that between the three nearest ones of the new, so the layer that reads them gets the weights of
those.

It is a beginning (``pifa train --init``), not as good as the network it is from: how much is lost, docs/training-log.md
tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from pifa_data.morphable import MorphableModel
from pifa_data.morphable.points import landmark_vertices
from pifa_model.checkpoint import Checkpoint
from pifa_model.masks import spread_vertices
from pifa_model.network import Network

SCHEME = "ibug68"
"""Landmarks that tell where two models are the same."""

VERTICES = 1500
"""Vertices of the front that shapes are compared at."""

TOLERANCE = 0.02
"""How far apart two models' same vertices may be expected to lie, as a share of the mean face's width."""

WEIGHT = 4.0
"""Weight of all landmarks, which are known pairs, against that of all nearest vertices."""


@dataclass(frozen=True)
class Similarity:
    """X = scale · turn · X' + shift, from the new model's units to the old one's.

    Attributes:
        scale: old units a new one.
        turn: ``(3, 3)`` rotation.
        shift: ``(3,)`` old model's units.
    """

    scale: float
    turn: np.ndarray
    shift: np.ndarray

    def forward(self, points: np.ndarray) -> np.ndarray:
        """New model's points ``(N, 3)`` in the old one's frame."""
        return self.scale * points @ self.turn.T + self.shift

    def back(self, vectors: np.ndarray) -> np.ndarray:
        """Differences ``(..., 3)`` of the old model's frame in the new one's."""
        return vectors @ self.turn / self.scale


def similarity(new: MorphableModel, old: MorphableModel) -> Similarity:
    """The least squares similarity of two mean faces' landmarks (Umeyama, PAMI 1991, equations 40 to 42).

    Raises:
        MorphableError: a model has not these landmarks.
    """
    x, y = new.mean[landmark_vertices(new, SCHEME)], old.mean[landmark_vertices(old, SCHEME)]
    x, y = x.astype(np.float64), y.astype(np.float64)
    a, b = x - x.mean(0), y - y.mean(0)
    u, d, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    turn = (u * sign) @ vt
    scale = float((d * sign).sum() / np.square(a).sum())
    return Similarity(scale, turn, y.mean(0) - scale * turn @ x.mean(0))


def params_map(new: MorphableModel, old: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """L ``(8 + K', 8 + K)`` and (0, c) ``(8 + K',)``: P' = L P + (0, c)."""
    alike = similarity(new, old)
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = alike.scale * alike.turn, alike.shift
    linear = np.zeros((8 + new.n_coefficients, 8 + old.n_coefficients))
    linear[:4, :4] = linear[4:8, 4:8] = turned.T  # a row m of M becomes m · turned
    front = (new.normals[:, 2] > 0).nonzero()[0]
    chosen = front[spread_vertices(new.mean[front], min(VERTICES, len(front)))]
    _, nearest = cKDTree(old.mean).query(alike.forward(new.mean[chosen]))
    at = np.concatenate([landmark_vertices(new, SCHEME), chosen])
    of = np.concatenate([landmark_vertices(old, SCHEME), nearest])
    points = len(at) - len(chosen)
    weight = np.concatenate([np.full(points, WEIGHT), np.full(len(chosen), points / len(chosen))])
    weight = np.repeat(weight, 3) / (TOLERANCE * np.ptp(new.mean[:, 0])) ** 2
    basis = new.modes[:, at].reshape(new.n_coefficients, -1).T.astype(np.float64)
    solve = np.linalg.solve((basis.T * weight) @ basis + np.eye(basis.shape[1]), basis.T * weight)
    wanted = alike.back(old.modes[:, of].astype(np.float64)).reshape(old.n_coefficients, -1).T
    apart = alike.back(old.mean[of] - alike.forward(new.mean[at]))
    apart[points:] = 0  # a nearest vertex tells nothing of how the mean faces differ along the surface
    linear[8:, 8:] = solve @ wanted
    constant = np.concatenate([np.zeros(8), solve @ apart.ravel()])
    return linear, constant


def translate(old: Checkpoint, network: Network, model: MorphableModel) -> dict[str, Tensor]:
    """A checkpoint's weights for a network of another morphable model; those that don't fit it are as they were.

    Args:
        old: the checkpoint.
        network: of the new model.
        model: the new model.

    Raises:
        MorphableError: a model has not the landmarks of ``SCHEME``.
    """
    linear, constant = params_map(model, old.model)
    state = dict(old.network.state_dict())
    step = state["step"].double().numpy()
    new_step = np.sqrt(np.square(linear) @ np.square(step)).clip(min=1e-4)
    state["initial"] = torch.from_numpy(linear @ state["initial"].double().numpy() + constant).float()
    state["step"] = torch.from_numpy(new_step).float()
    update = torch.from_numpy(linear * step / new_step[:, None])
    for index in range(len(old.network.blocks)):
        for name in ("weight", "bias"):
            last = f"blocks.{index}.update.3.{name}"
            state[last] = (update @ state[last].double()).float()
    return state | anchors_moved(state, old.network, network, similarity(model, old.model))


def anchors_moved(
    state: dict[str, Tensor], old: Network, network: Network, alike: Similarity | None = None
) -> dict[str, Tensor]:
    """The layers that read the maps at anchors, for a network whose anchors are elsewhere; nothing where none are.

    Args:
        state: the old network's weights.
        old, network: both with the head ``sample``, or there is nothing to do.
        alike: from the new model's frame to the old one's; None of the same model.
    """
    if old.anchors is None or network.anchors is None:
        return {}
    here, there = (one.anchors.shape.mean.double().numpy().T for one in (network, old))  # type: ignore[union-attr]
    if alike is None:
        if here.shape == there.shape:
            return {}
        alike = Similarity(1.0, np.eye(3), np.zeros(3))
    between = _between(alike.forward(here), there)
    found = {}
    for index in range(len(old.blocks)):
        name = f"blocks.{index}.update.0.weight"
        weights = state[name].double().unflatten(1, (-1, len(between)))  # (hidden, C, A)
        found[name] = (weights @ between).flatten(1).float()
    return found


def _between(here: np.ndarray, there: np.ndarray) -> Tensor:
    """How a map's values at ``there`` (A, 3) follow from those at ``here`` (A', 3): ``(A, A')``, rows of sum 1."""
    distance, index = (found.reshape(len(there), -1) for found in cKDTree(here).query(there, k=min(3, len(here))))
    weight = 1 / np.square(distance.clip(min=1e-6))
    between = np.zeros((len(there), len(here)))
    np.put_along_axis(between, index, weight / weight.sum(1, keepdims=True), 1)
    return torch.from_numpy(between)
