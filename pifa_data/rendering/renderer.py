"""Photographs of faces that do not exist, with exact labels: a morphable model, painted, lit and drawn.

    from pifa_data.morphable import load_builtin
    from pifa_data.rendering import FaceRenderer

    renderer = FaceRenderer(load_builtin())
    person = renderer.person(seed=0, number=7)
    face = renderer.photograph(person, seed=0, number=7, picture=0)
    face.image, face.landmarks, face.visibility, face.params

A picture depends on (seed, number, picture) and the size alone. Landmarks come from P by the code that the fit uses, so
jaw points of kind ``2d`` lie on the silhouette; what is hidden is read from the depth buffer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from pifa_data.boxes import box_size, tight_box
from pifa_data.camera import camera, rotation
from pifa_data.fitting import silhouette
from pifa_data.morphable.model import MorphableModel
from pifa_data.morphable.points import contour_of
from pifa_data.profiling.raster import Raster, rasterise
from pifa_data.profiling.seen import HIDDEN, visible_landmarks
from pifa_data.rendering.atlas import EYE
from pifa_data.rendering.bust import Addition, Bust, unit_normals
from pifa_data.rendering.hair import HairStyle, make_body, make_hair
from pifa_data.rendering.lens import photograph
from pifa_data.rendering.light import Light
from pifa_data.rendering.looks import Looks
from pifa_data.rendering.skin import paint
from pifa_data.rendering.surroundings import draw_background, draw_occluders

SIZE = 200
"""Side of a picture, pixels."""

SPAN = (1.9, 2.5)
"""Side of a picture over √(w·h) of the face's tight box: a crop of 1.4 and its jitter lie inside."""

LARGEST_YAW, PITCH, ROLL = 90.0, 11.0, 10.0
"""Degrees: yaw is even within, pitch and roll have these standard deviations."""

ALWAYS_POSITIVE = ("jaw_open", "blink", "lips_press")
"""Expressions whose opposite would push one part of the face through another."""


@dataclass(frozen=True)
class Person:
    """Who is photographed.

    Attributes:
        identity: ``(K_I,)`` coefficients, standard normal within ±2.5.
        texture: ``(H, W, 3)`` uint8, see ``atlas.py``.
        hair, body: meshes bound to the head.
        bald: the hair's mesh is the skull.
    """

    identity: np.ndarray
    texture: np.ndarray
    hair: Addition
    body: Addition
    bald: bool


@dataclass(frozen=True)
class RenderedFace:
    """A photograph and its labels.

    Attributes:
        image: ``(S, S, 3)`` uint8 RGB.
        landmarks: ``(68, 2)`` float64 pixels, of kind ``2d``.
        visibility: ``(68,)`` uint8: 2 visible, 1 hidden, by the head itself or by something before it.
        params: ``(8 + K,)`` float64: M row-major in pixels of the image, then p.
    """

    image: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    params: np.ndarray


class FaceRenderer:
    """Draws faces of one morphable model."""

    scheme = "ibug68"

    def __init__(self, model: MorphableModel, size: int = SIZE) -> None:
        """Prepare the mesh; half a second.

        Raises:
            MorphableError: the model has no vertices for ``ibug68``.
        """
        self.model, self.size = model, size
        self.bust = Bust(model)
        self._contour = contour_of(model, self.scheme)

    def person(self, seed: int, number: int) -> Person:
        """The person of a number."""
        rng = np.random.default_rng([seed, number])
        identity = rng.standard_normal(len(self.model.identity)).clip(-2.5, 2.5)
        style = HairStyle.draw(rng)
        looks = Looks.draw(rng, style.kind == "bald")
        return Person(
            identity=identity,
            texture=paint(self.bust, looks, rng),
            hair=make_hair(self.bust, style, rng),
            body=make_body(self.bust, float(rng.normal(0, 0.4)), rng.uniform(0.85, 1.1), rng.uniform(-14, 14)),
            bald=looks.bald,
        )

    def photograph(self, person: Person, seed: int, number: int, picture: int) -> RenderedFace:
        """One picture of a person; ``(seed, number, picture)`` decide all that the person does not."""
        rng = np.random.default_rng([seed, number, picture, 1])
        p = np.concatenate([person.identity, self._expression(rng)])
        angles = np.radians([rng.uniform(-LARGEST_YAW, LARGEST_YAW), rng.normal(0, PITCH), rng.normal(0, ROLL)])
        angles[1:] = np.clip(angles[1:], *np.radians([-32, 32]))
        return self._drawn(person, p, rotation(*angles), rng)

    def _expression(self, rng: np.random.Generator) -> np.ndarray:
        """Most muscles rest a little off, a few are drawn."""
        drawn = rng.random(len(self.model.expression)) < 0.25
        found = rng.standard_normal(len(drawn)) * np.where(drawn, 1.1, 0.25)
        for name in ALWAYS_POSITIVE:
            if name in self.model.expression_names:
                at = self.model.expression_names.index(name)
                found[at] = abs(found[at]) if drawn[at] else 0.3 * abs(found[at])
        return found.clip(-2.5, 2.5)

    def _drawn(self, person: Person, p: np.ndarray, turn: np.ndarray, rng: np.random.Generator) -> RenderedFace:
        mesh = _Scene(self.bust, person, p, rng)
        looked = mesh.vertices @ turn.T
        upright = camera(np.array(1.0), turn, np.zeros(2))
        vertices = self._landmark_vertices(looked, upright)
        # The camera that has the face in the middle of the picture, more or less.
        box = tight_box(looked[vertices, :2] * (1, -1), np.ones(len(vertices)))
        size = self.size / rng.uniform(*SPAN)
        scale = size / float(box_size(box))
        shift = rng.normal(0, 0.025, 2).clip(-0.06, 0.06) * self.size
        at = (self.size - 1) / 2 + shift - scale * (box[:2] + box[2:]) / 2
        points, depth = scale * looked[:, :2] * (1, -1) + at, -scale * looked[:, 2]
        landmarks = points[vertices]

        x, y = (points[:, i][mesh.triangles.T] for i in range(2))
        facing = (x[1] - x[0]) * (y[2] - y[0]) < (x[2] - x[0]) * (y[1] - y[0])
        shown = mesh.triangles[facing | mesh.two_sided]
        raster = rasterise(points, depth, shown, (self.size, self.size))
        picture = draw_background(rng, self.size)
        head = self._shaded(mesh, raster, shown, unit_normals(looked, mesh.triangles), person.texture, rng)
        covered = raster.triangle >= 0
        alpha = np.where(covered, cv2.blur(covered.astype(np.float32), (3, 3)), 0)
        picture += alpha[..., None] * (head - picture)
        things, cover = draw_occluders(rng, tight_box(landmarks, np.ones(len(landmarks))), self.size)
        if things is not None:
            picture += cover[..., None] * (things - picture)

        visibility = visible_landmarks(
            landmarks, depth[vertices], vertices != self.bust.landmarks, raster.depth, HIDDEN * size
        )
        column, row = np.clip(np.round(landmarks), 0, self.size - 1).astype(np.int64).T
        visibility[cover[row, column] > 0.5] = 1
        params = np.concatenate([camera(np.array(scale), turn, at).ravel(), p])
        return RenderedFace(photograph(picture, rng), landmarks, visibility, params)

    def _landmark_vertices(self, looked: np.ndarray, view: np.ndarray) -> np.ndarray:
        """``(68,)`` vertex of each landmark, the contour's where it has marched to, as in the fit.

        Args:
            looked: ``(N, 3)`` vertices in the viewer's frame.
            view: ``(2, 4)`` the camera.
        """
        vertices = self.bust.landmarks.astype(np.int64)
        if self._contour is not None:
            lines = self._contour.vertices
            at = silhouette((looked[lines, :2] * (1, -1))[None], view[None], self._contour.side)[0]
            vertices[self._contour.points] = lines[np.arange(len(at)), at]
        return vertices

    def _shaded(
        self,
        mesh: _Scene,
        raster: Raster,
        shown: np.ndarray,
        normals: np.ndarray,
        texture: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """``(S, S, 3)`` float32, sRGB: the mesh's colours under a random light."""
        light = Light.draw(rng)
        back = mesh.hair.copy()
        back[mesh.hair] = normals[mesh.hair, 2] < 0  # the inside of hair, seen from before
        normals = np.where(back[:, None], -normals, normals)
        matt, shine = light.on(normals, np.where(back, 0.4, mesh.openness))
        values = np.column_stack([mesh.uv, matt, shine * mesh.gloss]).astype(np.float32)
        pixels = replace(raster, weights=raster.weights.astype(np.float32)).interpolate(values, shown)
        covered = raster.triangle >= 0
        places = np.zeros((self.size, self.size, 2), np.float32)
        places[covered] = pixels[:, :2]
        albedo = cv2.remap(texture, places, np.empty(0), cv2.INTER_LINEAR)[covered].astype(np.float32) / 255
        # In linear light; a gamma of 2 is near enough to sRGB's and a square root.
        linear = albedo**2 * pixels[:, 2:5] + pixels[:, 5:6]
        brightness = np.median(linear) if len(linear) else 1.0
        exposure = rng.uniform(0.12, 0.34) / max(float(brightness), 1e-3)
        # Dark skin stays darker than light skin, whatever the exposure.
        linear *= exposure**0.5
        head = np.zeros((self.size, self.size, 3), np.float32)
        head[covered] = 255 * np.sqrt(np.clip(linear, 0, 1))
        return head


class _Scene:
    """Head, hair and body of one picture: vertices in model units, and what each needs to be drawn."""

    def __init__(self, bust: Bust, person: Person, p: np.ndarray, rng: np.random.Generator) -> None:
        head = bust.vertices(p)
        own = len(bust.model.mean)
        parts, triangles, uv = [head], [bust.triangles], [bust.uv.copy()]
        gaze = rng.normal(0, (3.2, 1.6)) * EYE.scale
        uv[0][bust.eyes] -= np.clip(gaze, -12, 12)
        counts = [len(bust.triangles)]
        for addition in (person.hair, person.body):
            first = sum(map(len, parts))
            parts.append(addition.offsets + addition.binding @ head[:own])
            triangles.append(addition.triangles + first)
            uv.append(addition.uv)
            counts.append(len(addition.triangles))
        self.vertices, self.triangles, self.uv = (np.concatenate(v) for v in (parts, triangles, uv))
        self.two_sided = np.repeat([False, not person.bald, False], counts)
        lengths = [len(part) for part in parts]
        self.hair = np.repeat([False, True, False], lengths)
        self.openness = np.concatenate([bust.openness, np.full(lengths[1], 0.9), np.full(lengths[2], 0.85)])
        gloss = np.ones(lengths[0])
        gloss[bust.eyes] = 1.5
        self.gloss = np.concatenate([gloss, np.full(lengths[1], 1.0 if person.bald else 0.5), np.full(lengths[2], 0.1)])
