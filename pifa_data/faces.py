"""One labelled face, as every reader gives it, and the checks that every face passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

LARGEST_COORDINATE = 1e6
"""Pixels. No image decodes to more; a label beyond it is damage, and its square would spoil float32."""

FEWEST_POINTS = 6
"""Labelled points, at places of their own, below which camera and shape can't be told apart."""

SMALLEST_SIZE = 1e-6
"""Distance from the middle to the farthest point, as a share of the largest coordinate: nearer, float32 can hardly tell
the points apart. A share and not pixels, so that labels in units of one's own can be fitted."""


@dataclass(frozen=True, init=False)
class Face:
    """One labelled face.

    Attributes:
        id: unique and stable within its source; names the face in reports and seeds its random numbers.
        file: path of the image (see ``image``).
        landmarks: ``(L, 2)`` float64, image pixels, the centre of the top-left pixel is (0, 0).
        visibility: ``(L,)`` uint8, COCO's: 0 not labelled, 1 labelled but occluded, 2 labelled and visible.
        scheme: name of the landmark scheme.
        kind: ``2d`` (jaw labels lie on the visible silhouette) or ``3d`` (each is one place on the head).
        box: ``(4,)`` float64, the data set's own face box ``x0, y0, x1, y1`` in pixels, or None.
        subject: who it is; faces of one subject never stand on both sides of a split.
        split: the data set's own split.
        subsets: names of the data set's other parts that the face belongs to, as ``("challenging", "full")``.
        pose: ``(3,)`` float64, the data set's own yaw, pitch and roll in radians, or None.
        image_size: width and height of the image as the annotation has them, pixels, or None.
    """

    id: str
    file: str
    landmarks: np.ndarray
    visibility: np.ndarray
    scheme: str
    kind: str
    box: np.ndarray | None = None
    subject: str = ""
    split: str = ""
    subsets: tuple[str, ...] = ()
    pose: np.ndarray | None = None
    image_size: tuple[int, int] | None = None

    def __init__(
        self,
        id: str,
        file: str,
        landmarks: np.ndarray,
        visibility: np.ndarray,
        scheme: str,
        kind: str,
        box: np.ndarray | None = None,
        subject: str = "",
        split: str = "",
        subsets: tuple[str, ...] = (),
        pose: np.ndarray | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        # The generated __init__ of a frozen class sets each field by object.__setattr__: 4 µs a face against 0.7, which
        # is half of what reading a face may cost.
        self.__dict__.update(
            id=id,
            file=file,
            landmarks=landmarks,
            visibility=visibility,
            scheme=scheme,
            kind=kind,
            box=box,
            subject=subject,
            split=split,
            subsets=subsets,
            pose=pose,
            image_size=image_size,
        )

    @property
    def image(self) -> Path:
        """Path of the image; made when asked for, as it costs as much as the rest of a face."""
        return Path(self.file)

    def belongs_to(self, name: str) -> bool:
        """Whether ``name`` is the face's split or one of its subsets."""
        return name == self.split or name in self.subsets


@dataclass(frozen=True)
class Skipped:
    """A face that can't be used, and why."""

    id: str
    reason: str


def refusal(landmarks: np.ndarray, visibility: np.ndarray) -> str | None:
    """Why no camera and shape can be fitted to one face's labels; None if they can.

    Args:
        landmarks: ``(L, 2)`` image pixels; rows of visibility 0 are ignored, whatever they hold.
        visibility: ``(L,)`` uint8, 0 not labelled, 1 occluded, 2 visible.

    Returns:
        One clause for a report, as "expected at least 6 labelled points, found 3": too few points, NaN, absurd
        coordinates, all points on one line, or a face of zero size.
    """
    points = np.asarray(landmarks[visibility > 0], dtype=np.float64)
    if len(points) < FEWEST_POINTS:
        return f"expected at least {FEWEST_POINTS} labelled points, found {len(points)}"
    absurd = _absurd(points)
    if absurd is not None:
        return absurd
    largest = np.abs(points).max()
    away = points - points.mean(0)
    if np.abs(away).max() <= SMALLEST_SIZE * largest:
        return "all landmarks lie on one point (a face of zero area)"
    # Eigenvalues a ≥ b of the scatter tell a cloud from a line whichever way it lies: det / trace² = ab / (a + b)²,
    # 10⁻⁶ where the cloud is a thousand times as long as wide.
    (xx, xy), (_, yy) = away.T @ away
    if xx * yy - xy * xy < 1e-6 * (xx + yy) ** 2:
        return "all landmarks lie on one line (a face of zero area, or one landmark far from all others)"
    places = len(set(points.view(np.complex128).ravel().tolist()))
    if places < FEWEST_POINTS:
        return f"expected landmarks at {FEWEST_POINTS} different places at least, found {places}"
    return None


def unreadable(face: Face) -> str | None:
    """Why one face's labels say nothing at all, fitted or not; None if they can be used.

    Returns:
        One clause for a report: no labelled point, NaN, absurd coordinates, or a face box without area.
    """
    points = np.asarray(face.landmarks[face.visibility > 0], dtype=np.float64)
    if not len(points):
        return "no labelled point"
    return _absurd(points) or _bad_box(face.box)


def _absurd(points: np.ndarray) -> str | None:
    largest = np.abs(points).max()  # NaN if one is
    if not np.isfinite(largest):
        return "landmarks are not finite numbers"
    if largest > LARGEST_COORDINATE:
        return f"a landmark lies more than {LARGEST_COORDINATE:.0f} pixels out"
    return None


def _bad_box(box: np.ndarray | None) -> str | None:
    if box is None:
        return None
    x0, y0, x1, y1 = box.tolist()
    sound = x1 > x0 and y1 > y0 and max(map(abs, (x0, y0, x1, y1))) <= LARGEST_COORDINATE  # false for NaN
    return None if sound else "the face box has no area, or lies far away"


def check_faces(faces: list[Face], *, fittable: bool = True) -> list[str | None]:
    """The reason why a face can't be used, or None, for each of ``faces``, which are checked a block at a time.

    Args:
        fittable: whether their labels have to be enough for a fit (see ``refusal``), or to be measured at least (see
            ``unreadable``).
    """
    good = np.zeros(len(faces), bool)
    counts: dict[int, list[int]] = {}
    for i, face in enumerate(faces):
        counts.setdefault(len(face.landmarks), []).append(i)
    for rows in counts.values():
        points = np.concatenate([faces[i].landmarks for i in rows]).reshape(len(rows), -1, 2)
        first = faces[rows[0]].visibility
        if all(faces[i].visibility is first for i in rows):  # as readers of sets without hidden points share one
            visibility = np.broadcast_to(first, (len(rows), len(first)))
        else:
            visibility = np.concatenate([faces[i].visibility for i in rows]).reshape(len(rows), -1)
        good[rows] = _sound(points, visibility)
    reasons: list[str | None] = []
    for face, sound in zip(faces, good.tolist(), strict=True):
        if sound:
            reasons.append(_bad_box(face.box))
        elif fittable:
            reasons.append(refusal(face.landmarks, face.visibility) or unreadable(face))
        else:
            reasons.append(unreadable(face))
    return reasons


def _sound(points: np.ndarray, visibility: np.ndarray) -> np.ndarray:
    """``(F,)`` bool: labels that ``refusal`` surely accepts, of ``(F, L, 2)`` and ``(F, L)``; says no if unsure."""
    seen = visibility > 0
    x, y = np.ascontiguousarray(points[..., 0]), np.ascontiguousarray(points[..., 1])
    weight = seen.astype(np.float64)
    count = weight.sum(1)
    if not seen.all():
        # A point that is not labelled takes the place of one that is: it changes neither extent nor line.
        first = seen.argmax(1)[:, None]
        x = np.where(seen, x, np.take_along_axis(x, first, 1))
        y = np.where(seen, y, np.take_along_axis(y, first, 1))
    with np.errstate(invalid="ignore", over="ignore"):
        largest = np.maximum(np.maximum(x.max(1), -x.min(1)), np.maximum(y.max(1), -y.min(1)))  # NaN if one is
        dx, dy = (v - (np.einsum("fl,fl->f", weight, v) / np.maximum(count, 1))[:, None] for v in (x, y))
        xx, xy, yy = (np.einsum("fl,fl,fl->f", weight, a, b) for a, b in ((dx, dx), (dx, dy), (dy, dy)))
        away = np.maximum(np.abs(dx).max(1), np.abs(dy).max(1))
        # Twelve points spread over the scheme tell enough places apart, or leave it to the exact count.
        step = max(1, x.shape[1] // (2 * FEWEST_POINTS))
        keys = np.sort(x[:, ::step] + 0.7548776662466927 * y[:, ::step], axis=1)
        places = 1 + (np.diff(keys, axis=1) > 0).sum(1)
        return (
            (count >= FEWEST_POINTS)
            & (largest <= LARGEST_COORDINATE)
            & (away > 2 * SMALLEST_SIZE * largest)
            & (xx * yy - xy * xy > 1.01e-6 * (xx + yy) ** 2)
            & (places >= FEWEST_POINTS)
        )
