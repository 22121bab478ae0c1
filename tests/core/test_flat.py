"""A model's parameters as one vector, and back."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedlocal.vectors.flat import BufferSpec, ParamSpec, assign, flatten


def mlp(dtype=torch.float64):
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False)).to(dtype)


class Bag(nn.Module):
    """Parameters of any shapes."""

    def __init__(self, shapes):
        super().__init__()
        self.parts = nn.ParameterList([torch.randn(shape, dtype=torch.float64) for shape in shapes])


@given(shapes=st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=5))
def test_round_trip(shapes):
    model = Bag(shapes)
    spec, x = ParamSpec.of(model), flatten(model)
    assert spec.shapes == tuple(shapes) and x.shape == (spec.size,) == (sum(spec.sizes),)
    assert spec.names == tuple(name for name, _ in model.named_parameters())
    named = spec.named(x)
    for name, parameter in model.named_parameters():
        assert torch.equal(named[name], parameter)
    other = torch.randn(spec.size, dtype=torch.float64)
    assign(model, other)
    assert torch.equal(flatten(model), other)


def test_the_order_is_that_of_the_parameters():
    model = mlp()
    expected = nn.utils.parameters_to_vector(model.parameters()).detach()
    assert torch.equal(flatten(model), expected)
    assert ParamSpec.of(model) == ParamSpec(
        ("0.weight", "0.bias", "2.weight"), ((4, 3), (4,), (2, 4))
    )
    assert ParamSpec.of(model).sizes == (12, 4, 8)


def test_named_gives_views():
    spec = ParamSpec.of(mlp())
    x = torch.zeros(spec.size)
    spec.named(x)["0.bias"][1] = 5.0
    assert x.nonzero().tolist() == [[13]]


def test_named_keeps_leading_dimensions():
    spec, x = ParamSpec.of(mlp()), torch.randn(5, 2, 24)
    for name, shape in zip(spec.names, spec.shapes, strict=True):
        assert spec.named(x)[name].shape == (5, 2, *shape)
        assert torch.equal(spec.named(x)[name][3, 1], spec.named(x[3, 1])[name])


def test_flatten_copies():
    model = nn.Linear(1, 1, bias=False)
    x = flatten(model)
    x += 1
    assert not torch.equal(flatten(model), x) and not x.requires_grad


def test_assign_keeps_type_and_identity():
    model = mlp(torch.float32)
    parameters = list(model.parameters())
    assign(model, torch.arange(24, dtype=torch.float64))
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(p.dtype == torch.float32 for p in parameters)
    assert torch.equal(flatten(model), torch.arange(24, dtype=torch.float32))


def test_assign_refuses_another_size():
    with pytest.raises(RuntimeError, match="split"):
        assign(mlp(), torch.zeros(23))


def test_shared_parameters_stand_in_the_vector_once():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    model[1].weight = model[0].weight
    assert ParamSpec.of(model).size == 9 == len(flatten(model))
    assign(model, torch.arange(9, dtype=torch.float64))
    assert torch.equal(model[1].weight.reshape(-1), torch.arange(9, dtype=torch.float64))


def test_only_trained_parameters_are_in_the_vector():
    model = mlp()
    model[0].weight.requires_grad_(False)
    assert ParamSpec.of(model).names == ("0.bias", "2.weight")
    assert ParamSpec.of(mlp(), lambda name: name.startswith("2")).size == 8
    with pytest.raises(ValueError, match="the model has no trained parameters"):
        flatten(nn.ReLU())


def test_buffers_are_rounded_to_their_own_dtype():
    model = nn.BatchNorm1d(3)
    spec = BufferSpec.from_names(("running_var", "num_batches_tracked"), model)
    x = torch.tensor([1.0, 2.0, 3.5, 6.6])
    named = spec.named(x)
    assert named["num_batches_tracked"].dtype == torch.int64
    assert named["num_batches_tracked"].item() == 7 and named["running_var"].tolist() == [1, 2, 3.5]
    named["running_var"].zero_()
    assert x.tolist() == pytest.approx([1.0, 2.0, 3.5, 6.6])
    assert spec.flat(named, x).tolist() == [0, 0, 0, 7]


def test_a_spec_is_a_value():
    spec = ParamSpec.of(mlp())
    assert spec == copy.deepcopy(spec) and hash(spec) == hash(ParamSpec.of(mlp()))
