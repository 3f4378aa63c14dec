"""Face profiling: a fitted face turned to larger yaw, the image its texture, the surroundings bent around it.

After Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016, section 4: the image becomes a surface
in space (the fitted head, and anchors around it), the surface is turned, and what is seen of it is drawn.

1. *The head as the image shows it.* Each vertex has its place in the image, or, where the image does not show it, one
   that stands for it: behind the outline the picture beside it, elsewhere (behind the nose, in the ear) the mean place
   of the neighbours.
2. *The turn.* Yaw alone changes, about the head's vertical axis; scale, pitch, roll and p stay, so the new P is exact
   and with it every landmark.
3. *Drawing.* A z-buffer gives each pixel of the new picture the place in the image that it shows, and one ``cv2.remap``
   fetches them all. The head goes before its surroundings; these are drawn at half the resolution, as they are blurred
   by what is done to them anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pifa_data.boxes import Square, box_size, square_of, tight_box
from pifa_data.camera import camera, crop_camera, decompose, pose_angles, rotation
from pifa_data.errors import PifaError
from pifa_data.fitting import silhouette
from pifa_data.images import CropSource
from pifa_data.morphable.model import MorphableModel
from pifa_data.morphable.points import contour_of, landmark_vertices
from pifa_data.profiling.mesh import HeadMesh
from pifa_data.profiling.outline import Outline, ring_triangles, stillness
from pifa_data.profiling.raster import Raster, rasterise
from pifa_data.profiling.seen import HIDDEN, farthest, visible_landmarks
from pifa_data.schemes import get_scheme, leading_scheme

LARGEST_YAW = np.pi / 2

GROW, SIZE = 2.2, 224
"""Side of the turned picture, in √(w·h) of the face's box and in pixels: a crop of 1.4 and its jitter, which has 143
pixels for its 114."""

AXIS = 0.19
"""Where the axis of the turn stands, from the ears to the nose tip: in the middle between nose and back of the head, so
that the head stays within its surroundings."""

BORDER = 1.3
"""Half the side of the square beyond which nothing moves, over √(w·h) of the tight box; less where the image ends."""

WHOLE_HEAD = 2.6
"""Side of a square that has all of the head, over √(w·h) of the tight box."""

DEEPEST = 0.7
"""How far the surroundings recede, over √(w·h) of the tight box: from the ears to the back of a head."""

SHOWN = 0.02
"""Share of √(w·h) by which skin may lie behind what a pixel shows and count as shown itself."""


@dataclass(frozen=True)
class TurnedFace:
    """A face turned to larger yaw.

    Attributes:
        image: ``(S, S, 3)`` uint8 RGB.
        square: the square around the turned face that ``image`` shows, in the pixels of the image it was made from.
        yaw: radians.
        params: ``(8 + K,)`` float64, M in pixels of ``image``, then p.
        landmarks: ``(L, 2)`` float64, f(P) for the face's landmark kind.
        visibility: ``(L,)`` uint8: 2 visible, 1 hidden by the head itself.
        box: ``(4,)`` float64, the tight box around the landmarks (a union's: of its first scheme), or what stands to it
            as the face's own box does to the face.
    """

    image: np.ndarray
    square: Square
    yaw: float
    params: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    box: np.ndarray


@dataclass(frozen=True)
class _View:
    """A head before a camera.

    Attributes:
        frame: ``(3, 4)`` model units to the picture's space: M, and below it the depth in pixels, larger is farther.
        skin: ``(N, 3)`` the vertices there.
        facing: ``(T,)`` bool, triangles that face the camera.
        landmarks: ``(L,)`` vertex of each landmark.
        box: ``(4,)`` tight box around them (a union's: around those of its first scheme), pixels.
    """

    frame: np.ndarray
    skin: np.ndarray
    facing: np.ndarray
    landmarks: np.ndarray
    box: np.ndarray


class FaceTurner:
    """Everything about one model and scheme that all faces share."""

    def __init__(self, model: MorphableModel, scheme: str, *, grow: float = GROW, size: int = SIZE) -> None:
        """Prepare the mesh.

        Args:
            grow: side of a turned picture over √(w·h) of the turned face's box.
            size: the same, pixels.

        Raises:
            MorphableError: the model has no vertices for the scheme.
        """
        self.grow, self.size = grow, size
        self._boxed = slice(len(get_scheme(leading_scheme(scheme))))
        self._fixed = landmark_vertices(model, scheme)
        self._contour = contour_of(model, scheme)
        self._mesh = HeadMesh(model)
        self._ears = float(model.mean[landmark_vertices(model, "ibug68")[[0, 16]], 2].mean())
        self._axis = np.array([0.0, 0.0, self._ears + AXIS * (float(model.mean[model.nose_tip, 2]) - self._ears)])
        self._rings = ring_triangles()

    def turn(
        self, image: np.ndarray, params: np.ndarray, kind: str, yaws: Sequence[float], box: np.ndarray | None = None
    ) -> list[TurnedFace]:
        """The face at each of ``yaws``.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            params: ``(8 + K,)`` the face's fit, M in image pixels.
            kind: ``2d`` (jaw landmarks lie on the silhouette) or ``3d``.
            yaws: radians, each at least as far from frontal as the face is, to either side, and at most 90°.
            box: ``(4,)`` the face's own box in the image, if the tight one is not meant.

        Raises:
            PifaError: a yaw out of this range.
        """
        params = np.asarray(params, dtype=np.float64)
        m = params[:8].reshape(2, 4)
        own = abs(float(pose_angles(m)[0]))
        for yaw in yaws:
            if not own - 1e-6 <= abs(yaw) <= LARGEST_YAW + 1e-6:
                raise PifaError(
                    f"expected a yaw between the face's own, {np.degrees(own):.1f}°, and 90° to either "
                    f"side, found {np.degrees(yaw):.1f}°: nothing that the image does not show can be turned into view"
                )
        vertices = self._mesh.vertices(params[8:])
        source = self._look(vertices, m, kind)
        size = float(box_size(source.box))
        seen = self._seen(source)
        outline = Outline.of(source.skin[seen], (source.box[:2] + source.box[2:]) / 2)
        places = self._places(source, seen, outline, vertices)
        low, high = outline.centre - BORDER * size, outline.centre + BORDER * size
        corner = np.array([image.shape[1], image.shape[0]]) - 0.5
        anchors = outline.anchors(np.maximum(low, -0.5), np.minimum(high, corner), DEEPEST * size)

        turned = []
        for yaw in yaws:
            view = self._look(vertices, self._turned(m, yaw), kind)
            carried = view.box if box is None else _carried(box, source.box, view.box)
            square = square_of(carried, self.grow, self.size)
            head = self._draw(view, square)
            shown = self._surroundings(anchors, source, view, square, corner)
            covered = head.triangle >= 0
            shown[covered] = np.clip(head.interpolate(places, self._mesh.triangles), -0.5, corner)
            turned.append(
                TurnedFace(
                    image=CropSource(image, square).sample(shown),
                    square=square,
                    yaw=yaw,
                    params=np.concatenate([crop_camera(view.frame[:2], square).ravel(), params[8:]]),
                    landmarks=square.to_crop(view.skin[view.landmarks, :2]),
                    visibility=visible_landmarks(
                        square.to_crop(view.skin[view.landmarks, :2]),
                        view.skin[view.landmarks, 2],
                        view.landmarks != self._fixed,
                        head.depth,
                        HIDDEN * size,
                    ),
                    box=square.to_crop(carried.reshape(2, 2)).ravel(),
                )
            )
        return turned

    def mirrored(self, params_mirrored: np.ndarray, turned: TurnedFace) -> np.ndarray:
        """P of a turned face flipped left to right, from the fit of the mirrored labels, which is turned likewise.

        That matches the flipped landmarks exactly where the model is its own mirror image. A fit of the flipped
        landmarks would be another one: of 120 ytf68 faces at 60° its yaw was off by 1° in the median, 5° at most.

        Args:
            params_mirrored: ``(8 + K,)`` that fit, in the frame where the face's image is flipped about x = 0.

        Returns:
            ``(8 + K,)`` float64, in the frame where the turned picture is flipped about x = 0.
        """
        m = self._turned(params_mirrored[:8].reshape(2, 4), -turned.yaw)
        square = turned.square
        m = crop_camera(m, replace(square, x=-square.x))
        m[0, 3] -= square.size - 1  # the flip of a picture about its middle is one about 0, and this shift
        return np.concatenate([m.ravel(), params_mirrored[8:]])

    def _turned(self, m: np.ndarray, yaw: float) -> np.ndarray:
        """M of the head turned about its axis."""
        scale, _, translation = decompose(m)
        angles = pose_angles(m)
        turned = camera(scale, rotation(yaw, angles[1], angles[2]), translation)
        turned[:, 3] += (m - turned)[:, :3] @ self._axis
        return turned

    def _look(self, vertices: np.ndarray, m: np.ndarray, kind: str) -> _View:
        scale, turn, _ = decompose(m)
        frame = np.vstack([m, np.append(-scale * turn[2], 0.0)])
        skin = vertices @ frame[:, :3].T + frame[:, 3]
        x, y = (skin[:, axis][self._mesh.triangles.T] for axis in (0, 1))
        # Counter-clockwise seen from outside is clockwise with y down.
        facing = (x[1] - x[0]) * (y[2] - y[0]) < (x[2] - x[0]) * (y[1] - y[0])
        landmarks = self._fixed.copy()
        if kind == "2d" and self._contour is not None:
            lines = self._contour.vertices
            at = silhouette(skin[lines, :2][None], m[None], self._contour.side)[0]
            landmarks[self._contour.points] = lines[np.arange(len(at)), at]
        boxed = skin[landmarks[self._boxed], :2]
        return _View(frame, skin, facing, landmarks, tight_box(boxed, np.ones(len(boxed))))

    def _draw(self, view: _View, square: Square) -> Raster:
        """The head in a picture, its triangles numbered as the mesh has them."""
        facing = np.flatnonzero(view.facing)
        points = square.to_crop(view.skin[:, :2])
        head = rasterise(points, view.skin[:, 2], self._mesh.triangles[facing], (square.size, square.size))
        return replace(head, triangle=np.where(head.triangle < 0, -1, facing[head.triangle]))

    def _seen(self, view: _View) -> np.ndarray:
        """``(N,)`` bool: vertices that the picture shows."""
        square = square_of(view.box, WHOLE_HEAD, self.size // 2)
        near = farthest(self._draw(view, square).depth, 1)
        column, row = np.clip(np.round(square.to_crop(view.skin[:, :2])), 0, square.size - 1).astype(np.int64).T
        towards = self._towards(view)
        return towards & (view.skin[:, 2] <= near[row, column] + SHOWN * box_size(view.box))

    def _towards(self, view: _View) -> np.ndarray:
        """``(N,)`` bool: vertices of a triangle that faces the camera."""
        towards = np.zeros(len(view.skin), bool)
        towards[self._mesh.triangles[view.facing]] = True
        return towards

    def _places(self, source: _View, seen: np.ndarray, outline: Outline, vertices: np.ndarray) -> np.ndarray:
        """``(N, 2)`` image pixels: where the image shows each vertex, or what stands for it."""
        places = source.skin[:, :2].copy()
        back = ~self._towards(source) & (vertices[:, 2] < self._ears)
        places[back] = outline.beside(source.skin[back])
        # What is left lies behind something: ring by ring, from what is known around it.
        known = seen | back
        hidden = np.flatnonzero(~known)
        around = self._mesh.neighbours[hidden]
        while True:
            count = around @ known.astype(np.float64)
            found = (count > 0) & ~known[hidden]
            if not found.any():
                return places
            places[hidden[found]] = (around @ (places * known[:, None]))[found] / count[found, None]
            known[hidden[found]] = True

    def _surroundings(
        self, anchors: np.ndarray, source: _View, view: _View, square: Square, corner: np.ndarray
    ) -> np.ndarray:
        """``(S, S, 2)`` image pixels: what each pixel shows where the head is not.

        Args:
            anchors: of the source view.
            corner: ``(2,)`` the image's lower right edge.
        """
        still = stillness()[:, None]
        back = np.linalg.inv(source.frame[:, :3])
        turned = (anchors - source.frame[:, 3]) @ back.T @ view.frame[:, :3].T + view.frame[:, 3]
        moved = (1 - still) * turned + still * anchors
        middle = np.append(view.frame[:2, :3] @ self._axis + view.frame[:2, 3], moved[..., 2].max() + 1)
        moved = np.concatenate([np.broadcast_to(middle, (len(moved), 1, 3)), moved], axis=1).reshape(-1, 3)
        places = np.concatenate([anchors[:, :1], anchors], axis=1).reshape(-1, 3)[:, :2]

        half = replace(square, size=-(-square.size // 2))
        drawn = rasterise(half.to_crop(moved[:, :2]), moved[:, 2], self._rings, (half.size, half.size))
        covered = drawn.triangle >= 0
        shown = half.to_image(np.stack(np.meshgrid(np.arange(half.size), np.arange(half.size)), axis=-1))
        shown[covered] = np.clip(drawn.interpolate(places, self._rings), -0.5, corner)
        return cv2.resize(shown, (square.size, square.size), interpolation=cv2.INTER_LINEAR)


def _carried(box: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """A box that stands to the box ``after`` as ``box`` does to ``before``: ``(4,)``."""
    scale = (after[2:] - after[:2]) / (before[2:] - before[:2])
    return (after[:2] + (box.reshape(2, 2) - before[:2]) * scale).ravel()
