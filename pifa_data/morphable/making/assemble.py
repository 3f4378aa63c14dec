"""The ``builtin`` model from its parts: the sculpted surface, its expressions, and what is known of the population."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from pifa_data.morphable.making.expressions import expression_mirror, expression_modes
from pifa_data.morphable.making.labels import Labels
from pifa_data.morphable.making.population import Deformations, Population, mean_face, smooth_deformations
from pifa_data.morphable.making.surface import Surface, make_surface, warp
from pifa_data.morphable.mapping import complete_model
from pifa_data.morphable.model import MorphableModel

SYMMETRIC, ASYMMETRIC = 110, 50
"""Modes of the Gaussian process that the population is estimated in."""
IDENTITY_MODES = 80
EXPRESSION_SIZE = 0.5
"""One standard deviation to begin with, as a share of an expression's full size."""
DEEPER = 1.08
"""The sculpture's depth is that of a small head: tragion to subnasale 97 mm, where Farkas (1994) has 105 between the
sexes' means. The mean is estimated from here."""
MOST_OF_ONE_POSE = 4000
"""Frontal faces taken, so that turned ones count as much."""


Parts = tuple[Surface, Deformations, Deformations, tuple[str, ...]]
"""Surface, identity deformations, expressions and their names."""


def deformed_parts(sculpted: Surface | None = None) -> Parts:
    """What the population is described in; the same every time.

    Args:
        sculpted: what ``make_surface`` gives, if it is there already.
    """
    sculpted = sculpted or make_surface()
    names, offsets = expression_modes(sculpted)
    landmarks = sculpted.vertices[sculpted.landmarks] * [1.0, 1.0, DEEPER]
    surface = warp(sculpted, landmarks)
    _, signs = expression_mirror()
    expression = Deformations(EXPRESSION_SIZE * offsets, signs.astype(int))
    return surface, smooth_deformations(surface, SYMMETRIC, ASYMMETRIC), expression, names


def balanced(labels: Labels) -> Labels:
    """All turned faces, and as many frontal ones at most as make up for the rest."""
    frontal = np.flatnonzero([name.startswith("frontal/") for name in labels.names])
    turned = np.setdiff1d(np.arange(len(labels.names)), frontal)
    kept = frontal[:: max(1, len(frontal) // MOST_OF_ONE_POSE)]
    return labels.take(np.sort(np.concatenate([kept, turned])))


def assemble(
    surface: Surface, identity: Deformations, expression: Deformations, names: tuple[str, ...], population: Population
) -> MorphableModel:
    """The model: the population's principal identity modes, and its expressions at one standard deviation."""
    deformations = np.concatenate([identity.modes, expression.modes])
    who = len(identity.modes)
    root = np.linalg.cholesky(population.covariance[:who, :who])
    fields = np.einsum("jk,jvc->kvc", root, identity.modes).reshape(who, -1)
    # Principal modes over the dense surface: eigenvectors of the small Gram matrix.
    _, vectors = np.linalg.eigh(fields @ fields.T)
    principal = (vectors[:, ::-1].T @ fields)[:IDENTITY_MODES]
    principal = principal.reshape(len(principal), -1, 3)
    # An eigenvector's sign is the library's whim; the largest component is made positive. Of one side of the face: the
    # other's is as large, and which of them is larger is rounding's whim.
    one_side = principal[:, surface.vertices[:, 0] >= 0].reshape(len(principal), -1)
    largest = np.take_along_axis(one_side, np.abs(one_side).argmax(1)[:, None], axis=1)
    principal *= np.sign(largest)[..., None]
    deviation = np.sqrt(np.diag(population.covariance)[who:])
    return complete_model(
        name="builtin",
        mean=mean_face(surface, deformations, population).astype(np.float32),
        identity=_as_stored(principal),
        expression=_as_stored(deviation[:, None, None] * expression.modes),
        triangles=surface.triangles,
        ibug68=surface.landmarks,
        units="millimetre",
        licence="MIT (PIFA's own)",
        source="made by pifa_data.morphable.making: a sculpted face, its variation estimated from labels of AFLW",
        expression_names=names,
    )


def _as_stored(modes: np.ndarray) -> np.ndarray:
    """Float32 with what float16 keeps, and no negative zeros: rounding elsewhere must not give another fingerprint."""
    return np.asarray(modes.astype(np.float16).astype(np.float32) + 0.0)


def load_population(path: Path | None = None) -> Population:
    """A kept estimate; the one that ships with the package if ``path`` is None."""
    shipped = resources.files("pifa_data.morphable.making").joinpath("population.npz")
    with (path or shipped).open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        return Population(
            arrays["mean"].astype(np.float64), arrays["covariance"].astype(np.float64), float(arrays["noise"])
        )


def save_population(path: Path, population: Population) -> None:
    """Write an estimate, in float32."""
    np.savez_compressed(
        path,
        mean=population.mean.astype(np.float32),
        covariance=population.covariance.astype(np.float32),
        noise=np.float32(population.noise),
    )
