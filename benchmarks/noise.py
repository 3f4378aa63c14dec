"""How far labels lie from a fitted model: the constants ``Scheme.noise`` and ``WEIGHT_OF_OCCLUDED``.

    python benchmarks/noise.py SOURCE... --morphable NAME [--faces N] [--check] [--json FILE]

Fit with σ, take the σ that the residuals tell (``LandmarkFitter.noise_moments``), fit again, until it stands still. It
is the scale of a t distribution, as a share of the mean face's tight box.

Then the residuals are divided up. A fit pulls itself towards a label by the label's leverage h, its block's trace of
the hat matrix J N⁻¹Jᵀ W. The scale s of a group, in units of σ, solves

    Σ (ν + 2) δ/(ν + δ) = Σ 2 − h (ν + 2)/(ν + 6),        δ = w d²/s²

It is 1 for visible points as noisy as σ says, and 2 for occluded ones as noisy as their weight says. (A fit takes σ² h
from a sum of Gaussian squares. Of a weighted one ρ = e·ψ, ψ = (ν + 2) e/(ν + |e|²), it takes E[∇ρ·ψ] h/4κ with
κ = E ψ' = (ν + 2)/(ν + 4), to first order, and that is the factor; of Gaussian noise it is nearer to 1.)

``--check`` draws labels of the model itself, in the fitted poses and with the labels that each face has, with known
t and Gaussian noise, and estimates again: what is found should be what was put in.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from threadpoolctl import threadpool_limits

from pifa_data.camera import decompose
from pifa_data.fitting import Fits, LandmarkFitter, landmarks_of
from pifa_data.fitting.fitter import FREEDOM, WEIGHT_OF_OCCLUDED, _State, label_weights
from pifa_data.morphable import MorphableModel
from pipelines.sources import find_model, load_faces

FIRST, STILL, ROUNDS = 0.012, 0.01, 12
"""σ to begin with; its change that ends the rounds; rounds at most."""
GAUSSIAN = 0.873
"""The scale s that Gaussian noise of deviation 1 is taken for: E[(ν + 2) δ/(ν + δ)] = 2 with s² δ ~ χ²₂."""
TAKEN = (FREEDOM + 2) / (FREEDOM + 6)
"""Share of its leverage that a fit takes from a weighted square."""
BATCH, FEWEST = 256, 50
"""Faces worked on at once; labels below which a group tells nothing."""


class Batch(NamedTuple):
    """Faces of one scheme and kind: points ``(F, L, 2)`` pixels, visibility ``(F, L)``."""

    points: np.ndarray
    visibility: np.ndarray
    scheme: str
    kind: str


def read(sources: list[str], count: int | None) -> Batch:
    faces, _ = load_faces(sources)
    faces = [faces[i] for i in np.unique(np.linspace(0, len(faces) - 1, count or len(faces)).astype(int))]
    if len(kinds := {(face.scheme, face.kind) for face in faces}) > 1:
        raise SystemExit(f"expected faces of one scheme and kind, found {sorted(kinds)}; measure them one by one")
    return Batch(np.stack([f.landmarks for f in faces]), np.stack([f.visibility for f in faces]), *kinds.pop())


class Measured(LandmarkFitter):
    """A fitter that tells how much of each residual its fits have taken away."""

    def leverages(self, batch: Batch, fits: Fits) -> np.ndarray:
        """``(F, L)`` h: of a point's two coordinates, how many the fit follows whatever they are."""
        out = np.zeros(batch.visibility.shape)
        for first in range(0, len(out), BATCH):
            rows = slice(first, first + BATCH)
            cameras = fits.cameras[rows]
            scales, turns, shift = decompose(cameras)
            q = fits.params[rows, 8:] @ self.directions.T
            selection = np.tile(self.fixed[self.order], (len(q), 1))
            state = _State(np.arange(len(q)), turns, scales, np.zeros_like(shift), q, selection)
            # About the head's middle, and not the image's corner: the fitter's numbers are float32.
            points = batch.points[rows] - (shift + cameras[..., :3] @ self.centre)[:, None]
            points = np.where(batch.visibility[rows, :, None] > 0, points, 0.0).astype(np.float32)[:, self.order]
            weights = label_weights(batch.visibility[rows]).astype(np.float32)
            sight = self._look(state, points, weights[:, self.order], batch.kind)
            jacobian = self._jacobian(state, sight, np.sqrt(sight.weights), batch.kind, self.rank)
            flat = jacobian.astype(np.float64).reshape(len(q), -1, 6 + self.rank)
            normal = np.swapaxes(flat, 1, 2) @ flat
            self._add_prior(state, normal, np.zeros((len(q), 6 + self.rank)))
            taken = (flat @ np.linalg.inv(normal) * flat).sum(2)
            out[rows, self.order] = taken.reshape(len(q), 2, -1).sum(1)
        return out

    def squares(self, batch: Batch, fits: Fits) -> np.ndarray:
        """``(F, L)`` δ = w d²/σ² of every label, 0 where there is none."""
        away = np.where(batch.visibility[..., None] > 0, batch.points - fits.landmarks, 0.0)
        sigma = decompose(fits.cameras)[0][:, None] * float(self.sigma)
        return label_weights(batch.visibility) * (away**2).sum(2) / sigma**2


def estimate(model: MorphableModel, batch: Batch, *, tell: bool) -> tuple[float, list[dict[str, float]], Fits]:
    """σ at which the residuals are what it says; what was found on the way, and the last fits."""
    sigma, rounds = FIRST, list[dict[str, float]]()
    while len(rounds) < ROUNDS and (not rounds or abs(rounds[-1]["sigma"] / sigma - 1) >= STILL):
        fitter = LandmarkFitter(model, batch.scheme, noise=sigma)
        fits = fitter.fit(batch.points, batch.visibility, batch.kind)
        squares, free = fitter.noise_moments(batch.points, batch.visibility, fits)
        new = float(np.sqrt(squares / free))
        plausibility = float((fits.params[:, 8:] ** 2).sum() / fits.dof.sum())
        rounds.append({"sigma": sigma, "residual": float(np.median(fits.nme)), "plausibility": plausibility})
        if tell:
            cells = f"{len(rounds):5} | {sigma:8.5f} | {rounds[-1]['residual']:11.3f} | {plausibility:12.3f}"
            print(f"| {cells} | {new:8.5f} |")
        sigma = new
    return sigma, rounds, fits


def scale(squares: np.ndarray, free: np.ndarray) -> float:
    """s of a group, whose δ at s = 1 are ``squares``; of each label ``free`` is the right side of the equation."""

    def more(s: float) -> float:
        return float(((FREEDOM + 2) * squares / (FREEDOM * s**2 + squares) - free).sum())

    return float(brentq(more, 0.02, 50.0))


def by_group(fitter: Measured, batch: Batch, fits: Fits) -> dict[str, dict[str, float]]:
    """Number of labels, mean leverage and s of each group of landmarks, visible and occluded ones apart."""
    squares, leverage = fitter.squares(batch, fits), fitter.leverages(batch, fits)
    out: dict[str, dict[str, float]] = {}
    for name, points in {"all": range(len(fitter.fixed)), **fitter.scheme.groups}.items():
        out[name] = {}
        for which, value, weight in (("visible", 2, 1.0), ("occluded", 1, WEIGHT_OF_OCCLUDED)):
            mask = (batch.visibility == value) & np.isin(np.arange(len(fitter.fixed)), points)
            many, h = mask.sum() >= FEWEST, leverage[mask]
            s = scale(squares[mask], 2 - TAKEN * h) * weight**-0.5 if many else np.nan
            out[name] |= {which: float(mask.sum()), f"h {which}": float(h.mean()) if many else np.nan, f"s {which}": s}
    return out


def redrawn(model: MorphableModel, batch: Batch, fits: Fits, sigma: float, freedom: float, seed: int) -> Batch:
    """The faces' labels drawn anew: the same cameras and visibility, coefficients of the prior, known noise."""
    rng = np.random.default_rng(seed)
    cameras = fits.cameras
    shapes = rng.normal(size=(len(cameras), model.n_coefficients))
    params = np.concatenate([cameras.reshape(-1, 8), shapes], axis=1)
    points = landmarks_of(model, batch.scheme, params, batch.kind)
    # The t distribution of two coordinates: a Gaussian over one χ of both.
    spread = np.sqrt(freedom / rng.chisquare(freedom, points.shape[:2])) if np.isfinite(freedom) else 1.0
    spread = spread * np.choose(batch.visibility, [0.0, WEIGHT_OF_OCCLUDED**-0.5, 1.0])
    spread = spread * (sigma * LandmarkFitter(model, batch.scheme).size * decompose(cameras)[0])[:, None]
    points += spread[..., None] * rng.normal(size=points.shape)
    return batch._replace(points=points)


def measure(model: MorphableModel, batch: Batch, check: bool) -> dict[str, Any]:
    """Everything, printed and returned."""
    print(f"{len(batch.points)} faces, {batch.scheme} {batch.kind}, {model.name}\n")
    print("| round |    sigma | residual, % | plausibility |    found |")
    print("|------:|---------:|------------:|-------------:|---------:|")
    sigma, rounds, fits = estimate(model, batch, tell=True)
    groups = by_group(Measured(model, batch.scheme, noise=rounds[-1]["sigma"]), batch, fits)
    print("\n|               | " + " | ".join(f"{column:>10}" for column in groups["all"]) + " |")
    print("|---------------|" + "-----------:|" * len(groups["all"]))
    for name, row in groups.items():
        print(f"| {name:13} | " + " | ".join(f"{value:10.4g}" for value in row.values()) + " |")
    result = {"faces": len(batch.points), "sigma": sigma, "rounds": rounds, "groups": groups}
    if check:
        print("\n| check    |  drawn σ |  found σ |     ÷ | s visible | s occluded |")
        print("|----------|---------:|---------:|------:|----------:|-----------:|")
        for name, freedom, deviation in (("t", FREEDOM, sigma), ("Gaussian", np.inf, sigma / GAUSSIAN)):
            known = redrawn(model, batch, fits, deviation, freedom, 0)
            found, _, _ = estimate(model, known, tell=False)
            fitter = Measured(model, batch.scheme, noise=sigma)
            s = by_group(fitter, known, fitter.fit(known.points, known.visibility, known.kind))["all"]
            result[f"check {name}"] = {"drawn": sigma, "found": found, **s}
            cells = f"{sigma:8.5f} | {found:8.5f} | {found / sigma:5.3f} | {s['s visible']:9.3f}"
            print(f"| {name:8} | {cells} | {s['s occluded']:10.3f} |")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="as `pifa fit` takes it")
    parser.add_argument("--morphable", required=True, help="name or file of the model")
    parser.add_argument("--faces", type=int, help="only so many, evenly spread")
    parser.add_argument("--check", action="store_true", help="recover known noise as well")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = measure(find_model(options.morphable), read(options.sources, options.faces), options.check)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
