"""Whatever runs a local step, the numbers are the same."""

import logging
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from fedlocal import simulate
from fedlocal.models import lenet5
from fedlocal.runtime import Loop, Vmapped
from fedlocal.runtime.tracing import backends as program
from fedlocal.runtime.tracing.backends import close, compile_graph
from fedlocal.runtime.tracing.trace import record
from fedlocal.slots import Correction
from fedlocal.vectors.trees import leaves
from strategies import local_sgd, scaffold
from tests import ragged
from tests.choices import sample
from tests.ragged import ragged_clients, small_model
from tests.runs import final, largest_difference
from tests.strategies_in_conf import one_of_each, strategy_of


@pytest.mark.parametrize("name", sample(one_of_each("inner", "correction", "uplink"), 2))
def test_recorded_steps_give_the_same_bits(name):
    direct, recorded = (
        final(ragged.simulation(strategy_of(name), Vmapped(program=program), rounds=2, every=1))
        for program in ("direct", "recorded")
    )
    pairs = zip(leaves(direct.server), leaves(recorded.server), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert largest_difference(direct, recorded) == 0


@pytest.mark.parametrize("strategy", [local_sgd(0.1, 3), scaffold(0.1, 3)], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_rounds_with_cohorts_of_changing_size(strategy, dtype):
    runs = [
        final(ragged.simulation(strategy, runtime, rounds=8, participation=0.5, dtype=dtype))
        for runtime in (Loop(), Vmapped(program="recorded"), Vmapped(2, program="recorded"))
    ]
    allowed = 1e-12 if dtype == torch.float64 else 1e-5
    assert all(largest_difference(runs[0], run) < allowed for run in runs[1:])


def test_pictures_with_the_channels_last():
    rng = torch.Generator().manual_seed(0)
    clients = [
        (torch.rand(n, 1, 28, 28, generator=rng), torch.randint(0, 10, (n,), generator=rng))
        for n in (5, 9, 7)
    ]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = lenet5((1, 28, 28), 10)
    loop, recorded = (
        simulate(
            model, clients, local_sgd(0.1, 3), rounds=2, batch_size=6, runtime=runtime,
            dtype=torch.float64, device="cpu",
        ).params
        for runtime in (Loop(), Vmapped(program="recorded"))
    )  # fmt: skip
    assert torch.allclose(loop, recorded, rtol=0, atol=1e-12)


@pytest.mark.slow  # a compiler works for half a minute
def test_compiled_steps_differ_by_rounding():
    strategy = scaffold(0.1, 3)
    runs = [
        final(ragged.simulation(strategy, Vmapped(program=program)))
        for program in ("direct", "compiled")
    ]
    assert largest_difference(*runs) < 1e-12


GIVEN = [torch.arange(3.0)]


def graph_of(function):
    return record(function, tuple(GIVEN))[0]


def test_a_compiler_that_gives_other_numbers_is_not_used(caplog):
    graph = graph_of(lambda a: a * 2)

    def wrong(graph, inputs):
        return lambda a: [a * 2 + 1e-3]

    assert compile_graph(graph, GIVEN, wrong) is None
    assert "other numbers" in caplog.text


def test_a_compiler_that_fails_is_not_used(caplog):
    def broken(graph, inputs):
        def call(*given):
            raise RuntimeError("no such header")

        return call

    graph = graph_of(lambda a: a * 2)
    assert compile_graph(graph, GIVEN, broken) is None
    assert "no such header" in caplog.text


def test_a_step_that_is_not_compiled_does_not_say_so(monkeypatch):
    monkeypatch.setattr(program, "compile_graph", lambda graph, inputs: None)
    finish = program.Finish("compiled", 1)
    assert torch.equal(finish(graph_of(lambda a: a * 2), GIVEN)(*GIVEN)[0], GIVEN[0] * 2)
    assert not finish.compiles


def test_a_compiler_that_rounds_otherwise_is_used(caplog):
    caplog.set_level(logging.INFO)

    def good(graph, inputs):
        return lambda a: [a * 2 * (1 + 1e-7)]

    fast = compile_graph(graph_of(lambda a: a * 2), GIVEN, good)
    assert torch.equal(fast(*GIVEN)[0], GIVEN[0] * 2 * (1 + 1e-7))
    assert "compiled in" in caplog.text


def test_a_compiler_is_given_the_examples_and_cannot_copy_them():
    data = torch.rand(4)
    graph = record(lambda a: data[a] + data.sum(), (torch.arange(2),))[0]

    def given(graph, inputs):
        assert list(graph.buffers()) == [] and inputs[-1].data_ptr() == data.data_ptr()
        return graph.forward

    fast = compile_graph(graph, [torch.arange(2)], given)
    data.zero_()
    assert torch.equal(fast(torch.arange(2))[0], torch.zeros(2))


@pytest.mark.parametrize(("groups", "compiles"), [(1, False), (2, True)])
def test_ordinary_convolutions_are_left_to_the_libraries(groups, compiles, monkeypatch):
    monkeypatch.setattr(program, "compile_graph", lambda graph, inputs: graph.forward)
    monkeypatch.setattr(program, "can_compile", lambda: True)
    weight, x = torch.rand(4, 4 // groups, 3, 3), torch.rand(2, 4, 8, 8)
    graph = record(lambda x: nn.functional.conv2d(x, weight, groups=groups), (x,))[0]
    finish = program.Finish("auto", 10**12)
    finish(graph, [x])
    assert finish.compiles == compiles


def test_close_takes_rounding_for_equal_and_nothing_else():
    a = torch.tensor([1e3, 1e-3, float("nan")])
    assert close(a, a * (1 + 1e-7))
    assert not close(a, a + torch.tensor([0.0, 0.1, 0.0]))
    assert not close(a, torch.tensor([1e3, 1e-3, 0.0]))
    assert not close(torch.tensor([1]), torch.tensor([2]))


class Halved(torch.autograd.Function):
    """Goes through numpy, as no record can."""

    @staticmethod
    def forward(v):
        return torch.from_numpy(v.numpy() / 2)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def vmap(info, in_dims, v):
        return Halved.apply(v), in_dims[0]


@dataclass(frozen=True)
class ThroughNumpy(Correction):
    def correct(self, grad, x, state, view):
        return Halved.apply(grad)


def test_a_piece_that_cannot_be_recorded_runs_as_long_as_others():
    strategy = replace(local_sgd(0.1, 3), correction=ThroughNumpy())
    loop, vmapped = (
        final(ragged.simulation(strategy, runtime, rounds=70)) for runtime in (Loop(), Vmapped())
    )
    assert largest_difference(loop, vmapped) < 1e-12


def test_words_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="executor must be one of auto, vectorised, chunked"):
        Vmapped(executor="fast")
    with pytest.raises(ValueError, match="program must be one of auto, direct, recorded"):
        Vmapped(program="fast")
    with pytest.raises(ValueError, match="clients_per_batch must be >= 1, got 0"):
        Vmapped(0)


def test_a_run_says_how_it_was_run():
    def said(runtime, rounds=1):
        sim = ragged.simulation(local_sgd(0.1, 3), runtime, rounds=rounds)
        assert runtime == Loop() or sim.cohort.about == ""
        final(sim)
        return sim.cohort.about

    assert said(Loop()) == "one client after another"
    assert said(Vmapped(executor="vectorised")) == (
        "vectorised: 5 clients at once; local steps direct"
    )
    assert said(Vmapped(2, program="recorded")) == (
        "chunked: 3 groups of 2 clients; local steps recorded"
    )
    assert said(Vmapped(executor="sequential")) == "sequential: 5 clients; local steps direct"
    # 70 rounds of 3 steps are worth recording, and what a small model needs is measured.
    assert said(Vmapped(), 70) == "vectorised: 5 clients at once; local steps recorded"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((5, 3, 4), "sequential: 3 clients, whose batches differ in size"),
        ((5, 3, 5), "chunked: 2 groups of up to 2 clients, whose batches differ in size"),
        ((9, 8, 6), "vectorised: 3 clients at once"),
    ],
)
def test_clients_that_no_group_can_join_are_counted_apart(sizes, said):
    """A loss that is no mean over examples is never padded."""
    clients = [(torch.randn(n, 4), torch.arange(n) % 3) for n in sizes]
    result = simulate(
        nn.Linear(4, 3), clients, local_sgd(0.1, 3), rounds=1, batch_size=6,
        loss=nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0])), device="cpu",
    )  # fmt: skip
    assert result.executor == f"{said}; local steps direct"


def test_simulate_takes_a_runtime_with_settings():
    result = simulate(
        small_model(), ragged_clients(), local_sgd(0.1, 3), rounds=1, batch_size=6,
        runtime=Vmapped(executor="chunked"), device="cpu",
    )  # fmt: skip
    assert len(result.history) == 1
