"""Models, examples and clients that the benchmarks train."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fedlocal.data import digits
from fedlocal.data.clients import Clients
from fedlocal.models import char_gru, lenet5, logistic, mlp, resnet20_gn

BATCH, LR = 16, 0.1
# Enough that no cache holds what a round reads, little enough for any machine.
POOL = 4096
HELD = 64
# Of a window of text, as in conf/dataset/text.yaml, and of LEAF's vocabulary.
LENGTH, TOKENS = 80, 80
# w8a: rows of 300 features of which about twelve are there.
FEATURES, PRESENT = 300, 12


class Cell(NamedTuple):
    """Setting of one cell of a table.

    model: Name of it. clients: K. steps: H. device: Where. ragged: Clients hold 4 to 256 examples
    and not 64 each, so that some have batches of fewer than 16.
    """

    model: str
    clients: int
    steps: int
    device: str = "cpu"
    ragged: bool = False


@dataclass(frozen=True, eq=False)
class Problem:
    """Clients and an initial model; the loss is fedlocal's `cross_entropy`, in every row."""

    clients: Clients
    model: nn.Module

    @property
    def batches(self) -> list[int]:
        """Return the number of examples in a batch of each client."""
        return [min(BATCH, len(chunk)) for (chunk,) in self.clients.chunks]


def problem(cell: Cell) -> Problem:
    """Return the cell's problem, the same in every process.

    Clients draw from one pool, and may hold the same examples: only sizes matter for the time.
    """
    torch.manual_seed(0)
    x, y, model = MODELS[cell.model]()
    rng = np.random.default_rng(0)
    sizes = np.full(cell.clients, HELD)
    if cell.ragged:
        sizes = np.exp(rng.uniform(np.log(4), np.log(256), cell.clients)).astype(int)
    chunks = tuple((rng.choice(len(x), size, replace=False),) for size in sizes)
    clients = Clients(x, y, chunks, sizes.astype(np.float64))
    return Problem(clients, model)


def _digits() -> tuple[Tensor, Tensor, nn.Module]:
    data = digits()
    return data.x_train, data.y_train, mlp(data.input_shape, data.num_outputs)


def _images(*shape: int) -> tuple[Tensor, Tensor]:
    return torch.randn(POOL, *shape), torch.randint(10, (POOL,))


def _lenet5() -> tuple[Tensor, Tensor, nn.Module]:
    return *_images(1, 28, 28), lenet5((1, 28, 28), 10)


def _resnet20_gn() -> tuple[Tensor, Tensor, nn.Module]:
    return *_images(3, 32, 32), resnet20_gn((3, 32, 32), 10)


def _logistic() -> tuple[Tensor, Tensor, nn.Module]:
    x = (torch.rand(POOL, FEATURES) < PRESENT / FEATURES).float()
    return x, torch.randint(2, (POOL,)), logistic((FEATURES,), 2)


def _char_gru() -> tuple[Tensor, Tensor, nn.Module]:
    x, y = torch.randint(TOKENS, (POOL, LENGTH)), torch.randint(TOKENS, (POOL,))
    return x, y, char_gru((LENGTH,), TOKENS, TOKENS)


MODELS: dict[str, Callable[[], tuple[Tensor, Tensor, nn.Module]]] = {
    "mlp": _digits,
    "lenet5": _lenet5,
    "resnet20_gn": _resnet20_gn,
    "logistic": _logistic,
    "char_gru": _char_gru,
}
