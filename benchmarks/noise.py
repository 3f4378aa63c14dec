"""How far labels lie from a fitted model: the constants ``Scheme.noise`` and ``WEIGHT_OF_OCCLUDED``.

    python benchmarks/noise.py SOURCE... --morphable NAME [--faces N] [--check] [--json FILE]

σ of the noise and the fits depend on each other, so both are iterated: fit with σ, take the σ that the residuals tell
(``LandmarkFitter.noise_moments``), fit again, until it stands still. It is the scale of a t distribution, as a share
of the mean face's tight box; of Gaussian noise it is 0.87 of the standard deviation.

Then the residuals are divided up. A fit pulls itself towards a label by the label's leverage h (its block of the hat
matrix J N⁻¹Jᵀ, with the weights of the last step): 2 − h of a point's two coordinates are left free, and a point next
to others has less of it than one alone. The scale s of a group solves Σ (ν + 2) δ/(ν + δ) = Σ (2 − h), δ = w d²/s²:
it is 1 where the group is as noisy as σ and its weights say.

``--check`` draws labels of the model itself, in the fitted poses and with the labels that each face has, with known
t and Gaussian noise, and estimates again: what is found should be what was put in.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from pifa_data.camera import decompose, project
from pifa_data.fitting import Fits, LandmarkFitter, silhouette
from pifa_data.fitting.fitter import FREEDOM, WEIGHT_OF_OCCLUDED, _normalised, _State
from pifa_data.morphable import MorphableModel
from pifa_data.schemes import get_scheme
from pipelines.sources import find_model, load_faces

FIRST, STILL, ROUNDS = 0.012, 0.01, 12
"""σ to begin with; the change of σ that ends the rounds; rounds at most."""
GAUSSIAN = 0.873
"""Scale of the t distribution with ν = 5 that Gaussian noise of standard deviation 1 is taken for: the root of
E[(ν + 2) δ/(ν + δ)] = 2 with δ s² ~ χ²₂."""
BATCH = 256


@dataclass(frozen=True)
class Batch:
    """Faces of one scheme and kind: points ``(F, L, 2)`` pixels, visibility ``(F, L)``."""

    points: np.ndarray
    visibility: np.ndarray
    scheme: str
    kind: str


def read(sources: list[str], count: int | None) -> Batch:
    faces, _ = load_faces(sources)
    if count:
        faces = [faces[i] for i in np.linspace(0, len(faces) - 1, min(count, len(faces))).astype(int)]
    kinds = {(face.scheme, face.kind) for face in faces}
    if len(kinds) > 1:
        raise SystemExit(f"expected faces of one scheme and kind, found {sorted(kinds)}; measure them one by one")
    points, visibility = (np.stack([getattr(face, name) for face in faces]) for name in ("landmarks", "visibility"))
    return Batch(points, visibility, *kinds.pop())


class Measured(LandmarkFitter):
    """A fitter that tells how much of each residual its fits have taken away."""

    def leverages(self, batch: Batch, fits: Fits) -> np.ndarray:
        """``(F, L)``: of 2 coordinates a point, how many the fit explains whatever they are."""
        out = np.zeros(batch.visibility.shape)
        for first in range(0, len(out), BATCH):
            rows = slice(first, first + BATCH)
            out[rows, self.order] = self._leverages(batch.points[rows], batch.visibility[rows], batch.kind, fits, rows)
        return out

    def _leverages(self, points: np.ndarray, seen: np.ndarray, kind: str, fits: Fits, rows: slice) -> np.ndarray:
        cameras = fits.params[rows, :8].reshape(-1, 2, 4)
        normalised, centre, spread = _normalised(points, seen > 0)
        scale, rotation, translation = decompose(cameras)
        moved = (translation + cameras[..., :3] @ self.centre - centre) / spread[:, None]
        q = fits.params[rows, 8:] @ self.directions.T
        selection = np.tile(self.fixed[self.order], (len(q), 1))
        state = _State(np.arange(len(q)), rotation, scale / spread, moved, q, selection)
        weights = np.choose(seen, [0.0, WEIGHT_OF_OCCLUDED, 1.0]).astype(np.float32)[:, self.order]
        sight = self._look(state, normalised[:, self.order].astype(np.float32), weights, kind)
        jacobian = self._jacobian(state, sight, np.sqrt(sight.weights), kind, self.rank)
        flat = jacobian.reshape(len(q), -1, 6 + self.rank)
        normal = np.swapaxes(flat, 1, 2) @ flat
        self._add_prior(state, normal, np.zeros((len(q), 6 + self.rank), np.float32))
        taken = (flat @ np.linalg.inv(normal.astype(np.float64)) * flat).sum(2)
        return taken.reshape(len(q), 2, -1).sum(1)

    def squares(self, batch: Batch, fits: Fits) -> np.ndarray:
        """``(F, L)`` δ = w d²/σ² of every label, 0 where there is none."""
        scale = decompose(fits.params[:, :8].reshape(-1, 2, 4))[0]
        away = np.where(batch.visibility[..., None] > 0, batch.points - fits.landmarks, 0.0)
        weights = np.choose(batch.visibility, [0.0, WEIGHT_OF_OCCLUDED, 1.0])
        return weights * (away**2).sum(2) / (scale[:, None] * float(self.sigma)) ** 2


def estimate(model: MorphableModel, batch: Batch, *, tell: bool) -> tuple[float, list[dict[str, float]], Fits]:
    """σ at which the residuals are what it says; what was found on the way, and the last fits."""
    sigma, rounds = FIRST, []
    for number in range(1, ROUNDS + 1):
        fitter = LandmarkFitter(model, batch.scheme, noise=sigma)
        fits = fitter.fit(batch.points, batch.visibility, batch.kind)
        squares, free = fitter.noise_moments(batch.points, batch.visibility, fits)
        new = float(np.sqrt(squares / free))
        plausibility = float((fits.params[:, 8:] ** 2).sum() / fits.dof.sum())
        rounds.append({"sigma": sigma, "residual": float(np.median(fits.nme)), "plausibility": plausibility})
        if tell:
            print(f"| {number:5} | {sigma:8.5f} | {rounds[-1]['residual']:11.3f} | {plausibility:12.3f} | {new:8.5f} |")
        change, sigma = abs(new / sigma - 1), new
        if change < STILL:
            break
    return sigma, rounds, fits


def scale(squares: np.ndarray, free: np.ndarray) -> float:
    """s of a group: the root of Σ (ν + 2) δ/(ν + δ) = Σ (2 − h) with δ = ``squares``/s²."""
    low, high = 0.02, 50.0
    for _ in range(50):
        middle = np.sqrt(low * high)
        delta = squares / middle**2
        more = ((FREEDOM + 2) * delta / (FREEDOM + delta)).sum() > free.sum()
        low, high = (middle, high) if more else (low, middle)
    return float(low)


def by_group(fitter: Measured, batch: Batch, fits: Fits) -> dict[str, dict[str, float]]:
    """Of each group of landmarks: labels, median distance, leverage and s, visible and occluded ones apart."""
    squares, leverage = fitter.squares(batch, fits), fitter.leverages(batch, fits)
    parts = {"all": tuple(range(len(fitter.fixed))), **get_scheme(batch.scheme).groups}
    out = {}
    for name, points in parts.items():
        row = {}
        for which, value in (("visible", 2), ("occluded", 1)):
            mask = np.zeros(squares.shape, bool)
            mask[:, list(points)] = True
            mask &= batch.visibility == value
            row[which] = float(mask.sum())
            row[f"h {which}"] = float(leverage[mask].mean()) if mask.any() else np.nan
            # In units of σ itself, not of the standard deviation that the weight gives occluded points.
            times = 1.0 if value == 2 else WEIGHT_OF_OCCLUDED**-0.5
            row[f"s {which}"] = times * scale(squares[mask], 2 - leverage[mask]) if mask.sum() > 50 else np.nan
        out[name] = row
    return out


def redrawn(model: MorphableModel, batch: Batch, fits: Fits, sigma: float, freedom: float, seed: int) -> Batch:
    """The faces' labels drawn anew: the same cameras and visibility, coefficients of the prior, known noise."""
    rng = np.random.default_rng(seed)
    cameras = fits.params[:, :8].reshape(-1, 2, 4)
    landmarks, contour = model.landmarks[batch.scheme], model.contours.get(batch.scheme)
    points = np.empty_like(batch.points)
    for i, one in enumerate(cameras):
        p = rng.normal(size=model.n_coefficients)
        points[i] = project(model.vertices(p, landmarks), one)
        if contour and batch.kind == "2d":
            lines = project(model.vertices(p, contour.vertices.ravel()), one).reshape(*contour.vertices.shape, 2)
            chosen = silhouette(lines[None], cameras[i : i + 1], contour.side)[0]
            points[i, contour.points] = lines[np.arange(len(chosen)), chosen]
    # The t distribution of two coordinates: a Gaussian over one χ of both.
    spread = np.sqrt(freedom / rng.chisquare(freedom, points.shape[:2])) if np.isfinite(freedom) else 1.0
    spread = spread * np.choose(batch.visibility, [0.0, WEIGHT_OF_OCCLUDED**-0.5, 1.0])
    pixels = sigma * LandmarkFitter(model, batch.scheme).size * decompose(cameras)[0]
    points += (spread * pixels[:, None])[..., None] * rng.normal(size=points.shape)
    return replace(batch, points=points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="as `pifa fit` takes it")
    parser.add_argument("--morphable", required=True, help="name or file of the model")
    parser.add_argument("--faces", type=int, help="only so many, evenly spread")
    parser.add_argument("--check", action="store_true", help="recover known noise as well")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model, batch = find_model(options.morphable), read(options.sources, options.faces)
    with threadpool_limits(1):
        print(f"{len(batch.points)} faces, {batch.scheme} {batch.kind}, {options.morphable}\n")
        print(
            "| round |    sigma | residual, % | plausibility | told     |\n|------:|---------:|-----------:|------------:|---------:|"
        )
        sigma, rounds, fits = estimate(model, batch, tell=True)
        fitter = Measured(model, batch.scheme, noise=sigma)
        groups = by_group(fitter, batch, fitter.fit(batch.points, batch.visibility, batch.kind))
        result = {"faces": len(batch.points), "sigma": sigma, "rounds": rounds, "groups": groups}
        columns = list(groups["all"])
        print("\n| in units of σ | " + " | ".join(f"{c:>10}" for c in columns) + " |")
        print("|---------------|" + "-----------:|" * len(columns))
        for name, row in groups.items():
            print(f"| {name:13} | " + " | ".join(f"{row[c]:10.4g}" for c in columns) + " |")
        if options.check:
            checks = (("t", FREEDOM, sigma, 1.0), ("Gaussian", np.inf, sigma / GAUSSIAN, GAUSSIAN))
            for name, freedom, drawn, factor in checks:
                found = estimate(model, redrawn(model, batch, fits, drawn, freedom, 0), tell=False)[0]
                result[f"check {name}"] = found / (drawn * factor)
                print(f"\ncheck, {name} noise: drawn {drawn:.5f}, expected {drawn * factor:.5f}, found {found:.5f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
