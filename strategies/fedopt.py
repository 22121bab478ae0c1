"""FedOpt: an adaptive optimiser on the server (FedAvgM, FedAdam, FedYogi, FedAdagrad).

Clients take local SGD steps. The server uses the mean change of a round as a pseudo-gradient in its
own optimiser.

    Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan. Adaptive Federated Optimization.
    2021. https://arxiv.org/abs/2003.00295
    FedAvgM: Hsu, Qi, Brown. Measuring the Effects of Non-Identical Data Distribution for Federated
    Visual Classification. 2019. https://arxiv.org/abs/1909.06335

Paper symbol -> name here: eta -> server_lr, eta_l -> lr, beta_1 -> beta1, beta_2 -> beta2,
tau -> tau, v_{-1} -> initial_accumulator (the paper asks for at least tau^2; the authors'
experiments use 0).
There is no bias correction, as in the paper. `momentum` and `nesterov` are the clients', and start
every round at zero; the server's momentum is beta1.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fedlocal.slots import OuterOptimiser, Period, Rate, Round
from fedlocal.slots.inner.sgd import check_momentum, sgd
from fedlocal.slots.mixing import WeightedMean, Weights
from fedlocal.slots.outer.sgd import OuterSGD
from fedlocal.slots.period import period_of
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.checks import check_number

Rule = Literal["adam", "yogi", "adagrad"]

# Defaults; the paper tunes eta for every task. With 1, FedAvgM without momentum is plain averaging.
# Steps of Adam and Yogi have size eta in every coordinate; those of Adagrad start there and shrink.
SERVER_LR = {"sgd": 1.0, "adam": 0.03, "yogi": 0.03, "adagrad": 0.1}


class AdaptiveState(NamedTuple):
    """State of `Adaptive`.

    mean: m_t, the running mean of pseudo-gradients, [A, P].
    square: v_t, their accumulated squares, [A, P].
    """

    mean: Tensor
    square: Tensor


@dataclass(frozen=True)
class Adaptive(OuterOptimiser):
    """Adaptive step: m <- b1 m + (1 - b1) D, v by rule, x <- x + server_lr m / (sqrt(v) + tau)."""

    rule: Rule
    server_lr: float
    beta1: float
    beta2: float
    tau: float
    initial_accumulator: float

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown rule or a value outside its range."""
        if self.rule not in ("adam", "yogi", "adagrad"):
            raise ValueError(f"optimiser must be sgd, adam, yogi or adagrad, got {self.rule!r}")
        check_momentum("beta1", self.beta1)
        check_momentum("beta2", self.beta2)
        check_number("tau", self.tau, above=0)
        check_number("server_lr", self.server_lr, above=0)
        check_number("initial_accumulator", self.initial_accumulator, least=0)

    def init(self, anchor: Tensor) -> AdaptiveState:
        return AdaptiveState(
            torch.zeros_like(anchor), torch.full_like(anchor, self.initial_accumulator)
        )

    def step(
        self, pseudo_grad: Tensor, state: AdaptiveState, info: Round
    ) -> tuple[Tensor, AdaptiveState]:
        mean = self.beta1 * state.mean + (1 - self.beta1) * pseudo_grad
        square = self._accumulate(state.square, pseudo_grad * pseudo_grad)
        move = -self.server_lr * mean / (torch.sqrt(square) + self.tau)
        return move, AdaptiveState(mean, square)

    def _accumulate(self, square: Tensor, latest: Tensor) -> Tensor:
        if self.rule == "adagrad":
            return square + latest
        if self.rule == "yogi":
            return square - (1 - self.beta2) * latest * torch.sign(square - latest)
        return self.beta2 * square + (1 - self.beta2) * latest


def fedopt(
    lr: float | Rate = 0.1,
    period: int | Period = 20,
    optimiser: Literal["sgd", "adam", "yogi", "adagrad"] = "adam",
    server_lr: float | None = None,
    beta1: float | None = None,
    beta2: float = 0.99,
    tau: float = 1e-3,
    initial_accumulator: float | None = None,
    epochs: float | None = None,
    weights: Weights = "examples",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Strategy:
    """Return FedOpt; optimiser="sgd" is FedAvgM: v <- beta1 v + D, x <- x + server_lr v.

    `beta1` and `beta2`, in [0, 1), are the decay rates of the server's moments; `tau` > 0 bounds
    its step. None stands for beta1 0.9 (0 for Adagrad), initial_accumulator tau^2, and server_lr 1
    for "sgd", 0.1 for "adagrad", 0.03 for the others.
    """
    server_lr = SERVER_LR.get(optimiser, 1.0) if server_lr is None else server_lr
    if beta1 is None:
        beta1 = 0.0 if optimiser == "adagrad" else 0.9
    check_number("tau", tau)
    accumulator = tau**2 if initial_accumulator is None else initial_accumulator
    outer = (
        OuterSGD(server_lr, beta1)
        if optimiser == "sgd"
        else Adaptive(optimiser, server_lr, beta1, beta2, tau, accumulator)
    )
    return Strategy(
        inner=sgd(lr, "reset", momentum, nesterov, weight_decay),
        period=period_of(period, epochs),
        mixing=WeightedMean(weights),
        outer=outer,
    )
