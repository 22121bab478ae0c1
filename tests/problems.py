"""Least squares that PyTorch and plain numpy both know: the data, the model, the gradients.

Nothing here imports fedlocal. A client's loss is the mean over its examples of
0.5 * (prediction - target)^2, and `gradients` holds its gradient by hand, one function per client.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Vector = np.ndarray
Gradient = Callable[[Vector], Vector]

RUNTIMES = ("loop", "vmapped")
UNEQUAL_SIZES = (6, 9, 4, 11, 7)


def half_squared_error(output: Tensor, target: Tensor) -> Tensor:
    return 0.5 * ((output - target) ** 2).sum(dim=1).mean()


def mean_output(output: Tensor, target: Tensor) -> Tensor:
    """A loss that is linear in a linear model: its gradient is the mean input, wherever you are."""
    return output.mean()


# Equal only to itself, so that runs of it can be remembered.
@dataclass(frozen=True, eq=False)
class Problem:
    """Clients as tensors for the framework, and the same clients as numpy gradients."""

    features: tuple[Vector, ...]
    targets: tuple[Vector, ...]
    start: Vector
    widths: tuple[int, ...]
    gradients: tuple[Gradient, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(a) for a in self.features)

    @property
    def clients(self) -> list[tuple[Tensor, Tensor]]:
        pairs = zip(self.features, self.targets, strict=True)
        return [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in pairs]

    @property
    def uniform(self) -> Vector:
        return np.full(len(self.sizes), 1 / len(self.sizes))

    @property
    def by_examples(self) -> Vector:
        return np.array(self.sizes) / sum(self.sizes)

    def model(self) -> nn.Module:
        layers = [
            nn.Linear(wide, narrow, bias=False, dtype=torch.float64)
            for wide, narrow in zip(self.widths, self.widths[1:], strict=False)
        ]
        model = nn.Sequential(*layers)
        nn.utils.vector_to_parameters(torch.from_numpy(self.start.copy()), model.parameters())
        return model


def linear_gradient(a: Vector, b: Vector) -> Gradient:
    return lambda x: a.T @ (a @ x - b[:, 0]) / len(a)


def least_squares(
    sizes: tuple[int, ...] = UNEQUAL_SIZES, dim: int = 7, seed: int = 0, spread: float = 1.0
) -> Problem:
    """Clients with their own features and their own optimum; `spread` scales the distances."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal(dim)
    features = tuple(rng.standard_normal((n, dim)) for n in sizes)
    targets = tuple(
        a @ (centre + spread * rng.standard_normal(dim))[:, None]
        + 0.1 * rng.standard_normal((len(a), 1))
        for a in features
    )
    gradients = tuple(map(linear_gradient, features, targets))
    return Problem(features, targets, rng.standard_normal(dim), (dim, 1), gradients)


def identical_clients(num_clients: int = 5, size: int = 6, seed: int = 0) -> Problem:
    one = least_squares((size,), seed=seed)
    return Problem(
        one.features * num_clients,
        one.targets * num_clients,
        one.start,
        one.widths,
        one.gradients * num_clients,
    )


def repeated_rows(sizes: tuple[int, ...] = UNEQUAL_SIZES, dim: int = 7, seed: int = 0) -> Problem:
    """Every client holds n_i copies of one example, so any mini-batch gives the full gradient.

    This makes runs with mini-batches, hence with unequal numbers of steps, deterministic.
    """
    rng = np.random.default_rng(seed)
    features = tuple(np.tile(rng.standard_normal((1, dim)), (n, 1)) for n in sizes)
    targets = tuple(np.full((n, 1), rng.standard_normal()) for n in sizes)
    gradients = tuple(map(linear_gradient, features, targets))
    return Problem(features, targets, rng.standard_normal(dim), (dim, 1), gradients)


def two_layers(sizes: tuple[int, ...] = UNEQUAL_SIZES, seed: int = 0) -> Problem:
    """A linear network 7 -> 3 -> 1: two parameter tensors of different sizes, 21 and 3."""
    rng = np.random.default_rng(seed)
    features = tuple(rng.standard_normal((n, 7)) for n in sizes)
    targets = tuple(rng.standard_normal((n, 1)) for n in sizes)

    def gradient(a: Vector, b: Vector) -> Gradient:
        def at(x: Vector) -> Vector:
            first, second = x[:21].reshape(3, 7), x[21:].reshape(1, 3)
            hidden = a @ first.T
            error = hidden @ second.T - b
            return np.concatenate(
                [(second.T @ error.T @ a).ravel(), (error.T @ hidden).ravel()]
            ) / len(a)

        return at

    gradients = tuple(map(gradient, features, targets))
    return Problem(features, targets, 0.5 * rng.standard_normal(24), (7, 3, 1), gradients)


def points(sizes: tuple[int, ...], dim: int = 3, seed: int = 0) -> Problem:
    """f_i(x) = 0.5 |x - e_i|^2, with e_i repeated n_i times: the quadratic lemma of FedNova."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((len(sizes), dim))
    features = tuple(np.ones((n, 1)) for n in sizes)
    targets = tuple(np.tile(e, (n, 1)) for n, e in zip(sizes, centres, strict=True))
    gradients = tuple((lambda x, e=e: x - e) for e in centres)
    return Problem(features, targets, rng.standard_normal(dim), (1, dim), gradients)


def constant_gradients(vectors: Vector, size: int = 1) -> Problem:
    """Client i's gradient is vectors[i] everywhere; to be used with the loss `mean_output`."""
    num_clients, dim = vectors.shape
    features = tuple(np.tile(v, (size, 1)) for v in vectors)
    targets = tuple(np.zeros((size, 1)) for _ in range(num_clients))
    gradients = tuple((lambda x, v=v: v) for v in vectors)
    start = np.random.default_rng(0).standard_normal(dim)
    return Problem(features, targets, start, (dim, 1), gradients)


def simulate(problem: Problem, strategy: Any, rounds: int, **options: Any) -> Any:
    """fedlocal.simulate in float64 on the CPU, with full batches unless told otherwise.

    Long runs are evaluated at their end alone.
    """
    import fedlocal
    from fedlocal.rounds.scoring import Evaluate

    settings = {"batch_size": None, "loss": half_squared_error, "runtime": "vmapped", **options}
    if rounds > 50:
        settings.setdefault("evaluate", Evaluate(every=rounds))
    return fedlocal.simulate(
        problem.model(),
        problem.clients,
        strategy,
        rounds=rounds,
        device="cpu",
        dtype=torch.float64,
        **settings,
    )


def leaves(state: Any) -> Iterator[Tensor]:
    """The tensors of nested NamedTuples, depth first."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from leaves(part)


def distance(ours: Any, theirs: Any) -> float:
    """Largest absolute difference. Shapes must agree, so that nothing broadcasts by accident."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    assert a.shape == b.shape, f"shapes {a.shape} and {b.shape} differ"
    assert np.isfinite(a).all() and np.isfinite(b).all()
    return float(np.abs(a - b).max(initial=0.0))
