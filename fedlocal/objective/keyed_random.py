"""Random functions inside a user's model, drawn from a key.

A mini-batch gradient has a key per client, round and step. Under `Keyed(key)` dropout, `torch.rand`
and the others are functions of (key, number of the call, element), so that a run has the same bits
in every runtime, for any grouping of clients, and after a resume.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from types import FunctionType
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from fedlocal.objective.random_ops import COMPOSED, DRAWS, UnkeyedError
from fedlocal.objective.random_stream import Stream


class Keyed(TorchFunctionMode):
    """Mode that draws all random numbers of the context from a key.

    Args:
        key: Key, int64 [].
    """

    def __init__(self, key: Tensor) -> None:
        super().__init__()
        self._stream = Stream(key)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace random functions; call the others as they are."""
        given = kwargs or {}
        if function in COMPOSED:
            with self:
                return _unchecked(function)(*args, **given)
        draw = DRAWS.get(function)
        if draw is None:
            return function(*args, **given)
        if given.pop("generator", None) is not None:
            raise UnkeyedError(
                f"{function.__name__} draws from a torch.Generator of its own, which no run can"
                " repeat; leave the generator out: fedlocal gives each client and step its own"
            )
        return draw(self._stream, *args, **given)


def drawn_from(key: Tensor | None) -> AbstractContextManager[object]:
    """Return the context that draws from a key; without a key, one that changes nothing."""
    return nullcontext() if key is None else Keyed(key)


@cache
def _unchecked(function: FunctionType) -> Callable[..., Any]:
    """Return a function of torch.nn.functional whose inner calls reach the mode.

    Its own check for overrides is disabled, since it would call the mode again without end.
    """
    asking = [name for name in function.__globals__ if name.startswith("has_torch_function")]
    never = {name: lambda *_: False for name in asking}
    inner = FunctionType(
        function.__code__,
        {**function.__globals__, **never},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    inner.__kwdefaults__ = function.__kwdefaults__
    return inner
