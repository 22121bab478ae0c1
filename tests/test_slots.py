"""Slots hold methods that the framework does not ship: pieces written here, run unchanged.

The method is made up, to ask for what a newcomer may need: rows of each client's own, a server half
that remembers, and another local direction. All clients train; in turn, one of them gives up its
model for the coordinate-wise median of everyone's. Local gradients are clipped.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from fedlocal.slots import (
    Component,
    Correction,
    Guarantee,
    Legs,
    MessageCounts,
    Mixing,
    Piece,
    View,
)
from fedlocal.slots.compress import ErrorFeedback, TopK
from fedlocal.slots.inner.sgd import Momentum
from fedlocal.slots.period import ConstantPeriod
from fedlocal.slots.strategy import Strategy
from tests.problems import RUNTIMES, distance, least_squares, simulate

PROBLEM = least_squares()
K = len(PROBLEM.sizes)
LR, H, ROUNDS, LONGEST = 0.05, 3, 7, 2.0


class Turn(NamedTuple):
    turn: Tensor


@dataclass(frozen=True)
class MedianInTurn(Mixing):
    @property
    def requires(self) -> frozenset[Guarantee]:
        return super().requires | {Guarantee.FULL_PARTICIPATION}

    @property
    def breaks(self) -> frozenset[Guarantee]:
        return frozenset({Guarantee.PLAIN_MEAN, Guarantee.AVERAGING_SERVER})

    def anchor(self, x: Tensor, num_clients: int) -> Tensor:
        return x.repeat(num_clients, 1)

    def init(self, x: Tensor, num_clients: int) -> Turn:
        return Turn(torch.zeros(num_clients, 1).index_fill(0, torch.tensor(0), 1) > 0)

    def mix(self, state: Turn, anchor, received, clients, info):
        models = anchor + received
        # The mean of the two in the middle where there are two, as numpy has it.
        median = models.quantile(0.5, dim=0)
        return torch.where(state.turn, median, models) - anchor, Turn(state.turn.roll(1, 0))


@dataclass(frozen=True)
class Clipped(Correction):
    longest: float

    @property
    def requires(self) -> frozenset[Guarantee]:
        return frozenset()

    def correct(self, grad: Tensor, x: Tensor, state: tuple[()], view: View) -> Tensor:
        return grad * (self.longest / grad.norm()).clamp(max=1)


MEDIAN = Strategy(
    inner=Momentum(LR, momentum=0.9),
    period=ConstantPeriod(H),
    correction=Clipped(LONGEST),
    mixing=MedianInTurn(),
)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_method_from_elsewhere_does_what_it_says(runtime):
    result = simulate(PROBLEM, MEDIAN, ROUNDS, runtime=runtime)

    x, v, clipped = np.tile(PROBLEM.start, (K, 1)), np.zeros((K, 7)), 0
    for t in range(ROUNDS):
        for i in range(K):
            for _ in range(H):
                g = PROBLEM.gradients[i](x[i])
                clipped += np.linalg.norm(g) > LONGEST
                v[i] = 0.9 * v[i] + g * min(1, LONGEST / np.linalg.norm(g))
                x[i] = x[i] - LR * v[i]
        x[t % K] = np.median(x, axis=0)
    assert 0 < clipped < ROUNDS * K * H
    assert distance(result.client_params, x) < 1e-12
    assert distance(result.params, x.mean(0)) < 1e-12
    assert result.server_state.mixing.turn.flatten().tolist() == [i == ROUNDS % K for i in range(K)]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_shipped_pieces_fill_its_other_slots(runtime):
    lossy = replace(MEDIAN, uplink=ErrorFeedback(TopK(0.5)))
    result = simulate(PROBLEM, lossy, ROUNDS, runtime=runtime)
    assert result.client_states.uplink.residual.abs().max() > 1e-3
    assert result.ledger.uplink_bytes < simulate(PROBLEM, MEDIAN, ROUNDS).ledger.uplink_bytes
    assert distance(result.params, simulate(PROBLEM, MEDIAN, ROUNDS).params) > 1e-4


def test_its_guarantees_are_checked_like_any_others():
    with pytest.raises(ValueError, match="every client takes part"):
        simulate(PROBLEM, MEDIAN, 1, participation=0.5)


def test_former_names_of_methods_are_refused():
    with pytest.raises(TypeError, match=r"Mine.told is named transmitted_model now; rename it"):
        type("Mine", (Mixing,), {"told": lambda self, start, x: x})
    with pytest.raises(TypeError, match="surveys is named needs_gradient_exchange now"):
        type("Mine", (Correction,), {"surveys": True})
    assert Piece is Component and Legs is MessageCounts
