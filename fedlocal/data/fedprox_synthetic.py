"""Synthetic(alpha, beta): the generated federated dataset of FedProx.

Each client has a softmax model of its own, which labels inputs from a distribution of its own.
alpha moves the models apart, beta the inputs. Sizes are heavy-tailed.

    T. Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith. Federated Optimization in Heterogeneous
    Networks. MLSys 2020. https://arxiv.org/abs/1812.06127
    Authors' code: https://github.com/litian96/FedProx/tree/master/data

Paper symbol -> name here: n_k -> size, u_k -> model_mean, B_k -> input_mean_mean, v_k ->
input_mean, W_k -> weight, b_k -> bias.

Differences from the authors' code: every client draws from a generator of its own, so that the
first clients stay the same when more are asked for; and a fifth of each client is for testing, as
in the paper, where the code has a tenth.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from fedlocal.data.dataset import Dataset
from fedlocal.data.split import check_test_fraction
from fedlocal.utils.arrays import FloatArray

NUM_FEATURES = 60
NUM_CLASSES = 10
# Standard deviation of feature j = 1..60: the covariance is diagonal, j^-1.2.
INPUT_STD = np.arange(1, NUM_FEATURES + 1) ** -0.6


def synthetic(
    num_clients: int = 30,
    alpha: float = 1.0,
    beta: float = 1.0,
    seed: int = 0,
    iid: bool = False,
    test_fraction: float = 0.2,
) -> Dataset:
    """Synthetic(alpha, beta): 60 features, 10 classes, lognormal(4, 2) + 50 examples per client.

    Args:
        num_clients: Number of clients; the paper has 30.
        alpha: Standard deviation (not variance) of u_k, the mean of client k's model.
        beta: Standard deviation (not variance) of B_k, the mean of client k's input mean.
        seed: Same seed, same data.
        iid: One N(0, 1) model and input mean 0 for all clients; alpha and beta are not used.
        test_fraction: Share of each client's examples, rounded up, in the test set.

    Returns:
        float32 inputs, clients one after another, `client_ids` 0..num_clients-1.

    Raises:
        ValueError: num_clients < 1, a negative alpha or beta, or test_fraction out of [0, 1).
    """
    if num_clients < 1 or alpha < 0 or beta < 0:
        raise ValueError(
            "synthetic needs num_clients >= 1, alpha >= 0 and beta >= 0, got "
            f"num_clients={num_clients}, alpha={alpha}, beta={beta}"
        )
    check_test_fraction(test_fraction)
    shared = _model(np.random.default_rng([seed, 0]), mean=0.0) if iid else None
    train, test = [], []
    for client in range(num_clients):
        # Stream 0 is the shared model's.
        rng = np.random.default_rng([seed, 1 + client])
        x, y = _client(rng, alpha, beta, shared)
        cut = int((1 - test_fraction) * len(y))
        train.append((x[:cut], y[:cut]))
        test.append((x[cut:], y[cut:]))
    sizes = [len(y) for _, y in train]
    client_ids = np.repeat(np.arange(num_clients), sizes)
    return Dataset("synthetic", *_stack(train), *_stack(test), NUM_CLASSES, client_ids)


def _model(rng: np.random.Generator, mean: float) -> tuple[FloatArray, FloatArray]:
    weight = rng.normal(mean, 1.0, (NUM_FEATURES, NUM_CLASSES))
    return weight, rng.normal(mean, 1.0, NUM_CLASSES)


def _client(
    rng: np.random.Generator,
    alpha: float,
    beta: float,
    shared: tuple[FloatArray, FloatArray] | None,
) -> tuple[FloatArray, NDArray[np.int64]]:
    size = int(rng.lognormal(4.0, 2.0)) + 50
    if shared is None:
        weight, bias = _model(rng, mean=rng.normal(0.0, alpha))
        input_mean_mean = rng.normal(0.0, beta)
        input_mean = rng.normal(input_mean_mean, 1.0, NUM_FEATURES)
    else:
        weight, bias = shared
        input_mean = np.zeros(NUM_FEATURES)
    x = input_mean + INPUT_STD * rng.standard_normal((size, NUM_FEATURES))
    return x, np.argmax(x @ weight + bias, axis=1)


def _stack(
    parts: list[tuple[FloatArray, NDArray[np.int64]]],
) -> tuple[torch.Tensor, torch.Tensor]:
    x = np.concatenate([x for x, _ in parts]).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(np.concatenate([y for _, y in parts]))
