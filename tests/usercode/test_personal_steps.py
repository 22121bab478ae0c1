"""FedRep's two phases: the first steps of a round train the personal parameters alone."""

from dataclasses import dataclass, replace
from math import inf

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedlocal import Deadline, simulate
from fedlocal.runtime import Vmapped
from fedlocal.slots import Period, Rate
from fedlocal.slots.period import Epochs
from strategies import local_sgd, scaffold, vrl_sgd
from tests.strategies_in_conf import one_of_each, strategy_of

RUNTIMES = {
    "loop": "loop",
    "direct": Vmapped(program="direct"),
    "recorded": Vmapped(program="recorded"),
}
SIZES, RATE, ROUNDS, BATCH = (5, 17, 40), 0.1, 3, 8
FIRST, STEPS = 2, 5


class Headed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Unheard(nn.Module):
    """A model with a personal parameter that its output does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)
        self.ghost = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + 0.0 * self.ghost.sum()


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().double()


def pairs(sizes: tuple[int, ...] = SIZES) -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(9)
    return [
        (
            torch.randn(n, 4, generator=rng, dtype=torch.float64) + 0.4 * i,
            torch.randint(0, 3, (n,), generator=rng),
        )
        for i, n in enumerate(sizes)
    ]


def plain(momentum: float, reach: float) -> tuple[Tensor, Tensor, list[float]]:
    """FedRep over local SGD or VRL-SGD in plain PyTorch: body [P], heads [K, Q], local losses.

    `reach` is the sum of the effective step sizes by which VRL-SGD divides; infinity is local SGD.
    """
    from fedlocal import Clients

    clients, model = pairs(), made(Headed)
    x, y = (torch.cat(parts) for parts in zip(*clients, strict=True))
    body, head = list(model.body.parameters()), list(model.head.parameters())
    server = [p.detach().clone() for p in body]
    heads = [[p.detach().clone() for p in head] for _ in clients]
    drifts = [[torch.zeros_like(p) for p in body] for _ in clients]
    losses = []
    for t in range(ROUNDS):
        everyone, ends, total = np.arange(3), [], 0.0
        orders = Clients.of(clients).cohort_batches(everyone, np.full(3, STEPS), BATCH, 0, t)
        for k, order in enumerate(orders):
            with torch.no_grad():
                for p, v in zip([*body, *head], [*server, *heads[k]], strict=True):
                    p.copy_(v)
            phases = torch.optim.SGD(head, RATE, momentum), torch.optim.SGD(body, RATE, momentum)
            for h, rows in enumerate(order):
                optimiser = phases[h >= FIRST]
                model.zero_grad()
                value = nn.functional.cross_entropy(model(x[rows]), y[rows])
                value.backward()
                total += float(value.detach()) / STEPS / 3
                for p, d in zip(body, drifts[k], strict=True):
                    p.grad -= d
                optimiser.step()
            ends.append([p.detach().clone() for p in body])
            heads[k] = [p.detach().clone() for p in head]
        server = [torch.stack(each).mean(0) for each in zip(*ends, strict=True)]
        for own, end in zip(drifts, ends, strict=True):
            for d, mean, p in zip(own, server, end, strict=True):
                d += (mean - p) / reach
        losses.append(total)
    flat = torch.cat([p.ravel() for p in server])
    return flat, torch.stack([torch.cat([p.ravel() for p in own]) for own in heads]), losses


METHODS = {
    "local_sgd": (local_sgd(RATE, STEPS), 0.0, inf),
    "momentum": (local_sgd(RATE, STEPS, momentum=0.9, buffers="reset"), 0.9, inf),
    "vrl_sgd": (vrl_sgd(RATE, STEPS), 0.0, RATE * 3),
    # Velocities of a constant direction of 1: 1, 1.9, 2.71.
    "vrl_sgd_with_momentum": (vrl_sgd(RATE, STEPS, momentum=0.9), 0.9, RATE * 5.61),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("method", METHODS)
def test_two_phases_are_fedrep(method, runtime):
    strategy, momentum, reach = METHODS[method]
    body, heads, losses = plain(momentum, reach)
    result = simulate(
        made(Headed),
        pairs(),
        strategy,
        rounds=ROUNDS,
        batch_size=BATCH,
        runtime=RUNTIMES[runtime],
        device="cpu",
        personal=["head"],
        personal_steps=FIRST,
    )
    assert "one client at a time" not in result.executor
    assert float((result.params - body).abs().max()) <= 1e-12
    assert float((result.client_states.own.personal - heads).abs().max()) <= 1e-12
    assert [row["local_loss"] for row in result.history] == pytest.approx(losses, rel=1e-12)
    assert result.history[-1]["local_steps"] == ROUNDS * STEPS


@dataclass(frozen=True)
class Falling(Rate):
    """Step sizes that fall within every round, behind some large ones."""

    before: int

    def at(self, round_index, first_step, steps):
        falling = RATE * 0.8 ** np.arange(steps - self.before)
        return np.concatenate([np.full(self.before, 7.0), falling])


@dataclass(frozen=True)
class Longer(Period):
    """Some steps more than another period has."""

    base: Period
    more: int

    @property
    def requires(self):
        return self.base.requires

    @property
    def breaks(self):
        return self.base.breaks

    def init(self):
        return self.base.init()

    def steps(self, state, round_index, epoch):
        return self.base.steps(state, round_index, epoch) + self.more

    def observe(self, state, row):
        return self.base.observe(state, {**row, "period": row["period"] - self.more})


@pytest.mark.parametrize("name", one_of_each("inner", "correction", "mixing", "outer"))
def test_steps_of_personal_parameters_change_no_method(name):
    """Personal steps of a parameter that nothing depends on are as good as none, on full batches.

    What counts or divides by local steps, or sums their sizes, must leave them out.
    """
    strategy, ends = strategy_of(name, "K=3"), []
    for first in (0, FIRST):
        result = simulate(
            made(Unheard),
            pairs(),
            replace(
                strategy,
                inner=replace(strategy.inner, lr=Falling(first)),
                period=Longer(strategy.period, first),
            ),
            rounds=2,
            batch_size=None,
            runtime="loop",
            device="cpu",
            personal=["ghost"],
            personal_steps=first,
        )
        ends.append(torch.cat([result.params, result.client_params.ravel()]))
    assert float((ends[0] - ends[1]).abs().max()) <= 1e-12


def test_ragged_steps_agree_between_runtimes():
    strategy, ends = replace(scaffold(RATE, STEPS), period=Epochs(3)), []
    for runtime in RUNTIMES.values():
        result = simulate(
            made(Headed), pairs(), strategy, rounds=2, batch_size=BATCH,
            runtime=runtime, device="cpu", personal=["head"], personal_steps=2,
        )  # fmt: skip
        assert "one client at a time" not in result.executor
        ends.append(torch.cat([result.params, result.client_states.own.personal.ravel()]))
    assert all(float((end - ends[0]).abs().max()) <= 1e-12 for end in ends)


def test_who_is_stopped_before_the_shared_steps_sends_nothing():
    def answered(first: int) -> list[int]:
        result = simulate(
            made(Headed), pairs(), local_sgd(RATE, STEPS), rounds=2, batch_size=BATCH,
            runtime="loop", device="cpu", personal=["head"], personal_steps=first,
            deadline=Deadline(seconds=0.135, late="partial"),
        )  # fmt: skip
        return [row["answered"] for row in result.history]

    assert answered(1) == [3, 3]
    assert answered(4) == [0, 0]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"personal": ["head"], "personal_steps": STEPS},
            "client 0 takes 5 local steps in round 1, and personal_steps=5 leaves none to the"
            " shared parameters; take a longer period or fewer personal steps",
        ),
        (
            {"personal_steps": 2},
            "personal_steps=2 trains personal parameters, and personal is empty; name them, for"
            " example personal=['head']",
        ),
        (
            {"personal": ["head"], "personal_steps": -1},
            "personal_steps must be a whole number >= 0, got -1",
        ),
    ],
)
def test_refusals(options, line):
    with pytest.raises(ValueError) as refusal:
        simulate(made(Headed), pairs(), local_sgd(RATE, STEPS), device="cpu", **options)
    assert str(refusal.value) == line
