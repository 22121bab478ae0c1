"""The way of a captured graph, with a capture that any machine has: doing it again."""

from functools import partial

import pytest
import torch

from fedlocal.runtime import Vmapped, round_parts, vmapped
from fedlocal.runtime.round_parts import in_pieces
from fedlocal.runtime.tracing.cuda_graphs import KEPT, CudaGraphed
from fedlocal.vectors.trees import leaves
from tests import ragged
from tests.choices import sample
from tests.runs import final, largest_difference
from tests.strategies_in_conf import one_of_each, strategy_of


def again(function):
    """As a CUDA graph does it: the same places in memory are read and filled at every replay."""
    function()
    result = function()

    def replay():
        for place, new in zip(leaves(result), leaves(function()), strict=True):
            place.copy_(new)

    return replay, result


def test_results_are_those_of_the_arguments_and_stay_what_they_are():
    replayed = CudaGraphed(lambda a, rest: (a + rest[0], (a * 2, ())), again)
    x = torch.rand(3)
    first = replayed(x, (x,))
    kept = first[0].clone()
    second = replayed(x + 1, (x,))
    assert torch.equal(first[0], kept) and torch.equal(kept, x + x)
    assert torch.equal(second[0], x + 1 + x) and torch.equal(second[1][0], (x + 1) * 2)


def test_arguments_are_not_written_to_and_may_be_expanded():
    replayed = CudaGraphed(lambda a: a + 1, again)
    row = torch.zeros(2)
    for value in (0.0, 5.0):
        row.fill_(value)
        assert torch.equal(replayed(row.expand(4, 2)), torch.full((4, 2), value + 1))
        assert torch.equal(row, torch.full((2,), value))


def test_one_capture_for_each_shape_and_the_oldest_is_dropped():
    captures = []

    def counted(function):
        captures.append(1)
        return again(function)

    replayed = CudaGraphed(lambda a: a * 2, counted)
    for size in (1, 2, 1, 2):
        replayed(torch.rand(size))
    assert len(captures) == 2
    for size in range(3, 3 + KEPT):
        replayed(torch.rand(size))
    replayed(torch.rand(1))
    assert len(captures) == 2 + KEPT + 1


def test_steps_in_pieces_are_the_same_steps():
    each = torch.arange(14).reshape(7, 2), (torch.rand(7, 2), ())
    seen = []

    def note(local, part, shared):
        assert shared == "shared"
        seen.append(part)
        return local + len(part[0])

    assert in_pieces(note, 3)(0, each, "shared") == 7
    assert [len(part[0]) for part in seen] == [3, 3, 1]
    for together, *components in zip(leaves(each), *map(leaves, seen), strict=True):
        assert torch.equal(torch.cat(components), together)


@pytest.mark.parametrize("name", sample(one_of_each("inner", "correction", "uplink"), 3))
def test_a_run_by_captured_steps_has_the_same_bits(name, monkeypatch):
    def run(program):
        return final(ragged.simulation(strategy_of(name), Vmapped(program=program), rounds=2))

    # Recorded ones have the bits of direct ones: test_programs.py.
    direct, captured = run("direct"), []

    def replayed(function):
        captured.append(function)
        return CudaGraphed(function, again)

    def of_a_gpu(*given):
        return round_parts.parts_of(*given[:-1], torch.device("cuda"))

    monkeypatch.setattr(round_parts, "CudaGraphed", replayed)
    monkeypatch.setattr(round_parts, "in_pieces", partial(in_pieces, most=2))
    monkeypatch.setattr(vmapped, "parts_of", of_a_gpu)
    assert largest_difference(direct, run("recorded")) == 0
    assert captured
