"""Data that never leave their machines: each client is a machine with its own file or folder."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fedlocal.data.dataset import Dataset
from fedlocal.data.local import load_local


def on_nodes(
    num_clients: int,
    input_shape: Sequence[int],
    num_classes: int | None = None,
    test: str | None = None,
    sizes: Sequence[int] | None = None,
    own: str | None = None,
    own_client: int = 0,
    own_classes: str | None = None,
) -> Dataset:
    """Load the data of a deployment on the machine that holds them, placeholders elsewhere.

    Client i is the machine of partition id i. Nobody but that machine sees its examples; the
    server knows how many there are, and so cannot measure a train loss.

    Args:
        num_clients: K, the number of machines.
        input_shape: Of one input, without the batch dimension.
        num_classes: Over all machines; None for regression.
        test: On the server, a test set as `load_local` reads it; None for none.
        sizes: On the server, examples of each machine, [K]; None before they are known.
        own: On a machine, where its data lie.
        own_client: On a machine, its partition id.
        own_classes: On a machine, a file with the names of all classes; see `load_local`.

    Raises:
        FileNotFoundError: Nothing at `own` or `test`.
        ValueError: Inputs of another shape, labels out of range, a partition id that is no client.
    """
    if own is not None and own_client >= num_clients:
        raise ValueError(
            f"this machine has the partition id {own_client}, and K={num_clients} has the clients 0"
            f" to {num_clients - 1}; each machine is a client, so give K as many as there are"
        )
    shape = tuple(input_shape)
    counts = list(sizes) if sizes is not None else [1] * num_clients
    mine = (
        None
        if own is None
        else _checked(own, load_local(own, own_classes, num_classes), shape, num_classes)
    )
    if mine is not None:
        counts[own_client] = len(mine[0])
    owners = np.repeat(np.arange(num_clients), counts)
    x_train, y_train = _placeholders(len(owners), shape, num_classes)
    if mine is not None:
        rows = torch.from_numpy(np.flatnonzero(owners == own_client))
        x_train, y_train = (
            x_train.index_copy(0, rows, mine[0]),
            y_train.index_copy(0, rows, mine[1]),
        )
    held_out = None if test is None else load_local(test, num_classes=num_classes)
    return Dataset(
        "on_nodes",
        x_train,
        y_train,
        *(held_out or (None, None)),
        num_classes=num_classes,
        client_ids=owners,
        here=() if mine is None else (own_client,),
    )


def _placeholders(
    count: int, shape: tuple[int, ...], num_classes: int | None
) -> tuple[Tensor, Tensor]:
    # One example seen `count` times: no memory is taken.
    x = torch.zeros(1, *shape).expand(count, *shape)
    target = torch.zeros(1, 1) if num_classes is None else torch.zeros(1, dtype=torch.int64)
    return x, target.expand(count, *target.shape[1:])


def _checked(
    path: str, data: tuple[Tensor, Tensor], shape: tuple[int, ...], num_classes: int | None
) -> tuple[Tensor, Tensor]:
    x, y = data
    if tuple(x.shape[1:]) != shape:
        raise ValueError(
            f"{path}: an input is {list(x.shape[1:])}, dataset.input_shape is {list(shape)}"
        )
    if (num_classes is None) != y.is_floating_point():
        kind = "numbers" if y.is_floating_point() else "class indices"
        raise ValueError(
            f"{path}: the targets are {kind}, dataset.num_classes is {num_classes}; it is the"
            " number of classes, or null for regression"
        )
    return x, y
