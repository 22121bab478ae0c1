"""Compute functions with their nonlinear elementwise operations replaced by others.

Two functions may agree wherever they are tried and differ elsewhere: relu(x - 25) is 0 for all
small x, and nothing shows what it is applied to. Here relu, comparisons and all other nonlinear
elementwise operations become cosines of their arguments, the same one for the same operation. Sums,
products, quotients and movements of data stay as they are. Functions that agree under this
interpretation apply the same operations to the same arguments, except by chance, so they agree for
all values.

Reference: Gulwani, Necula. Global value numbering using random interpretation. 2004.
https://doi.org/10.1145/964001.964030
"""

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from math import copysign, isfinite, log
from typing import Any
from zlib import crc32

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.overrides import TorchFunctionMode

from fedlocal.utils.torch_private import TO_COPY, OperationMode, decompositions, written

# Elementwise operations that are computed as they are.
KEPT = {"add", "sub", "rsub", "mul", "div", "neg", "clone", "alias"}
# Reductions that return one of their entries, and hide the others.
SELECTIONS = {"amax", "amin", "max", "min", "any", "all"}
# Operations that show only on which side of others a value lies.
REFUSED = {
    "_cdist_forward", "_pdist_forward", "argmax", "argmin", "bincount", "bucketize", "cummax",
    "cummin", "histc", "kthvalue", "median", "mode", "nanmedian", "nonzero", "searchsorted", "sort",
    "topk",
}  # fmt: skip
# Operations that a large entry saturates.
SATURATED = {"_softmax", "_log_softmax"}
# Larger numbers are replaced where they hide what they are added to, or saturate a softmax. Smaller
# ones stay, since a mean divides by the number of its entries.
LARGEST = 8.0
# Replacement of infinite entries, such as those of masks, and of factors near 0.
INSTEAD = 3.0
NEGLIGIBLE = 1e-9


class DependsOnValues(TypeError):
    """Raised where operations depend on values: a branch, or an operation of `REFUSED`."""


class Source(IntEnum):
    """Origin of a tensor: constants only, one target for each entry, or anything else."""

    CONSTANT = 0
    TARGETS = 1
    FREE = 2


def interpret(
    function: Callable[[], Sequence[Tensor]],
    free: Sequence[Tensor],
    targets: Tensor | None = None,
    all_targets: Tensor | None = None,
) -> Sequence[Tensor] | None:
    """Return what a function returns under this interpretation; None where it has none.

    A function has none if values become indices, or if it computes with complex numbers.

    Args:
        function: () -> tensors.
        free: Tensors that it reads, and that may have other values.
        targets: A tensor of targets, which operations of single ones take as they are. Comparisons
            that do not come out alike for all targets are replaced.
        all_targets: All targets of the run; `targets` if None.

    Raises:
        DependsOnValues: The operations depend on values.
    """
    with _Rewritten(), Interpretation(free, targets, all_targets):
        try:
            return function()
        except DependsOnValues:
            raise
        except Exception:  # User code may raise anything where values are others.
            return None


class _Rewritten(TorchFunctionMode):
    """Calls functions that accept the interpretation's values instead of others that do not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        called: Any = REWRITTEN.get(func, func)
        return called(*args, **(kwargs or {}))


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes < 1:
        raise DependsOnValues("the number of classes")
    return (tensor.unsqueeze(-1) == torch.arange(num_classes, device=tensor.device)).long()


# `~` refuses numbers, which comparisons become, and `one_hot` looks at the smallest value.
REWRITTEN: dict[Any, Callable[..., Any]] = {
    Tensor.__invert__: torch.bitwise_not,
    one_hot: _one_hot,
}


class Interpretation(OperationMode):
    """Interpretation of the operations inside its context."""

    def __init__(
        self,
        free: Sequence[Tensor],
        targets: Tensor | None = None,
        all_targets: Tensor | None = None,
    ) -> None:
        super().__init__()
        self._dtype = next(
            (t.dtype for t in free if t.is_floating_point()), torch.get_default_dtype()
        )
        # By address; the tensors are kept, so that none is given away twice.
        self._sources: dict[int, tuple[Source, Tensor]] = {}
        # By the same: what the entries of all targets become.
        self._values: dict[int, Tensor] = {}
        if targets is not None:
            self._note(targets, Source.TARGETS)
            every = targets if all_targets is None else all_targets
            self._values[_place(targets)] = every.unique()
        for tensor in free:
            self._note(tensor, Source.FREE)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Compute an operation, or what replaces it."""
        kwargs = kwargs or {}
        if (simpler := decompositions().get(func)) is not None:
            with self:
                result = simpler(*args, **kwargs)
            if result is not NotImplemented:
                return result
        sources = [self._source(a) for a in _entries((args, kwargs)) if isinstance(a, Tensor)]
        source = max(sources, default=Source.CONSTANT)
        values = self._of_all_targets(func, args, kwargs) if source is Source.TARGETS else None
        if source is Source.TARGETS and values is None:
            source = Source.FREE
        for i in written(func) if source else ():
            if not self._is_known(args[i]):
                raise TypeError(f"{func} writes to a tensor of the user's code")
            self._note(args[i], Source.FREE)
        result = self._result(func, args, kwargs, source)
        for each in _entries(result):
            if isinstance(each, Tensor):
                if not self._is_known(each):  # Otherwise it is a view.
                    self._note(each, source)
                    if values is not None:
                        self._values[_place(each)] = values
            elif each is not None and source:
                raise DependsOnValues(str(func))
        return result

    def _of_all_targets(self, func: Any, args: Any, kwargs: Any) -> Tensor | None:
        """Return what an operation makes of all targets; None if it takes more than single ones."""
        tensors = [a for a in _entries((args, kwargs)) if isinstance(a, Tensor)]
        if not _is_elementwise(func) or sum(t.ndim > 0 for t in tensors) != 1:
            return None
        given = [self._values.get(_place(a), a) if isinstance(a, Tensor) else a for a in args]
        values = func(*given, **kwargs)
        varies = values.dtype is torch.bool and bool(values.any()) and not bool(values.all())
        return None if varies else values

    def _note(self, tensor: Tensor, source: Source) -> None:
        self._sources[_place(tensor)] = source, tensor

    def _is_known(self, tensor: Tensor) -> bool:
        return _place(tensor) in self._sources

    def _source(self, tensor: Tensor) -> Source:
        return self._sources.get(_place(tensor), (Source.CONSTANT, tensor))[0]

    def _result(self, func: Any, args: Any, kwargs: Any, source: Source) -> Any:
        name = str(func).split(".")[1].rstrip("_")
        if not source:
            return func(*args, **kwargs)
        if name in REFUSED:
            raise DependsOnValues(str(func))
        if name in SATURATED:
            return func(INSTEAD * self._cosine(name, args[:1]), *args[1:], **kwargs)
        if name in SELECTIONS:
            return self._selected(name, func(*args, **kwargs), *args, **kwargs)
        if func is TO_COPY and source is Source.FREE:
            return _converted(args[0], kwargs.get("dtype"))
        known = name == "where" and self._source(args[0]) is not Source.FREE
        if source is Source.TARGETS or known or not _is_elementwise(func):
            return func(*args, **kwargs)
        if name in KEPT and not kwargs.get("rounding_mode"):
            return func(*self._moderate_numbers(name, args), **kwargs)
        value = self._mixed(*args) if name == "where" else self._cosine(name, (args, kwargs))
        if not written(func):
            return value
        if not args[0].is_floating_point():
            raise TypeError(f"{func} writes to {args[0].dtype}")
        return args[0].copy_(value)

    def _cosine(self, name: str, args: Any) -> Tensor:
        """Return a cosine of all tensors and numbers among the arguments of an operation."""
        found = [a for a in _entries(args) if isinstance(a, Tensor | float | int)]
        total = torch.tensor(_factor(name, -1), dtype=self._dtype)
        for i, a in enumerate(found):
            total = total + _factor(name, i) * self._finite(a)
        return torch.cos(total)

    def _mixed(self, condition: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """Return a mixture of two tensors, linear in both as `where` is."""
        part = condition.to(self._dtype)
        return part * self._finite(one) + (1 - part) * self._finite(other)

    def _selected(
        self, name: str, result: Any, x: Tensor, dim: Any = (), keepdim: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return a sum of cosines of the entries, with the indices where the reduction has them."""
        value = self._cosine(name, (x,))
        dims = [dim] if isinstance(dim, int) else [*(dim or range(x.ndim))]
        value = value.sum(dims, keepdim=keepdim) if dims else value
        return value if isinstance(result, Tensor) else (value, result[1])

    def _moderate_numbers(self, name: str, args: Any) -> list[Any]:
        """Return arguments whose numbers hide nothing; indices keep theirs."""
        if not any(isinstance(a, Tensor) and a.is_floating_point() for a in args):
            return [*args]
        numbers = [
            a.item() if isinstance(a, Tensor) and a.ndim == 0 and not self._source(a) else a
            for a in args
        ]
        return [a if isinstance(a, Tensor) else _harmless(name, a) for a in numbers]

    def _finite(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return _moderate(float(value)) if isfinite(value) else copysign(INSTEAD, value)
        if value.is_complex():
            raise TypeError("complex numbers have no interpretation")
        return value.to(self._dtype).nan_to_num(INSTEAD, INSTEAD, -INSTEAD)


def _entries(args: Any) -> Iterator[Any]:
    """Yield the entries of nested arguments.

    >>> [*_entries(([1, (2,)], {"dim": 3}))]
    [1, 2, 3]
    """
    if isinstance(args, list | tuple | dict):
        for each in args.values() if isinstance(args, dict) else args:
            yield from _entries(each)
    else:
        yield args


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _is_elementwise(operation: Any) -> bool:
    return operation is TO_COPY or torch.Tag.pointwise in operation.tags


def _factor(name: str, place: int) -> float:
    """Return a number from 0.4 to 1.4 for an operation and the place of an argument.

    >>> round(_factor("relu", 0), 3), round(_factor("relu", 1), 3)
    (0.613, 0.656)
    """
    return 0.4 + crc32(f"{name} {place}".encode()) / 2**32


def _moderate(number: float) -> float:
    """Return a number of moderate magnitude: the given one, or another in its place.

    >>> _moderate(0.1), round(_moderate(-1e30), 3)
    (0.1, -0.578)
    """
    if abs(number) <= LARGEST:
        return number
    return copysign(0.5 + log(abs(number)) % 1, number)


def _harmless(name: str, number: float) -> float:
    """Return a number for a sum, product or quotient in which it hides nothing.

    >>> _harmless("mul", 0.0), _harmless("mul", 1e-4), _harmless("div", 5000.0)
    (3.0, 0.0001, 5000.0)
    >>> round(_harmless("add", -25.0), 3), round(_harmless("div", 0.01), 3)
    (-0.719, 0.905)
    """
    if name == "mul" and abs(number) < NEGLIGIBLE:
        # It may be another one later.
        return INSTEAD
    if name == "div" and number:
        return 1 / _moderate(1 / number)
    return _moderate(number)


def _converted(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return a copy; a conversion to whole numbers or to bool would hide what is rounded."""
    whole = dtype is not None and not (dtype.is_floating_point or dtype.is_complex)
    return value.clone() if dtype is None or whole else value.to(dtype)
