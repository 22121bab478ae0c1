"""Temporary replacement of the tensors of a model.

`torch.func.functional_call` restores the model's own tensors when `forward` returns. Activation
checkpointing calls parts of `forward` again in the backward pass and would read those, so here the
replacement lasts until the backward pass is done.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

from torch import Tensor, nn

from fedlocal.utils.torch_private import tensor_dicts


class ModelTensors:
    """The attributes of a model's modules that hold its parameters and buffers.

    A tensor under several names (tied weights) has one name, the first, and several places.
    """

    def __init__(self, model: nn.Module) -> None:
        named = chain(model.named_parameters(), model.named_buffers())
        names = {id(tensor): name for name, tensor in named}
        # A tensor's name, the dictionary that holds it, and its key there.
        self._places: list[tuple[str, dict[str, Any], str]] = []
        for module in model.modules():
            for held in tensor_dicts(module):
                found = [(names[id(t)], held, key) for key, t in held.items() if t is not None]
                self._places += found

    @contextmanager
    def restore_after(self) -> Iterator[None]:
        """Restore the current tensors at the end of the context."""
        before = [(held, key, held[key]) for _, held, key in self._places]
        try:
            yield
        finally:
            for held, key, tensor in before:
                held[key] = tensor

    def put(self, named: Mapping[str, Tensor]) -> None:
        """Put these tensors into the model, by name."""
        for name, held, key in self._places:
            if name in named:
                held[key] = named[name]

    def now(self) -> dict[str, Tensor]:
        """Return the tensors that the model has now, by name: `forward` may assign buffers."""
        return {name: held[key] for name, held, key in self._places}
