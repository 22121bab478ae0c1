"""Heterogeneous least squares with a known optimum: where laws are checked to machine precision."""

import numpy as np
import torch

from fedlocal.data.dataset import Dataset
from fedlocal.utils.arrays import FloatArray


def quadratic(
    num_clients: int = 8,
    dim: int = 20,
    examples_per_client: int = 40,
    heterogeneity: float = 1.0,
    condition: float = 10.0,
    seed: int = 0,
) -> Dataset:
    """Client i minimises 0.5 * ||A_i x - b_i||^2 / n_i; the clients do not agree on where.

    Every Hessian A_i' A_i / n_i has eigenvalues from 1 / condition to 1, evenly spaced in the
    logarithm, in directions of client i's own: each objective is 1-smooth and (1 / condition)-
    strongly convex. Client i's own minimiser is a common point plus `heterogeneity` times a
    standard normal vector, and reaches loss 0. Use `squared_error` and the model `linear` with
    one output and no bias.

    Args:
        num_clients: Number of clients.
        dim: Number of unknowns.
        examples_per_client: Rows of each A_i, at least `dim`.
        heterogeneity: Standard deviation of a coordinate of the clients' minimisers; 0 makes
            all clients agree.
        condition: Condition number of every Hessian, >= 1.
        seed: Same seed, same problem.

    Returns:
        float64 data, `client_ids` 0..num_clients-1, no test set. `optimum` [dim] is the minimiser
        of the uniform mean of the clients' objectives.

    Raises:
        ValueError: Fewer rows than unknowns, condition < 1, a negative heterogeneity, no client.
    """
    if num_clients < 1 or dim < 1 or examples_per_client < dim:
        raise ValueError(
            "quadratic needs num_clients >= 1 and examples_per_client >= dim >= 1, got "
            f"num_clients={num_clients}, examples_per_client={examples_per_client}, dim={dim}"
        )
    if condition < 1 or heterogeneity < 0:
        raise ValueError(
            "quadratic needs condition >= 1 and heterogeneity >= 0, got "
            f"condition={condition}, heterogeneity={heterogeneity}"
        )
    eigenvalues = np.geomspace(1.0 / condition, 1.0, dim)
    common = np.random.default_rng([seed, 0]).standard_normal(dim)
    designs, targets = [], []
    for client in range(num_clients):
        # Stream 0 is the common point's; a client's problem does not depend on how many there are.
        rng = np.random.default_rng([seed, 1 + client])
        design = _design(rng, examples_per_client, eigenvalues)
        designs.append(design)
        targets.append(design @ (common + heterogeneity * rng.standard_normal(dim)))
    hessian = np.mean([a.T @ a for a in designs], axis=0)
    optimum = np.linalg.solve(
        hessian, np.mean([a.T @ b for a, b in zip(designs, targets, strict=True)], axis=0)
    )
    return Dataset(
        "quadratic",
        torch.from_numpy(np.concatenate(designs)),
        torch.from_numpy(np.concatenate(targets)[:, None]),
        x_test=None,
        y_test=None,
        num_classes=None,
        client_ids=np.repeat(np.arange(num_clients), examples_per_client),
        optimum=torch.from_numpy(optimum),
    )


def _design(rng: np.random.Generator, num_rows: int, eigenvalues: FloatArray) -> FloatArray:
    """Return A [num_rows, dim] whose A'A / num_rows has exactly these eigenvalues."""
    dim = len(eigenvalues)
    rows, _ = np.linalg.qr(rng.standard_normal((num_rows, dim)))
    directions, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    return (rows * np.sqrt(num_rows * eigenvalues)) @ directions.T
