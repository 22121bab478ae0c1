"""The oracles against each other and against torch.optim; no fedlocal in sight."""

import numpy as np
import pytest
import torch

from tests.oracles.bmuf import bmuf
from tests.oracles.compressors import identity, scaled_sign, top_k
from tests.oracles.diloco import diloco
from tests.oracles.double_compression import double_compression
from tests.oracles.fedavg import fedavg
from tests.oracles.fedopt import fedopt
from tests.oracles.fedprox import fedprox
from tests.oracles.local_sgd import local_sgd
from tests.oracles.lookahead import lookahead
from tests.oracles.minibatch_sgd import minibatch_sgd
from tests.oracles.one_shot import one_shot
from tests.oracles.post_local_sgd import post_local_sgd
from tests.oracles.qsparse_local_sgd import qsparse_local_sgd
from tests.oracles.scaffold import scaffold
from tests.oracles.slowmo import slowmo
from tests.oracles.vrl_sgd import vrl_sgd
from tests.problems import (
    constant_gradients,
    distance,
    half_squared_error,
    least_squares,
    mean_output,
    points,
    repeated_rows,
    two_layers,
)

P = least_squares()
G, X0, UNIFORM, N = P.gradients, P.start, P.uniform, len(P.sizes)
ROUNDS, H = 8, 4
RATES, DROP = [0.05] * ROUNDS, [0.05] * 4 + [0.01] * 4
LOCAL = local_sgd(G, X0, UNIFORM, RATES, [H] * ROUNDS)


@pytest.mark.parametrize(
    ("problem", "loss"),
    [
        (least_squares(), half_squared_error),
        (repeated_rows(), half_squared_error),
        (two_layers(), half_squared_error),
        (points((2, 3)), half_squared_error),
        (constant_gradients(np.eye(3), size=2), mean_output),
    ],
)
def test_numpy_gradients_are_autograd_gradients(problem, loss):
    model = problem.model()
    for (x, y), gradient in zip(problem.clients, problem.gradients, strict=True):
        model.zero_grad()
        loss(model(x), y).backward()
        theirs = torch.cat([p.grad.ravel() for p in model.parameters()])
        assert distance(gradient(problem.start), theirs) < 1e-13


def test_one_local_step_is_synchronous_sgd():
    ones = [1] * ROUNDS
    for beta, nesterov in [(0.0, False), (0.9, False), (0.9, True)]:
        sync = minibatch_sgd(G, X0, UNIFORM, RATES, beta, nesterov)
        assert distance(local_sgd(G, X0, UNIFORM, RATES, ones, beta, nesterov), sync) < 1e-13
    plain = minibatch_sgd(G, X0, UNIFORM, RATES)
    assert distance(local_sgd(G, X0, UNIFORM, RATES, ones, 0.9, at_sync="reset"), plain) < 1e-13
    assert distance(vrl_sgd(G, X0, RATES, ones)[0], plain) < 1e-13
    assert distance(
        slowmo(G, X0, RATES, 1, 1.0, 0.6)[0], minibatch_sgd(G, X0, UNIFORM, RATES, 0.6)
    ) < (1e-13)


def test_limits_are_local_sgd():
    assert distance(slowmo(G, X0, RATES, H, 1.0, 0.0)[0], LOCAL) < 1e-13
    assert distance(bmuf(G, X0, RATES, H, 1.0, 0.0, nesterov=True)[1], LOCAL) < 1e-13
    assert distance(fedopt(G, X0, UNIFORM, RATES, H, "sgd", 1, 0, 0, 0, 0), LOCAL) < 1e-13
    assert distance(fedprox(G, X0, UNIFORM, RATES, [H] * N, 0.0), LOCAL) < 1e-13
    assert distance(fedavg(G, X0, [3] * N, RATES, [H] * N), LOCAL) < 1e-13
    assert distance(double_compression(G, X0, RATES, H, identity, top_k(1.0))[0], LOCAL) < 1e-13
    assert distance(qsparse_local_sgd(G, X0, RATES, H, top_k(1.0))[0], LOCAL) < 1e-13
    assert (
        distance(one_shot(G, X0, UNIFORM, 0.05, 9), local_sgd(G, X0, UNIFORM, [0.05], [9])) < 1e-13
    )
    periods = [1] * 3 + [H] * 5
    post = post_local_sgd(G, X0, 0.05, H, 3, ROUNDS, 0.9, True)
    assert distance(post, local_sgd(G, X0, UNIFORM, RATES, periods, 0.9, True)) < 1e-13


def test_vrl_sgd_is_scaffold_and_not_local_sgd():
    x, drifts = vrl_sgd(G, X0, RATES, [H] * ROUNDS)
    y, c, c_i = scaffold(G, X0, 0.05, H, ROUNDS)
    assert distance(x, y) < 1e-13
    assert distance(drifts[-1], c_i - c) < 1e-13
    assert max(np.abs(drift.sum(axis=0)).max() for drift in drifts) < 1e-13
    assert distance(x, LOCAL) > 1e-2


def test_slow_updates_agree_until_the_rate_drops():
    slow = slowmo(G, X0, RATES, H, 0.8, 0.6)[0]
    assert distance(slow, bmuf(G, X0, RATES, H, 0.8, 0.6)[0]) < 1e-13
    assert distance(slow, fedopt(G, X0, UNIFORM, RATES, H, "sgd", 0.8, 0.6, 0, 0, 0)) < 1e-13
    assert distance(slowmo(G, X0, DROP, H, 0.8, 0.6)[0], bmuf(G, X0, DROP, H, 0.8, 0.6)[0]) > 1e-2
    alone = slowmo(G[:1], X0, RATES, H, 0.5, 0.0)[0]
    assert distance(alone, lookahead(G[0], X0, 0.05, H, 0.5, ROUNDS)) < 1e-13


def test_nesterov_block_momentum_broadcasts_torch_nesterov():
    # x_g = x_g + zeta G + eta Delta: BMUF's two models are one with PyTorch's look-ahead step.
    x_g, buffer = X0.copy(), np.zeros_like(X0)
    for _ in range(ROUNDS):
        d = x_g - local_sgd(G, x_g, UNIFORM, [0.05], [H])
        buffer = 0.6 * buffer + d
        x_g = x_g - 0.8 * (d + 0.6 * buffer)
    assert distance(bmuf(G, X0, RATES, H, 0.8, 0.6, nesterov=True)[1], x_g) < 1e-13


@pytest.mark.parametrize("compress", [identity, top_k(0.3), scaled_sign])
def test_error_feedback_loses_nothing(compress):
    seen = []
    recorded = [lambda x, g=g: seen.append(g(x)) or seen[-1] for g in G]
    x, e, E = double_compression(recorded, X0, RATES, H, compress, compress)
    assert distance(x - e.mean(axis=0) - E, X0 - 0.05 * sum(seen) / N) < 1e-13


@pytest.mark.parametrize("steps", [1, 3])
def test_diloco_is_torch_adamw_inside_torch_nesterov(steps):
    theta = torch.nn.Parameter(torch.from_numpy(X0.copy()))
    outer = torch.optim.SGD([theta], lr=0.7, momentum=0.9, nesterov=True)
    clients = [torch.nn.Parameter(torch.from_numpy(X0.copy())) for _ in G]
    inner = [torch.optim.AdamW([y], lr=0.05, betas=(0.9, 0.95), weight_decay=0.1) for y in clients]
    for _ in range(4):
        for y, optimiser, gradient in zip(clients, inner, G, strict=True):
            y.data.copy_(theta.data)
            for _ in range(steps):
                y.grad = torch.from_numpy(gradient(y.detach().numpy()))
                optimiser.step()
        theta.grad = theta.detach() - sum(y.detach() for y in clients) / N
        outer.step()
    ours = diloco(G, X0, [0.05] * 4, steps, 0.7, 0.9, 0.1, (0.9, 0.95))
    assert distance(ours, theta.detach()) < 1e-13
