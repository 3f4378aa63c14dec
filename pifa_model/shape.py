"""The morphable model on the device: vertices, landmarks with their contour march, and the split of P into M and p."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pifa_data.morphable import MorphableModel
from pifa_data.morphable.points import contour_of, landmark_vertices


def exact_coordinates(like: Tensor) -> torch.autocast:
    """Context in which autocast is off: bfloat16 has 8 bits, which is half a pixel at the far side of a crop."""
    return torch.autocast(like.device.type, enabled=False)


def split_params(params: Tensor) -> tuple[Tensor, Tensor]:
    """P ``(B, 8 + K)`` to the camera M ``(B, 2, 4)`` and the coefficients p ``(B, K)``."""
    return params[:, :8].reshape(-1, 2, 4), params[:, 8:]


def check_params(params: Tensor, basis: Tensor, *, finite: bool = False) -> None:
    """Refuse P that is none of the basis'.

    Args:
        params: P, expected ``(B, 8 + K)`` of the basis' type.
        basis: ``(K, 3N)``, of a ``ShapeBasis``.
        finite: also look for NaN and infinity. That waits for the device, so it is for P that comes from outside, not
            for every block of every step.

    Raises:
        ValueError: another shape or type, or numbers that are not finite.
    """
    wanted = 8 + len(basis)
    if params.ndim != 2 or params.shape[1] != wanted:
        raise ValueError(
            f"params: expected (B, {wanted}), 8 of the camera and {len(basis)} coefficients of the morphable model, "
            f"found {tuple(params.shape)}"
        )
    if params.dtype != basis.dtype:
        raise ValueError(f"params: expected {basis.dtype}, the type of the layer, found {params.dtype}")
    if finite and not (rows := torch.isfinite(params).all(1)).all():
        bad = (~rows).nonzero().flatten().tolist()
        raise ValueError(
            f"params: expected finite numbers, found NaN or infinity in row {', '.join(map(str, bad[:9]))}"
        )


def project(vertices: Tensor, camera: Tensor) -> Tensor:
    """Project model vertices into the crop (equation 3).

    Args:
        vertices: ``(B, 3, N)`` float32, model units, y up.
        camera: ``(B, 2, 4)`` float32, scaled rotation and translation to crop pixels; row 2 already flips y.

    Returns:
        ``(B, 2, N)`` float32, crop pixels, x right, y down.
    """
    return camera[:, :, :3] @ vertices + camera[:, :, 3:]


class ShapeBasis(nn.Module):
    """Equation 1 for a set of vertices. Holds no weights: nothing of it is saved in a checkpoint."""

    mean: Tensor
    basis: Tensor

    def __init__(self, model: MorphableModel, vertices: np.ndarray) -> None:
        super().__init__()
        modes = model.modes[:, vertices]  # (K, N, 3)
        self.register_buffer("mean", torch.from_numpy(model.mean[vertices].T.copy()), persistent=False)
        basis = torch.from_numpy(modes.transpose(0, 2, 1).reshape(len(modes), -1).copy())
        self.register_buffer("basis", basis, persistent=False)

    def forward(self, coefficients: Tensor) -> Tensor:
        """p ``(B, K)`` to vertices ``(B, 3, N)``, model units."""
        flat = torch.addmm(self.mean.reshape(1, -1), coefficients, self.basis)
        return flat.reshape(-1, 3, self.mean.shape[1])


class Landmarks(nn.Module):
    """f(P): the 2D landmarks of the parameters (equation 3), jaw marching as in the fit, and their visibility."""

    _fixed: Tensor
    _lines: Tensor
    _points: Tensor
    _sides: Tensor
    _normals: Tensor

    def __init__(self, model: MorphableModel, scheme: str) -> None:
        """Raises MorphableError if the model has no vertices for the scheme."""
        super().__init__()
        fixed = landmark_vertices(model, scheme)
        contour = contour_of(model, scheme)
        lines = contour.vertices if contour else np.zeros((0, 1), np.int32)
        vertices, where = np.unique(np.concatenate([fixed, lines.ravel()]), return_inverse=True)
        self.shape = ShapeBasis(model, vertices)
        buffers = {
            "_fixed": where[: len(fixed)],
            "_lines": where[len(fixed) :].reshape(lines.shape),
            "_points": contour.points.astype(np.int64) if contour else np.zeros(0, np.int64),
            "_sides": contour.side.astype(np.float32) if contour else np.zeros(0, np.float32),
            "_normals": model.normals[vertices],
        }
        for name, array in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def forward(self, params: Tensor, marching: Tensor) -> Tensor:
        """Landmarks of each face.

        Args:
            params: ``(B, 8 + K)`` float32, crop pixels.
            marching: ``(B,)`` bool, true for faces of kind ``2d``. The choice of the contour vertices has no
                gradient, as in the fit.

        Returns:
            ``(B, L, 2)`` float32, crop pixels.
        """
        with exact_coordinates(params):
            points, selection = self._points_of(params, marching)
            return torch.gather(points, 2, selection[:, None].expand(-1, 2, -1)).transpose(1, 2)

    def visibility(self, params: Tensor, marching: Tensor) -> Tensor:
        """Which landmarks face the viewer: ``(B, L)`` bool.

        A landmark is visible where its vertex has positive frontability (equation 8); a contour point of a ``2d``
        face lies on the visible silhouette by definition.
        """
        with exact_coordinates(params):
            _, selection = self._points_of(params, marching)
            camera, _ = split_params(params)
            g = -(viewing_direction(camera)[:, None] @ self._normals.T[None])[:, 0]
        seen = torch.gather(g, 1, selection) > 0
        on_contour = torch.zeros(len(self._fixed), dtype=torch.bool, device=params.device)
        on_contour[self._points] = True
        return seen | (marching[:, None] & on_contour)

    def _points_of(self, params: Tensor, marching: Tensor) -> tuple[Tensor, Tensor]:
        camera, coefficients = split_params(params)
        points = project(self.shape(coefficients), camera)  # (B, 2, C)
        fixed = self._fixed.expand(len(params), -1)
        if not len(self._points):
            return points, fixed
        with torch.no_grad():
            across = torch.stack([-camera[:, 1, 1], camera[:, 0, 1]], dim=1)  # as `silhouette` in the fit
            outward = (points * across[..., None]).sum(1)[:, self._lines] * self._sides[:, None]
            chosen = outward.argmax(dim=2, keepdim=True)
            marched = torch.gather(self._lines.expand(len(params), -1, -1), 2, chosen)[..., 0]
            moved = fixed.clone()
            moved[:, self._points] = marched
            return points, torch.where(marching[:, None], moved, fixed)


def viewing_direction(camera: Tensor) -> Tensor:
    """r₃ = m₁×m₂ / (‖m₁‖‖m₂‖) of ``(B, 2, 4)`` cameras: ``(B, 3)``, into the scene (equation 8's first factor)."""
    first, second = F.normalize(camera[:, :, :3], dim=2).unbind(1)
    return torch.linalg.cross(first, second)


def nearest_rotation(params: Tensor) -> Tensor:
    """P with M's first three columns replaced by the nearest scaled rotation (equation 3's six degrees of freedom).

    The polar factor of A = M[:, :3]: with G = A Aᵀ and d = √det G, √G = (G + d I) / √(tr G + 2 d), and the nearest in
    the Frobenius norm is ½ tr(√G) · √G⁻¹ A.

    Args:
        params: ``(B, 8 + K)``; A of rank 2.

    Returns:
        ``(B, 8 + K)``.
    """
    with exact_coordinates(params):
        camera, coefficients = split_params(params)
        a = camera[:, :, :3]
        g = a @ a.mT
        trace = g.diagonal(dim1=1, dim2=2).sum(1)
        # At least a share of its largest value, tr²/4, whatever the model's unit: of micrometres d is 1e-7.
        d = torch.maximum(g[:, 0, 0] * g[:, 1, 1] - g[:, 0, 1] * g[:, 1, 0], 1e-12 * trace**2).sqrt()
        d, trace = d[:, None, None], trace[:, None, None]
        # √G⁻¹ is its adjugate ÷ its determinant d; tr √G = √(tr G + 2 d), which cancels the root in √G.
        adjugate = (trace + d) * torch.eye(2, dtype=g.dtype, device=g.device) - g
        rotation = 0.5 * adjugate @ a / d
        turned = torch.cat([rotation, camera[:, :, 3:]], dim=2).flatten(1)
        return torch.cat([turned, coefficients], dim=1)
