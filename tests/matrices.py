"""A problem whose gradients are matrices of more than rank one, for low-rank compression."""

import numpy as np

from tests.problems import UNEQUAL_SIZES, Gradient, Problem, Vector

SHAPES = ((4, 5), (3, 4))


def many_outputs(sizes: tuple[int, ...] = UNEQUAL_SIZES, seed: int = 0) -> Problem:
    """A linear network 5 -> 4 -> 3: gradients of rank three."""
    rng = np.random.default_rng(seed)
    features = tuple(rng.standard_normal((n, 5)) for n in sizes)
    targets = tuple(rng.standard_normal((n, 3)) for n in sizes)
    gradients = tuple(map(_gradient, features, targets))
    return Problem(features, targets, 0.5 * rng.standard_normal(32), (5, 4, 3), gradients)


def _gradient(a: Vector, b: Vector) -> Gradient:
    def at(x: Vector) -> Vector:
        first, second = x[:20].reshape(4, 5), x[20:].reshape(3, 4)
        hidden = a @ first.T
        error = (hidden @ second.T - b) / len(a)
        return np.concatenate([(second.T @ error.T @ a).ravel(), (error.T @ hidden).ravel()])

    return at
