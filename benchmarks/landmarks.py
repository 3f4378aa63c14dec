"""Where annotators put ibug68's landmarks on a model, and the vertices there.

    python benchmarks/landmarks.py MERL_RAV AFLW_FACES.csv MODEL [--move FILE.toml] [--faces N] [--json FILE]

**Inner points and chin.** Labels are fitted; what a point misses on average, seen from all sides, is a place in the
head's frame: with T the camera's two rows without its scale, T d ≈ (label − fitted)/scale is solved for d over all
faces, with robust weights and symmetric left to right. The vertex nearest to where the landmark should be (on the mean
of the fitted faces) whose normal agrees takes its place. A fit gives way to a misplaced vertex and hides a part of the
miss, so this goes on for some rounds, each going a little farther than the miss.

**Jaw.** How far back the jaw lies no such fit can tell: it stretches the face and turns it less instead. With AFLW's
poses given, the mean 68 points follow from the labels as those of a rigid body: scales and shifts, and points, are
solved for in turn. Of these only ratios are taken over: how far a jaw point lies behind the nose's tip and above the
chin, as shares of the height from chin to brows. The vertex there, of skin that looks sideways, becomes the landmark.

`pifa morphable import FORMAT PATH... --landmarks FILE.toml` takes what ``--move`` writes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from pifa_data.camera import decompose, pose_angles, rotation
from pifa_data.fitting import LandmarkFitter
from pifa_data.morphable import MorphableModel
from pifa_data.morphable.contours import contour_lines
from pifa_data.morphable.making.labels import Labels, read_labels
from pifa_data.morphable.mapping import NOSE_TIP, _similarity
from pifa_data.schemes import get_scheme
from pipelines.sources import find_model

SCHEME = get_scheme("ibug68")
MIRROR = SCHEME.mirror
RIGHT_JAW, LEFT_JAW, CHIN, BROWS, INNER = slice(0, 8), slice(9, 17), 8, slice(17, 27), slice(17, 68)
BY_POSE = 7
"""Jaw points from the ear to here are placed by the known poses. The next one lies where the edge turns under the chin:
no side of the head shows it, and free fits see it well."""
MILLIMETRES = {"micrometre": 1e-3, "millimetre": 1.0, "centimetre": 10.0, "metre": 1000.0}

ROUNDS, FARTHER = 4, 1.3
"""Rounds of fitting and moving, and how far each goes beyond the miss that it sees."""
FAR = np.radians(5.0)
"""Yaw from which the far side's jaw labels lie on the cheek's silhouette."""
STABLE = np.radians(40.0)
"""Pitch up to which faces count: beyond, labels are few and mostly guessed."""
WILD, WILD_RIGID = 3.0, 6.0
"""mm at which a residual's weight halves; a rigid mean leaves more."""
BELIEF = 5.0
"""Faces' worth of weight that a landmark stays where it is: what is seen from one side only has no depth."""
AGREES, NEAR, GAIN = 0.3, 9.0, 0.3
"""Least cosine between the normals of old and new vertex; mm that they may be apart; mm that a move must gain."""
SIDEWAYS = 0.3
"""Least share of x in the normal of a jaw vertex: leaves out the ears' backs and the neck."""
RIGID_ROUNDS, BIN, MOST = 25, np.radians(15.0), 5.0
"""Rounds of the rigid estimate; bins of yaw that weigh the same, but no face more than ``MOST`` times the mean."""


def misses(model: MorphableModel, labels: Labels) -> tuple[np.ndarray, np.ndarray, float]:
    """``(68, 3)`` how far labels lie from their vertices, ``(V, 3)`` the fitted faces' mean, and the residual in %."""
    unit = MILLIMETRES[model.units]
    fits = LandmarkFitter(model, "ibug68").fit(labels.points, labels.visibility, "2d")
    cameras = fits.params[:, :8].reshape(-1, 2, 4)
    scale = decompose(cameras)[0]
    yaw, pitch, _ = pose_angles(cameras).T
    kept = (
        near_side(labels.visibility == 2, yaw) & (fits.converged & fits.plausible & (np.abs(pitch) < STABLE))[:, None]
    )
    away = (labels.points - fits.landmarks) / scale[:, None, None]
    away = np.where(kept[..., None], away, 0.0)
    weight = kept / (1 + ((away**2).sum(2) * unit**2) / WILD**2)
    place = solve(cameras[..., :3] / scale[:, None, None], weight, away, BELIEF)
    return symmetric(place), model.vertices(fits.params[:, 8:].mean(0)), float(np.median(fits.nme))


def near_side(seen: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Labels ``(F, 68)`` without those of the jaw's far side, which march."""
    seen = seen.copy()
    seen[yaw > FAR, RIGHT_JAW] = False
    seen[yaw < -FAR, LEFT_JAW] = False
    return seen


def solve(turns: np.ndarray, weight: np.ndarray, seen: np.ndarray, belief: float) -> np.ndarray:
    """``(L, 3)`` places d with ``turns`` d ≈ ``seen``: least squares over faces, ``belief`` of them for d = 0."""
    normal = np.einsum("fl,fij,fik->ljk", weight, turns, turns, optimize=True) + belief * np.eye(3)
    right = np.einsum("fl,fij,fli->lj", weight, turns, seen, optimize=True)
    return np.linalg.solve(normal, right[..., None])[..., 0]


def symmetric(points: np.ndarray) -> np.ndarray:
    return (points + points[MIRROR] * [-1, 1, 1]) / 2


def rigid_mean(start: np.ndarray, labels: Labels) -> np.ndarray:
    """``(68, 3)`` mm: the mean of the labels as a rigid body in AFLW's poses, laid over the inner points of ``start``."""
    labels = labels.take(np.flatnonzero(np.isfinite(labels.poses).all(1)))
    yaw = labels.poses[:, 0]
    seen = near_side(labels.visibility > 0, yaw) * np.choose(labels.visibility, [0.0, 0.25, 1.0])
    cell = np.digitize(yaw, np.arange(-np.pi, np.pi, BIN))
    balance = 1 / np.bincount(cell)[cell]
    balance = np.minimum(balance / balance.mean(), MOST)
    turns = rotation(*labels.poses.T)[:, :2] * np.array([[1.0], [-1.0]])
    count = seen.sum(1)[:, None]
    labels_off = labels.points - ((seen[..., None] * labels.points).sum(1) / count)[:, None]
    points = start
    for _ in range(RIGID_ROUNDS):
        flat = points @ np.swapaxes(turns, 1, 2)
        middle = ((seen[..., None] * flat).sum(1) / count)[:, None]
        off = flat - middle
        scale = (seen[..., None] * labels_off * off).sum((1, 2)) / (seen[..., None] * off**2).sum((1, 2))
        target = labels_off / scale[:, None, None] + middle
        weight = seen * balance[:, None] / (1 + ((target - flat) ** 2).sum(2) / WILD_RIGID**2)
        points = symmetric(solve(turns, weight, target, 0.0))
    # AFLW's zero of pitch is its own.
    size, turn, shift = _similarity(points[INNER], start[INNER])
    return size * points @ turn.T + shift


class Mover:
    """The skin of one model, in millimetres, and moves upon it."""

    def __init__(self, model: MorphableModel) -> None:
        self.unit = MILLIMETRES[model.units]
        self.mean = model.mean.astype(np.float64) * self.unit
        self.normals = model.normals.astype(np.float64)
        # The pupils and the mouth's centre are part of no triangle.
        self.skin = np.isin(np.arange(len(self.mean)), model.triangles)
        self.first = model.landmarks["ibug68"].astype(np.int64)

    def mirrored(self, chosen: np.ndarray) -> np.ndarray:
        """The left half of ``(68,)`` vertices from the right one."""
        skin = np.flatnonzero(self.skin)
        right = np.flatnonzero(np.arange(68) < MIRROR)
        out = chosen.copy()
        out[MIRROR[right]] = skin[cKDTree(self.mean[skin]).query(self.mean[chosen[right]] * [-1, 1, 1])[1]]
        return out

    def by_miss(self, chosen: np.ndarray, face: np.ndarray, miss: np.ndarray, farther: float) -> np.ndarray:
        """Vertices nearest to the landmarks' places on ``face`` plus ``miss``, millimetres; the jaw's stay."""
        out = chosen.copy()
        for i in range(BY_POSE, 68):
            if i > MIRROR[i]:
                continue
            target, first = face[chosen[i]] + farther * miss[i], self.first[i]
            fits = self.skin & (self.normals @ self.normals[first] > AGREES)
            fits &= np.linalg.norm(self.mean - self.mean[first], axis=1) < NEAR
            if i == MIRROR[i]:
                fits &= np.abs(self.mean[:, 0]) < 1.0  # mm: on the midline
            fits[np.delete(out, i)] = False
            distance = np.where(fits, np.linalg.norm(face - target, axis=1), np.inf)
            if distance.min() < farther * np.linalg.norm(miss[i]) - GAIN:
                out[i] = distance.argmin()
        return self.mirrored(out)

    def by_pose(self, chosen: np.ndarray, rigid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Jaw vertices at the depth and height of ``rigid`` ``(68, 3)``, and ``(BY_POSE, 3)`` mm how far these were."""
        at = self.mean[chosen]
        ratio = (at[BROWS, 1].mean() - at[CHIN, 1]) / (rigid[BROWS, 1].mean() - rigid[CHIN, 1])
        height = at[CHIN, 1] + ratio * (rigid[:BY_POSE, 1] - rigid[CHIN, 1])
        depth = at[NOSE_TIP, 2] + ratio * (rigid[:BY_POSE, 2] - rigid[NOSE_TIP, 2])
        side = self.skin & (self.mean[:, 0] < 0) & (self.normals[:, 0] < -SIDEWAYS)
        out = chosen.copy()
        for i in range(BY_POSE):
            distance = np.hypot(self.mean[:, 1] - height[i], self.mean[:, 2] - depth[i])
            out[i] = np.where(side, distance, np.inf).argmin()
        missed = np.stack([np.zeros(BY_POSE), height - at[:BY_POSE, 1], depth - at[:BY_POSE, 2]], axis=1)
        return self.mirrored(out), missed


def with_landmarks(model: MorphableModel, chosen: np.ndarray) -> MorphableModel:
    """The model with these vertices for ibug68, and no other scheme."""
    lines = contour_lines(model.mean, model.normals, chosen, SCHEME.contour, int(chosen[NOSE_TIP]))
    return replace(model, landmarks={"ibug68": chosen.astype(np.int32)}, contours={"ibug68": lines})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("poses", type=Path)
    parser.add_argument("model", help="name or file")
    parser.add_argument("--move", type=Path, metavar="FILE", help="write a mapping of the new vertices")
    parser.add_argument("--faces", type=int, default=3000, help="fitted, evenly spread; the jaw takes all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with threadpool_limits(1):
        measure(options)


def measure(options: argparse.Namespace) -> None:
    model, everything = find_model(options.model), read_labels(options.labels, options.poses)
    count = min(options.faces, len(everything.names))
    labels = everything.take(np.linspace(0, len(everything.names) - 1, count).astype(int))
    mover = Mover(model)
    rigid = rigid_mean(mover.mean[mover.first], everything)
    miss, face, residual = misses(model, labels)
    miss *= mover.unit
    first, chosen, residuals = miss.copy(), mover.first, [residual]
    first[:BY_POSE] = mover.by_pose(chosen, rigid)[1]
    for round_ in range(ROUNDS):
        chosen = mover.by_miss(chosen, face * mover.unit, miss, FARTHER if round_ < ROUNDS - 1 else 1.0)
        chosen = mover.by_pose(chosen, rigid)[0]
        miss, face, residual = misses(with_landmarks(model, chosen), labels)
        miss *= mover.unit
        residuals.append(residual)
    moved = np.linalg.norm(mover.mean[chosen] - mover.mean[mover.first], axis=1)
    print(f"{count} faces; median residual by round, %: {', '.join(f'{r:.3f}' for r in residuals)}\n")
    print("| landmark | old vertex | miss mm | new vertex | moved mm | miss then mm |")
    print("|---------:|-----------:|--------:|-----------:|---------:|-------------:|")
    length, after = np.linalg.norm(first, axis=1), np.linalg.norm(miss, axis=1)
    for i in np.flatnonzero(np.arange(68) <= MIRROR):
        print(
            f"| {i:8} | {mover.first[i]:10} | {length[i]:7.1f} | {chosen[i]:10} | {moved[i]:8.1f} | {after[i]:12.1f} |"
        )
    if options.move:
        rows = "\n".join(f"{i} = {vertex}" for i, vertex in enumerate(chosen))
        options.move.write_text(f"[ibug68]\n{rows}\n", encoding="utf-8")
    if options.json:
        table = {"old": mover.first.tolist(), "new": chosen.tolist(), "miss": first.tolist(), "moved": moved.tolist()}
        options.json.write_text(json.dumps({"residuals": residuals, **table}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
