"""Where annotators put ibug68's landmarks on a model, and the vertices there.

    python benchmarks/landmarks.py MERL_RAV AFLW_FACES.csv MODEL [--move FILE.toml] [--faces N] [--json FILE]

**Inner points and chin.** Labels are fitted; what a point misses on average, seen from all sides, is a place in the
head's frame: with T the camera's two rows without its scale, T d ≈ (label − fitted)/scale is solved for d over all
faces. The vertex nearest to there, on the mean of the fitted faces, whose normal agrees takes the landmark's place. A
fit gives way to a misplaced vertex and hides a part of the miss, so this goes on for some rounds, each going farther.

**Jaw.** How far back it lies no such fit can tell: it stretches the face and turns it less instead. With AFLW's poses
given, the mean 68 points follow from the labels as those of a rigid body: scales and shifts, and points, are solved
for in turn. Only ratios of it are taken over: a jaw point's depth behind the nose's tip and height above the chin, as
shares of the height from chin to brows. The vertex there, of skin that looks sideways, becomes the landmark.

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

MIRROR = get_scheme("ibug68").mirror
CHIN, BROWS = 8, slice(17, 27)
RIGHT = np.flatnonzero(np.arange(68) <= MIRROR)
BY_POSE = 7
"""The first jaw point that poses do not place: where the edge turns under the chin, no skin looks sideways."""
MILLIMETRES = {"micrometre": 1e-3, "millimetre": 1.0, "centimetre": 10.0, "metre": 1000.0}

ROUNDS, FARTHER, FAR, STABLE = 4, 1.3, np.radians(5.0), np.radians(40.0)
"""Rounds of fitting and moving; how many times the miss that it sees each goes; yaw from which the far side's jaw lies
on the cheek; pitch up to which faces count, since beyond much is guessed."""
WILD, WILD_RIGID, BELIEF = 3.0, 6.0, 5.0
"""mm at which a residual's weight halves, of fits and of the rigid mean; faces' worth of weight that a landmark stays
where it is, since what is seen from one side only has no depth."""
AGREES, NEAR, GAIN = 0.3, 9.0, 0.3
"""Least cosine between the normals of old and new vertex; mm that they may be apart; mm that a move must gain."""
SIDEWAYS, BACK, INWARD = 0.3, 0.3, 0.1
"""Least share of x in a jaw vertex's normal, and most to the back, as of ears' folds; mm off the place that 1 mm
farther out makes up for, since of several sheets of skin the outer one is meant."""
RIGID_ROUNDS, BIN, MOST = 25, np.radians(15.0), 5.0
"""Rounds of the rigid estimate; bins of yaw that weigh the same, but no face more than ``MOST`` times the mean."""


def misses(model: MorphableModel, labels: Labels) -> tuple[np.ndarray, np.ndarray, float]:
    """How far labels lie from their vertices ``(68, 3)`` mm, the faces' mean ``(V, 3)`` mm, and the residual in %."""
    unit = MILLIMETRES[model.units]
    fits = LandmarkFitter(model, "ibug68").fit(labels.points, labels.visibility, "2d")
    cameras = fits.cameras
    scale = decompose(cameras)[0][:, None, None] / unit  # pixels a mm
    yaw, pitch, _ = pose_angles(cameras).T
    usable = fits.converged & fits.plausible & (np.abs(pitch) < STABLE)
    kept = (labels.visibility == 2) & near_side(yaw) & usable[:, None]
    away = np.where(kept[..., None], (labels.points - fits.landmarks) / scale, 0.0)
    place = solve(cameras[..., :3] / scale / unit, kept / (1 + (away**2).sum(2) / WILD**2), away, BELIEF)
    return place, model.vertices(fits.params[:, 8:].mean(0)) * unit, float(np.median(fits.nme))


def near_side(yaw: np.ndarray) -> np.ndarray:
    """``(F, 68)`` bool: false where a jaw label lies on the far side, and marches."""
    far = np.zeros((len(yaw), 68), bool)
    far[yaw > FAR, :CHIN], far[yaw < -FAR, CHIN + 1 : 17] = True, True
    return ~far


def solve(turns: np.ndarray, weight: np.ndarray, seen: np.ndarray, belief: float) -> np.ndarray:
    """``(68, 3)`` symmetric places d with ``turns`` d ≈ ``seen``, least squares; ``belief`` faces say d = 0."""
    normal = np.einsum("fl,fij,fik->ljk", weight, turns, turns, optimize=True) + belief * np.eye(3)
    right = np.einsum("fl,fij,fli->lj", weight, turns, seen, optimize=True)
    places = np.linalg.solve(normal, right[..., None])[..., 0]
    return (places + places[MIRROR] * [-1, 1, 1]) / 2


def rigid_mean(start: np.ndarray, labels: Labels) -> np.ndarray:
    """``(68, 3)`` mm: the mean of the labels as a rigid body in AFLW's poses, laid over ``start``."""
    labels = labels.take(np.flatnonzero(np.isfinite(labels.poses).all(1)))
    yaw = labels.poses[:, 0]
    seen = near_side(yaw) * np.choose(labels.visibility, [0.0, 0.25, 1.0])
    balance = 1 / np.bincount(cell := np.digitize(yaw, np.arange(-np.pi, np.pi, BIN)))[cell]
    balance = np.minimum(balance / balance.mean(), MOST)[:, None]
    turns = rotation(*labels.poses.T)[:, :2] * np.array([[1.0], [-1.0]])
    count = seen.sum(1)[:, None]
    u, points = labels.points - np.einsum("fl,flc->fc", seen / count, labels.points)[:, None], start
    for _ in range(RIGID_ROUNDS):
        flat = points @ np.swapaxes(turns, 1, 2)
        middle = np.einsum("fl,flc->fc", seen / count, flat)[:, None]
        off = seen[..., None] * (flat - middle)
        target = u * (((flat - middle) * off).sum((1, 2)) / (u * off).sum((1, 2)))[:, None, None] + middle
        weight = seen * balance / (1 + ((target - flat) ** 2).sum(2) / WILD_RIGID**2)
        points = solve(turns, weight, target, 0.0)
    # AFLW's zero of pitch is its own; the jaw of ``start`` is in doubt.
    size, turn, shift = _similarity(points[17:], start[17:])
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
        skin, pairs, out = np.flatnonzero(self.skin), RIGHT[MIRROR[RIGHT] > RIGHT], chosen.copy()
        out[MIRROR[pairs]] = skin[cKDTree(self.mean[skin]).query(self.mean[chosen[pairs]] * [-1, 1, 1])[1]]
        return out

    def by_miss(self, chosen: np.ndarray, face: np.ndarray, miss: np.ndarray, farther: float) -> np.ndarray:
        """Vertices nearest to the landmarks' places on ``face`` plus ``miss``, millimetres; the jaw's stay."""
        out = chosen.copy()
        for i in RIGHT[RIGHT >= BY_POSE]:
            first = self.first[i]
            fits = self.skin & (self.normals @ self.normals[first] > AGREES)
            fits &= np.linalg.norm(self.mean - self.mean[first], axis=1) < NEAR
            fits &= (i != MIRROR[i]) | (np.abs(self.mean[:, 0]) < 1.0)  # the middle's stay there
            fits[np.delete(out, i)] = False
            distance = np.where(fits, np.linalg.norm(face - face[chosen[i]] - farther * miss[i], axis=1), np.inf)
            if distance.min() < farther * np.linalg.norm(miss[i]) - GAIN:
                out[i] = distance.argmin()
        return self.mirrored(out)

    def by_pose(self, chosen: np.ndarray, rigid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Jaw vertices at the depth and height of ``rigid`` ``(68, 3)``, and ``(BY_POSE, 3)`` mm how far they were."""
        at = self.mean[chosen]
        ratio = (at[BROWS, 1].mean() - at[CHIN, 1]) / (rigid[BROWS, 1].mean() - rigid[CHIN, 1])
        height = at[CHIN, 1] + ratio * (rigid[:BY_POSE, 1] - rigid[CHIN, 1])
        depth = at[NOSE_TIP, 2] + ratio * (rigid[:BY_POSE, 2] - rigid[NOSE_TIP, 2])
        side = self.skin & (self.mean[:, 0] < 0) & (self.normals[:, 0] < -SIDEWAYS) & (self.normals[:, 2] > -BACK)
        target = np.stack([height, depth], axis=1)
        distance = np.linalg.norm(self.mean[:, 1:] - target[:, None], axis=2) + INWARD * self.mean[:, 0]
        out = np.r_[np.where(side, distance, np.inf).argmin(1), chosen[BY_POSE:]]
        return self.mirrored(out), np.pad(target - at[:BY_POSE, 1:], ((0, 0), (1, 0)))


def with_landmarks(model: MorphableModel, chosen: np.ndarray) -> MorphableModel:
    lines = contour_lines(model.mean, model.normals, chosen, tuple(range(17)), int(chosen[NOSE_TIP]))
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
    model, everything = find_model(options.model), read_labels(options.labels, options.poses)
    mover, last = Mover(model), len(everything.names) - 1
    labels = everything.take(np.unique(np.linspace(0, last, options.faces).astype(int)))
    rigid = rigid_mean(mover.mean[mover.first], everything)
    miss, face, residual = misses(model, labels)
    first, chosen, residuals = miss.copy(), mover.first, [residual]
    first[:BY_POSE] = mover.by_pose(chosen, rigid)[1]
    for round_ in range(ROUNDS):
        chosen = mover.by_miss(chosen, face, miss, FARTHER if round_ < ROUNDS - 1 else 1.0)
        chosen = mover.by_pose(chosen, rigid)[0]
        miss, face, residual = misses(with_landmarks(model, chosen), labels)
        residuals.append(residual)
    moved = np.linalg.norm(mover.mean[chosen] - mover.mean[mover.first], axis=1)
    print(f"{len(labels.names)} faces; median residual by round, %: {', '.join(f'{r:.3f}' for r in residuals)}\n")
    print("| landmark | old vertex | miss mm | new vertex | moved mm |")
    print("|---------:|-----------:|--------:|-----------:|---------:|")
    length = np.linalg.norm(first, axis=1)
    for i in RIGHT:
        print(f"| {i:8} | {mover.first[i]:10} | {length[i]:7.1f} | {chosen[i]:10} | {moved[i]:8.1f} |")
    if options.move:
        rows = [f"{i} = {vertex}" for i, vertex in enumerate(chosen)]
        options.move.write_text("\n".join(["[ibug68]", *rows, ""]), encoding="utf-8")
    if options.json:
        arrays = {"old": mover.first, "new": chosen, "miss": first, "moved": moved, "residuals": np.array(residuals)}
        table = {name: array.tolist() for name, array in arrays.items()}
        options.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
