"""Slots hold methods that the framework does not ship: a mixing written here, run unchanged.

Compressed gossip asks most of the slots: own rows, a tracked belief, a server half with state.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from fedlocal.compress import TopK
from fedlocal.inner import Momentum
from fedlocal.period import ConstantPeriod
from fedlocal.pieces import Mixing
from fedlocal.strategy import Strategy
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
LR, H, ROUNDS = 0.05, 3, 6


class OwnAndBelief(NamedTuple):
    own: Tensor
    belief: Tensor


class Beliefs(NamedTuple):
    beliefs: Tensor


@dataclass(frozen=True)
class Gossip(Mixing):
    step: float

    def weigh(self, counts: Tensor, steps: Tensor) -> Tensor:
        return torch.full_like(counts, 1 / len(counts))

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        return torch.zeros_like(x).repeat(num_clients, 1)

    def memory(self, x: Tensor) -> OwnAndBelief:
        return OwnAndBelief(x, torch.zeros_like(x))

    def init(self, x: Tensor, num_clients: int) -> Beliefs:
        return Beliefs(torch.zeros_like(x).repeat(num_clients, 1))

    def begin(self, memory: OwnAndBelief, incoming: Tensor) -> tuple[Tensor, Tensor]:
        return memory.own + self.step * incoming, memory.belief

    def end(self, memory: OwnAndBelief, x: Tensor, belief: Tensor) -> OwnAndBelief:
        return OwnAndBelief(x, belief)

    def mix(self, state: Beliefs, anchor, received, clients, info):
        beliefs = state.beliefs + received
        neighbours = (beliefs + beliefs.roll(1, 0) + beliefs.roll(-1, 0)) / 3
        return neighbours - beliefs - anchor, Beliefs(beliefs)


GOSSIP = Strategy(
    inner=Momentum(LR, momentum=0.9, nesterov=True),
    period=ConstantPeriod(H),
    uplink=TopK(0.4),
    mixing=Gossip(0.3),
)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_compressed_gossip_with_nesterov_follows_squarm(runtime):
    result = simulate(PROBLEM, GOSSIP, ROUNDS, runtime=runtime)

    x = np.tile(PROBLEM.start, (K, 1))
    v, hat = np.zeros_like(x), np.zeros_like(x)
    ring = sum(np.roll(np.eye(K), shift, 0) for shift in (-1, 0, 1)) / 3
    kept = int(np.ceil(0.4 * x.shape[1]))
    for _ in range(ROUNDS):
        for _ in range(H):
            g = np.array([f(x[i]) for i, f in enumerate(PROBLEM.gradients)])
            v = 0.9 * v + g
            x = x - LR * (g + 0.9 * v)
        for i in range(K):
            largest = np.argsort(-abs(x[i] - hat[i]))[:kept]
            hat[i, largest] += (x[i] - hat[i])[largest]
        x = x + 0.3 * (ring @ hat - hat)
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.server_state.mixing.beliefs, hat) < 1e-12
