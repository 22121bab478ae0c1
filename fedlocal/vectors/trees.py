"""Trees of tensors: a tensor, or a tuple or NamedTuple of trees. The empty tuple is "no state"."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

# A recursive alias would be exact, but NamedTuples of tensors do not match one in pyright.
Tree = Any


def tree_map(function: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """Apply `function` to the tensors at the same position of every tree.

    >>> tree_map(lambda a, b: a + b, (1, (2, ())), (10, (20, ())))
    (11, (22, ()))
    """
    if not isinstance(tree, tuple):
        return function(tree, *rest)
    if not tree and not rest:
        return tree
    parts = [tree_map(function, *parts) for parts in zip(tree, *rest, strict=True)]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


def leaves(tree: Tree) -> Iterator[Tensor]:
    """Yield the tensors of a tree, from left to right."""
    if isinstance(tree, tuple):
        for part in tree:
            yield from leaves(part)
    else:
        yield tree


def like(tree: Tree, tensors: Iterable[Tensor]) -> Tree:
    """Return a tree of the same structure with these tensors, from left to right.

    >>> like((1, (2, ())), [10, 20])
    (10, (20, ()))
    """
    rest = iter(tensors)
    return tree_map(lambda _: next(rest), tree)


def stack(trees: list[Tree]) -> Tree:
    """Stack S trees of [...] tensors to one tree of [S, ...] tensors."""
    return tree_map(lambda *rows: torch.stack(rows), *trees)


def concatenate(trees: list[Tree]) -> Tree:
    """Concatenate trees of [Si, ...] tensors to one tree of [S1 + S2 + ..., ...] tensors."""
    return tree_map(lambda *rows: torch.cat(rows), *trees)


def take(tree: Tree, rows: Tensor | slice | int) -> Tree:
    """Return the given rows of every tensor."""
    return tree_map(lambda t: t[rows], tree)


def put(tree: Tree, rows: Tensor, values: Tree) -> Tree:
    """Return a copy of the tree with the given rows replaced."""
    return tree_map(lambda t, v: t.index_copy(0, rows, v), tree, values)


def repeat(tree: Tree, count: int) -> Tree:
    """Repeat every tensor [...] as `count` equal rows [count, ...]."""
    return tree_map(lambda t: t.unsqueeze(0).repeat(count, *([1] * t.dim())), tree)


def expand(tree: Tree, count: int) -> Tree:
    """Expand every tensor [...] to a read-only view of `count` equal rows [count, ...]."""
    return tree_map(lambda t: t.expand(count, *t.shape), tree)


def rows(tree: Tree) -> Iterator[tuple[Tensor, ...]]:
    """Yield the tensors of each row of a tree, from left to right."""
    return zip(*(t.unbind(0) for t in leaves(tree)), strict=True)


def scan(function: Callable[[Tree, Tree, Tree], Tree], state: Tree, each: Tree, rest: Tree) -> Tree:
    """Apply state = function(state, row, rest) to one row after another; return the last state.

    Args:
        function: Computes the next state.
        state: State before the first row.
        each: One row per step, every tensor [H, ...].
        rest: Argument that all steps share.
    """
    for row in rows(each):
        state = function(state, like(each, row), rest)
    return state


def select(flag: Tensor, yes: Tree, no: Tree) -> Tree:
    """Return `yes` if the scalar `flag` is true, else `no`; a mask and no branch, for vmap."""
    return tree_map(lambda a, b: torch.where(flag, a, b), yes, no)


def map_rows(function: Callable[..., Tree], in_dims: Any = 0) -> Callable[..., Tree]:
    """Map a function of trees over rows with `torch.vmap`; call it directly for a single row.

    vmap costs a tenth of a millisecond, and splits some operations that are one for a single row.

    >>> map_rows(lambda a, b: (a * b, ()))(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]))
    (tensor([[3., 6.]]), ())
    """

    def apply(*trees: Tree) -> Tree:
        tensors = tuple(leaves(trees))
        dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(trees)
        axes = tuple(_axes(trees, dims))
        if tensors[0].shape[axes[0]] == 1:
            rows = (t.select(axis, 0) for t, axis in zip(tensors, axes, strict=True))
            return tree_map(lambda t: t.unsqueeze(0), function(*like(trees, rows)))
        form: Tree = ()

        def flat(*rows: Tensor) -> tuple[Tensor, ...]:
            nonlocal form
            outcome = function(*like(trees, rows))
            form = tree_map(lambda _: None, outcome)
            return tuple(leaves(outcome))

        # vmap processes nested tuples at every call, which is a tenth of a small model's step.
        outcome = torch.vmap(flat, axes)(*tensors)
        return like(form, outcome)

    return apply


def _axes(tree: Tree, dims: Any) -> Iterator[int]:
    """Yield the dimension of the rows for each tensor."""
    if isinstance(dims, tuple):
        for part, dim in zip(tree, dims, strict=True):
            yield from _axes(part, dim)
    else:
        yield from (dims for _ in leaves(tree))


def weighted_mean(tree: Tree, weights: Tensor) -> Tree:
    """Compute the weighted mean over rows, [S, ...] -> [...]. `weights` [S] sum to 1."""
    return tree_map(lambda t: torch.tensordot(weights.to(t.dtype), t, dims=1), tree)
