"""How good and how fast fitting is: the tables of docs/fitting.md.

    python benchmarks/fitting.py MERL_RAV AFLW_FACES.csv MORPHABLE... [--aflw2000 FOLDER] [--faces N] [--json FILE]

One column a morphable model (a name or a file). All on one core; these machines are shared, so speed is also given as a
ratio to the obvious way (the same optimum by normal equations of all modes), timed in the same run.

residual      median over faces of the mean error of visible points, percent of the tight box's √(w·h)
plausibility  Σ p̂ᵀp̂ ÷ Σ effective degrees of freedom of the fits
left out      every fifth landmark kept from the fit: median error of those ÷ of the fitted ones, same faces
yaw           median absolute difference from AFLW's, after one constant offset
mirror        median and 99th percentile of the change of pose when the mirrored labels are fitted
synthetic     faces of the model itself, poses to ±90°, 1 % noise: median error of the angles
wrong labels  the same with 15 % of the labels thrown anywhere
depth         AFLW2000-3D's points: mean error of the fitted depth, percent of the tight box, and yaw, pitch, roll
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from threadpoolctl import threadpool_limits

from pifa_data.boxes import box_size
from pifa_data.camera import camera, decompose, pose_angles, project, rotation
from pifa_data.faces import Face
from pifa_data.fitting import LandmarkFitter, silhouette
from pifa_data.fitting.fitter import FREEDOM
from pifa_data.morphable import MorphableModel
from pifa_data.morphable.making.labels import Labels, read_labels
from pifa_data.readers import FORMATS, read_faces
from pifa_data.schemes import get_scheme
from pipelines.sources import find_model

SCHEME = "ibug68"
POSES = {"frontal": ("frontal",), "half-profile": ("lefthalf", "righthalf"), "profile": ("left", "right")}


def angles(params: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll in degrees of ``(F, 8 + K)`` parameters."""
    return np.degrees(pose_angles(params[:, :8].reshape(-1, 2, 4)))


def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Absolute difference of angles in degrees."""
    return np.abs((a - b + 180) % 360 - 180)


def real_faces(fitter: LandmarkFitter, labels: Labels) -> dict[str, Any]:
    """Residual, plausibility, yaw, convergence and mirror symmetry."""
    fits = fitter.fit(labels.points, labels.visibility, "2d")
    group = np.array([name.partition("/")[0] for name in labels.names])
    out: dict[str, Any] = {}
    for name, folders in POSES.items():
        rows = np.isin(group, folders)
        out[f"residual {name}, %"] = float(np.median(fits.nme[rows]))
    for name, folders in POSES.items():
        rows = np.isin(group, folders)
        out[f"plausibility {name}"] = float((fits.params[rows, 8:] ** 2).sum() / fits.dof[rows].sum())
    found = angles(fits.params)
    known = np.isfinite(labels.poses).all(1)
    away = found[known, 0] - np.degrees(labels.poses[known, 0])
    out["yaw, degrees"] = float(np.median(np.abs(away - np.median(away))))
    order = get_scheme(SCHEME).mirror
    mirrored = fitter.fit(labels.points[:, order] * [-1.0, 1.0], labels.visibility[:, order], "2d")
    turned = between(angles(mirrored.params) * [-1, 1, -1], found).max(1)
    out["mirror median, degrees"] = float(np.median(turned))
    out["mirror 99 %, degrees"] = float(np.percentile(turned, 99))
    out["converged"] = float(fits.converged.mean())
    out["implausible"] = float((~fits.plausible).mean())
    return out


def left_out(fitter: LandmarkFitter, labels: Labels) -> float:
    """Median error of every fifth landmark, kept from the fit, ÷ of the others."""
    kept = labels.visibility.copy()
    kept[:, ::5] = 0
    fits = fitter.fit(labels.points, kept, "2d")
    away = np.linalg.norm(fits.landmarks - labels.points, axis=2)
    visible = labels.visibility == 2
    size = np.array([tight(p[v > 0]) for p, v in zip(labels.points, labels.visibility, strict=True)])

    out = np.arange(68) % 5 == 0

    def median(points: np.ndarray) -> float:
        mask = visible & points
        count = mask.sum(1)
        error = (away * mask).sum(1) / np.maximum(count, 1) / size
        return float(np.median(error[count > 0]))

    return median(out) / median(~out)


def tight(points: np.ndarray) -> float:
    """√(w·h) of the box around ``(N, 2)`` points."""
    return float(box_size(np.concatenate([points.min(0), points.max(0)])[None])[0])


def synthetic(model: MorphableModel, count: int, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Faces of the model: cameras ``(F, 2, 4)`` of any pose and labels ``(F, 68, 2)`` with 1 % noise."""
    rng = np.random.default_rng(seed)
    yaw, pitch, roll = (np.radians(rng.uniform(-a, a, count)) for a in (90, 30, 45))
    cameras = camera(np.full(count, 20.0), rotation(yaw, pitch, roll), rng.normal(0, 50, (count, 2)))
    contour = model.contours[SCHEME]
    labels = np.empty((count, 68, 2))
    for i in range(count):
        flat = project(model.vertices(rng.normal(size=model.n_coefficients)), cameras[i])
        vertices = model.landmarks[SCHEME].copy()
        if kind == "2d":
            chosen = silhouette(flat[contour.vertices][None], cameras[i : i + 1], contour.side)[0]
            vertices[contour.points] = contour.vertices[np.arange(len(chosen)), chosen]
        labels[i] = flat[vertices]
        labels[i] += rng.normal(0, 0.01 * tight(labels[i]), (68, 2))
    return cameras, labels


def synthetic_errors(fitter: LandmarkFitter, model: MorphableModel, count: int) -> dict[str, float]:
    """Median error of yaw and pitch."""
    out = {}
    seen = np.full((count, 68), 2, np.uint8)
    rng = np.random.default_rng(1)
    for kind in ("2d", "3d"):
        cameras, labels = synthetic(model, count, kind, 0)
        truth = np.degrees(pose_angles(cameras))
        away = between(angles(fitter.fit(labels, seen, kind).params), truth)
        for i, angle in enumerate(("yaw", "pitch", "roll")):
            out[f"synthetic {kind} {angle}, degrees"] = float(np.median(away[:, i]))
        spoilt = labels.copy()
        for points in spoilt:
            points[rng.permutation(68)[:10]] += rng.normal(0, 0.5 * tight(points), (10, 2))
        away = between(angles(fitter.fit(spoilt, seen, kind).params), truth)
        out[f"wrong labels {kind} yaw, degrees"] = float(np.median(away[:, 0]))
    return out


def depth(fitter: LandmarkFitter, model: MorphableModel, folder: Path) -> dict[str, float]:
    """Fits to AFLW2000-3D's points, seen from the front only, against their depth and pose."""
    errors, turned = [], []
    poses = {Path(f.file).stem: f.pose for f in read_faces(f"aflw2000:{folder}", FORMATS) if isinstance(f, Face)}
    for path in sorted(folder.glob("*.mat")):
        truth = loadmat(path)["pt3d_68"].T.astype(float)
        fits = fitter.fit(truth[None, :, :2], np.full((1, 68), 2, np.uint8), "3d")
        scale, turn, _ = decompose(fits.cameras)
        z = scale * (model.vertices(fits.params[0, 8:], model.landmarks[SCHEME]) @ turn[0, 2])
        errors.append(np.abs((z - z.mean()) - (truth[:, 2] - truth[:, 2].mean())).mean() / tight(truth[:, :2]))
        turned.append(between(angles(fits.params)[0], np.degrees(poses[path.stem])))  # in our order of rotations
    names = ("yaw", "pitch", "roll")
    medians = {f"AFLW2000 {n}, degrees": float(v) for n, v in zip(names, np.median(turned, axis=0), strict=True)}
    return {"faces of AFLW2000": len(errors), "depth, %": 100 * float(np.median(errors)), **medians}


def plain_seconds(model: MorphableModel, labels: np.ndarray, noise: float, steps: int) -> float:
    """Seconds a face of ``steps`` Gauss-Newton steps by the normal equations of all modes, one face after another."""
    basis = model.modes[:, model.landmarks[SCHEME]].astype(np.float64)
    mean = model.mean[model.landmarks[SCHEME]].astype(np.float64)
    size = tight(mean[:, :2])
    start = time.process_time()
    for u in labels:
        p, linear = np.zeros(len(basis)), np.array([[1.0, 0, 0], [0, -1, 0]]) * tight(u) / size
        for _ in range(steps):
            vertices = mean + np.tensordot(p, basis, 1)
            flat = vertices @ linear.T
            residual = u - u.mean(0) - (flat - flat.mean(0))
            weight = (FREEDOM + 2) / (FREEDOM + (residual**2).sum(1) / (noise * tight(u)) ** 2)
            root = np.repeat(np.sqrt(weight) / (noise * tight(u)), 2)
            by_camera = np.concatenate([np.kron(vertices, np.eye(2)), np.tile(np.eye(2), (68, 1))], axis=1)
            jacobian = root[:, None] * np.concatenate([(basis @ linear.T).reshape(len(basis), -1).T, by_camera], axis=1)
            normal = jacobian.T @ jacobian + np.diag(np.r_[np.ones(len(basis)), np.full(8, 1e-6)])
            step = np.linalg.solve(normal, jacobian.T @ (root * residual.ravel()) - np.r_[p, np.zeros(8)])
            p, linear = p + step[: len(p)], linear + step[len(p) : len(p) + 6].reshape(3, 2).T
    return (time.process_time() - start) / len(labels)


def speed(fitter: LandmarkFitter, model: MorphableModel, labels: Labels) -> dict[str, float]:
    """Faces a second on one core, all 68 points labelled, the jaw marching, all modes."""
    whole = np.flatnonzero((labels.visibility > 0).all(1))[:2048]
    points, visibility = labels.points[whole], labels.visibility[whole]
    fitter.fit(points[:64], visibility[:64], "2d")
    times = []
    for _ in range(3):
        start = time.process_time()
        fitter.fit(points, visibility, "2d")
        times.append((time.process_time() - start) / len(whole))
    best = min(times)
    plain = plain_seconds(model, points[:40], fitter.scheme.noise, 10)
    return {"faces a second": 1 / best, "times as fast as the plain way": plain / best}


def column(name: str, labels: Labels, options: argparse.Namespace) -> dict[str, Any]:
    model = find_model(name)
    fitter = LandmarkFitter(model, SCHEME)
    out = {"vertices": len(model.mean), "modes": model.n_coefficients, **real_faces(fitter, labels)}
    out["left out ÷ fitted"] = left_out(fitter, labels)
    out |= synthetic_errors(fitter, model, 500)
    if options.aflw2000:
        out |= depth(fitter, model, options.aflw2000)
    return out | speed(fitter, model, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("poses", type=Path)
    parser.add_argument("morphable", nargs="+")
    parser.add_argument("--aflw2000", type=Path)
    parser.add_argument("--faces", type=int, help="only so many, evenly spread")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    # One core, the plain way too.
    with threadpool_limits(1):
        measure(options)


def measure(options: argparse.Namespace) -> None:
    labels = read_labels(options.labels, options.poses)
    if options.faces:
        labels = labels.take(np.linspace(0, len(labels.names) - 1, options.faces).astype(int))
    table = {name: column(name, labels, options) for name in options.morphable}
    rows = list(dict.fromkeys(key for values in table.values() for key in values))
    print(f"{len(labels.names)} faces")
    print(f"| {'':36} | " + " | ".join(f"{Path(name).stem:>10}" for name in table) + " |")
    print(f"|{'-' * 38}|" + "|".join("-" * 11 + ":" for _ in table) + "|")
    for row in rows:
        cells = (values.get(row, float("nan")) for values in table.values())
        print(
            f"| {row:36} | " + " | ".join(f"{cell:10.3g}" if cell < 1000 else f"{cell:10.0f}" for cell in cells) + " |"
        )
    if options.json:
        options.json.write_text(json.dumps({"faces": len(labels.names), "models": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
