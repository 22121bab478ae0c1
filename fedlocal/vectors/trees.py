"""Trees of tensors: a tensor, or a tuple or NamedTuple of trees. The empty tuple is "no state"."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

# A recursive alias would be exact, but NamedTuples of tensors do not match one in pyright.
Tree = Any


def tree_map(function: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """Apply `function` to the tensors that stand at the same place of every tree.

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
    """The tensors of a tree, from left to right."""
    if isinstance(tree, tuple):
        for part in tree:
            yield from leaves(part)
    else:
        yield tree


def like(tree: Tree, tensors: Iterable[Tensor]) -> Tree:
    """A tree of the same form, with these tensors from left to right.

    >>> like((1, (2, ())), [10, 20])
    (10, (20, ()))
    """
    rest = iter(tensors)
    return tree_map(lambda _: next(rest), tree)


def stack(trees: list[Tree]) -> Tree:
    """One tree of [S, ...] tensors from S trees of [...] tensors."""
    return tree_map(lambda *rows: torch.stack(rows), *trees)


def concatenate(trees: list[Tree]) -> Tree:
    """One tree of [S1 + S2 + ..., ...] tensors from trees of [Si, ...] tensors."""
    return tree_map(lambda *rows: torch.cat(rows), *trees)


def take(tree: Tree, rows: Tensor | slice | int) -> Tree:
    """The given rows of every tensor."""
    return tree_map(lambda t: t[rows], tree)


def put(tree: Tree, rows: Tensor, values: Tree) -> Tree:
    """A copy of the tree with the given rows replaced."""
    return tree_map(lambda t, v: t.index_copy(0, rows, v), tree, values)


def repeat(tree: Tree, count: int) -> Tree:
    """Every tensor [...] as `count` equal rows [count, ...]."""
    return tree_map(lambda t: t.unsqueeze(0).repeat(count, *([1] * t.dim())), tree)


def expand(tree: Tree, count: int) -> Tree:
    """Every tensor [...] seen as `count` equal rows [count, ...]; not copied, so read only."""
    return tree_map(lambda t: t.expand(count, *t.shape), tree)


def rows(tree: Tree) -> Iterator[tuple[Tensor, ...]]:
    """The tensors of each row of a tree, from left to right."""
    return zip(*(t.unbind(0) for t in leaves(tree)), strict=True)


def scan(function: Callable[[Tree, Tree, Tree], Tree], state: Tree, each: Tree, rest: Tree) -> Tree:
    """The state after `function(state, row, rest)` for one row after another.

    Args:
        function: Gives the next state.
        state: Before the first row.
        each: A row for each step, every tensor [H, ...].
        rest: What all steps are given.
    """
    for row in rows(each):
        state = function(state, like(each, row), rest)
    return state


def select(flag: Tensor, yes: Tree, no: Tree) -> Tree:
    """`yes` where the scalar `flag` holds, else `no`; a mask and not a branch, for vmap."""
    return tree_map(lambda a, b: torch.where(flag, a, b), yes, no)


def each_row(function: Callable[..., Tree], in_dims: Any = 0) -> Callable[..., Tree]:
    """`torch.vmap` of a function of trees, but a single row is given to the function itself.

    vmap takes a tenth of a millisecond, and some operations apart that are one for one row.

    >>> each_row(lambda a, b: (a * b, ()))(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]))
    (tensor([[3., 6.]]), ())
    """
    many = torch.vmap(function, in_dims)

    def of_rows(*trees: Tree) -> Tree:
        dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(trees)
        if next(_rows(trees, dims)) > 1:
            return many(*trees)
        return tree_map(lambda t: t.unsqueeze(0), function(*_first(trees, dims)))

    return of_rows


def _rows(tree: Tree, dims: Any) -> Iterator[int]:
    """How many rows each tensor has."""
    if isinstance(dims, tuple):
        for part, dim in zip(tree, dims, strict=True):
            yield from _rows(part, dim)
    else:
        yield from (t.shape[dims] for t in leaves(tree))


def _first(tree: Tree, dims: Any) -> Tree:
    """The first row of every tensor."""
    if not isinstance(dims, tuple):
        return tree_map(lambda t: t.select(dims, 0), tree)
    parts = [_first(part, dim) for part, dim in zip(tree, dims, strict=True)]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


def weighted_mean(tree: Tree, weights: Tensor) -> Tree:
    """Mean over the rows of every tensor, [S, ...] -> [...]. `weights` [S] sum to 1."""
    return tree_map(lambda t: torch.tensordot(weights.to(t.dtype), t, dims=1), tree)
