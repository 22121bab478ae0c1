"""Laws of trees of tensors."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.vectors.trees import (
    concatenate,
    leaves,
    map_rows,
    put,
    repeat,
    select,
    stack,
    take,
    tree_map,
    weighted_mean,
)


class Pair(NamedTuple):
    left: object
    right: object


# Shapes of trees; every leaf is a number of columns.
SHAPES = st.recursive(
    st.one_of(st.integers(0, 3), st.just(())),
    lambda inner: st.one_of(
        st.tuples(inner, inner), st.tuples(inner), st.builds(Pair, inner, inner)
    ),
    max_leaves=5,
)


def grow(shape, rows, seed=0):
    source = torch.Generator().manual_seed(seed)
    return tree_map(
        lambda columns: torch.randn((rows, columns), generator=source, dtype=torch.float64), shape
    )


def same(a, b):
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a.dtype == b.dtype and torch.equal(a, b)


@given(shape=SHAPES)
def test_map_keeps_structure_and_composes(shape):
    tree = grow(shape, 3)
    assert same(tree_map(lambda t: t, tree), tree)
    twice = tree_map(lambda t: 2 * t, tree)
    assert same(tree_map(lambda t: 2 * t + 1, tree), tree_map(lambda t: t + 1, twice))
    assert same(tree_map(torch.add, tree, tree), twice)
    assert [tuple(t.shape) for t in leaves(tree)] == [(3, n) for n in leaves(shape)]


@given(shape=SHAPES, count=st.integers(1, 4))
def test_stack_undoes_take(shape, count):
    tree = grow(shape, count)
    assert same(stack([take(tree, i) for i in range(count)]), tree)
    assert same(concatenate([take(tree, slice(i, i + 1)) for i in range(count)]), tree)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    assert same(take(take(tree, order), torch.argsort(order)), tree)


@given(shape=SHAPES)
def test_put_replaces_rows_and_copies(shape):
    tree, new, rows = grow(shape, 5), grow(shape, 2, seed=1), torch.tensor([3, 1])
    before = tree_map(torch.clone, tree)
    after = put(tree, rows, new)
    assert same(tree, before)
    assert same(take(after, rows), new)
    untouched = torch.tensor([0, 2, 4])
    assert same(take(after, untouched), take(tree, untouched))
    assert same(put(tree, rows, take(tree, rows)), tree)


@given(shape=SHAPES, count=st.integers(1, 4))
def test_repeat_makes_equal_rows(shape, count):
    row = take(grow(shape, 1), 0)
    assert same(repeat(row, count), stack([row] * count))


def test_repeated_rows_do_not_share_memory():
    many = repeat((torch.zeros(2), torch.tensor(1.0)), 3)
    many[0][1] += 1
    assert many[0].tolist() == [[0, 0], [1, 1], [0, 0]] and many[1].tolist() == [1, 1, 1]


@given(shape=SHAPES)
def test_select(shape):
    yes, no = grow(shape, 3), grow(shape, 3, seed=1)
    assert same(select(torch.tensor(True), yes, no), yes)
    assert same(select(torch.tensor(False), yes, no), no)
    flags = torch.tensor([True, False, True])
    mixed = torch.vmap(select)(flags, yes, no) if list(leaves(yes)) else yes
    assert same(mixed, put(yes, torch.tensor([1]), take(no, slice(1, 2))))


@given(shape=SHAPES, count=st.integers(1, 4))
def test_weighted_mean(shape, count):
    tree = grow(shape, count)
    weights = torch.arange(1, count + 1, dtype=torch.float64)
    weights /= weights.sum()
    mean = weighted_mean(tree, weights)
    for rows, row in zip(leaves(tree), leaves(mean), strict=True):
        assert torch.allclose(row, (weights[:, None] * rows).sum(0), rtol=0, atol=1e-15)
    one = torch.zeros(count, dtype=torch.float64)
    one[-1] = 1
    assert same(weighted_mean(tree, one), take(tree, count - 1))


def test_weighted_mean_keeps_the_dtype_of_the_tree():
    weights = torch.tensor([0.25, 0.75], dtype=torch.float64)
    assert weighted_mean(torch.ones(2, 3), weights).dtype == torch.float32
    assert weighted_mean(torch.tensor([1.0, 5.0]), weights).tolist() == 4.0


@pytest.mark.parametrize("rows", [1, 3])
def test_each_row_is_given_alone(rows):
    a, b = torch.rand(rows, 4, dtype=torch.float64), torch.rand(rows, dtype=torch.float64)
    found = map_rows(lambda pair, state: (Pair(pair.left * pair.right, ()), state))(Pair(a, b), ())
    assert found[1] == () and torch.equal(found[0].left, a * b.unsqueeze(1))


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_may_stand_at_any_place(rows):
    a, b = torch.rand(2, 4, rows, dtype=torch.float64), torch.rand(rows, dtype=torch.float64)
    function = map_rows(lambda pair, b: pair.left[0] * b, (Pair(2, 0), 0))  # type: ignore[arg-type]
    assert torch.equal(function(Pair(a, ()), b), (a[0] * b).T)


@pytest.mark.parametrize("function", [tree_map, put])
def test_trees_of_different_structure_are_refused(function):
    with pytest.raises(ValueError, match="zip"):
        if function is put:
            put((torch.zeros(2), torch.zeros(2)), torch.tensor([0]), (torch.zeros(1),))
        else:
            tree_map(torch.add, (torch.zeros(2),), (torch.zeros(2), torch.zeros(2)))


def test_no_state_is_a_tree_without_leaves():
    assert list(leaves(())) == [] and list(leaves(((), ((), ())))) == []
    rows = torch.tensor([0])
    assert take((), rows) == stack([(), ()]) == repeat((), 3) == put((), rows, ()) == ()
    assert select(torch.tensor(True), (), ()) == weighted_mean((), torch.ones(1)) == ()
