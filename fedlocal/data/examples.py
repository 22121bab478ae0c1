"""Conversion of users' examples to tensors (x, y), with the checks that all of them pass.

Examples come from Python or from a dataset of the configuration. Both are checked here, and refused
in one line that begins with whose examples they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fedlocal.data.arrays import as_inputs, as_targets, as_tensor, of_array, short
from fedlocal.data.pixels import Pixels

_SHOULD_BE = "a pair (x, y), a map-style Dataset of (x, y) or a list of (x, y)"


def examples(given: Any, name: str, pixels: Pixels | None = None) -> tuple[Tensor, Tensor]:
    """Convert one set of examples to tensors and check them.

    A Dataset and a list are read once, item by item, and stacked: a random transform is drawn once
    for the whole run (`augment` draws anew in every step).

    Args:
        given: A pair (x [n, ...], y [n, ...]) of tensors or numpy arrays, a TensorDataset of two
            tensors, any map-style Dataset of items (x, y), or a list of such items.
        name: Owner of the examples, for messages: "client 3".
        pixels: Meaning of uint8 inputs; None where inputs are numbers.

    Returns:
        Inputs, float32, float64, or int64 for token indices (uint8 with `pixels`); targets,
        float32, float64 or int64. Float16 and bfloat16 become float32, and shorter integers int64,
        both without loss.

    Raises:
        ValueError: NaN or inf, no examples, different lengths, bytes without `pixels`, anything
            that is no array of numbers.

    >>> x, y = examples((np.ones((2, 3)), np.array([True, False])), "client 0")
    >>> x.shape, x.dtype, y.tolist()
    (torch.Size([2, 3]), torch.float64, [1, 0])
    """
    x, y = pair(given, name)
    inputs = as_tensor(x, f"{name}: x") if pixels is not None else as_inputs(x, f"{name}: x")
    if pixels is not None:
        pixels.check(inputs)
    targets = as_targets(y, f"{name}: y")
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise ValueError(
            f"{name} has {len(inputs)} inputs and {len(targets)} targets; both must be equal and"
            " at least 1"
        )
    return inputs, targets


def one_each(clients: Any) -> list[Any]:
    """Return a list of the clients' examples.

    Raises:
        ValueError: A dict, a single pair or a single dataset, or nobody.
    """
    if isinstance(clients, Mapping):
        raise ValueError(f"clients is a {_kind(clients)}; pass a list: list(clients.values())")
    if isinstance(clients, DataLoader):
        raise ValueError(
            "clients is a DataLoader, and each of its batches would be a client; pass a list, for"
            f" each client {_SHOULD_BE}"
        )
    if isinstance(clients, Dataset | Tensor | np.ndarray) or not isinstance(clients, Iterable):
        raise ValueError(
            f"clients is a {_kind(clients)}; pass a list, for each client {_SHOULD_BE}"
        )
    listed = list(clients)
    if any(isinstance(each, Tensor | np.ndarray) for each in listed):
        raise ValueError(
            "clients is a list of arrays, perhaps one pair (x, y); pass one pair per client,"
            " [(x, y)] for a single client"
        )
    if not listed:
        raise ValueError("no clients were given; pass one (x, y) pair of tensors per client")
    return listed


def check_alike(pairs: Sequence[tuple[Tensor, Tensor]], names: Sequence[str]) -> None:
    """Raise ValueError if two sets have examples of different shapes, dtypes or devices."""
    for part, tensors in zip("xy", zip(*pairs, strict=True), strict=True):
        first = _form(tensors[0])
        for name, tensor in zip(names, tensors, strict=True):
            if _form(tensor) != first:
                raise ValueError(
                    f"{name} has {part} of {_form(tensor)}, and {names[0]} of {first}; all must"
                    " have examples of one shape and dtype, on one device"
                )


def check_single(test: Any, inputs: Tensor) -> None:
    """Raise ValueError for a list of whole test sets, whose items would be read as examples.

    Args:
        test: A test set as it was given.
        inputs: Inputs of the clients, [n, ...].
    """
    first = test[0] if isinstance(test, list) and test else None
    shape = getattr(first[0], "shape", None) if isinstance(first, tuple) and first else None
    if shape is not None and len(shape) == inputs.dim() and shape[1:] == inputs.shape[1:]:
        raise ValueError(
            f"test is a list whose first pair has inputs {list(shape)}, and a list has one example"
            " in each pair; pass all test examples as one pair: test=(x, y)"
        )


def check_targets(output_shape: Sequence[int], targets: Tensor, name: str = "y") -> None:
    """Raise ValueError unless targets are classes as `losses.cross_entropy` takes them.

    Args:
        output_shape: Shape of the model's output for a batch, (batch, ..., C); C = 1 is the logit
            of class 1 against class 0.
        targets: All targets, [n, ...]; must be int64 class indices, 0..C-1 (0..1 for C = 1), of
            shape [n, *output_shape[1:-1]].
        name: Name of the targets in messages.

    Raises:
        ValueError: One-hot rows, floating labels, another shape, a label that is no class.

    >>> check_targets((32, 10), torch.tensor([0, 9]))
    """
    outputs, classes = output_shape[-1], max(output_shape[-1], 2)
    wanted = list(output_shape[1:-1])
    if targets.dim() == len(wanted) + 2 and _one_hot(targets, classes):
        raise ValueError(
            f"{name} is one-hot {_rows(targets)}; cross_entropy takes class indices:"
            f" pass {name}.argmax({targets.dim() - 1})"
        )
    if list(targets.shape[1:]) != wanted:
        fix = f": pass {name}.squeeze(-1)" if list(targets.shape[1:]) == [*wanted, 1] else ""
        raise ValueError(
            f"{name} is {_rows(targets)} and the model's output [n, {_commas(output_shape[1:])}];"
            f" cross_entropy takes class indices {_rows(targets, wanted)}{fix}"
        )
    if targets.is_floating_point():
        whole = bool((targets == targets.round()).all())
        raise ValueError(
            f"{name} is {short(targets.dtype)}, and cross_entropy takes class indices: "
            + (f"pass {name}.long()" if whole else "for regression pass loss=squared_error")
        )
    skip = "pass loss=fedlocal.objective.losses.CrossEntropy(ignore_index={})"
    _check_range(targets, outputs, classes, name, skip)


def check_indices(
    output_shape: Sequence[int], targets: Tensor, ignored: int = -100, name: str = "y"
) -> None:
    """Raise ValueError if targets do not suit torch's losses of classes (`nn.CrossEntropyLoss`).

    Shapes that are neither class indices nor one-hot rows are left to the loss.

    Args:
        output_shape: Shape of the model's output for a batch, (batch, C, ...).
        targets: All targets, [n, ...]: class indices, or probabilities of the output's shape.
        ignored: Index that the loss leaves out.
        name: Name of the targets in messages.

    Raises:
        ValueError: One-hot integers, floating labels, a column [n, 1], a label that is no class.

    >>> check_indices((32, 10), torch.tensor([0, 9, -100]))
    """
    each, outputs = list(targets.shape[1:]), list(output_shape[1:])
    if not outputs or (targets.is_floating_point() and each == outputs):
        return
    if each == outputs and _one_hot(targets.movedim(1, -1), outputs[0]):
        raise ValueError(
            f"{name} is one-hot {_rows(targets)}; the loss takes class indices: pass"
            f" {name}.argmax(1)"
        )
    if each == [*outputs[1:], 1]:
        raise ValueError(
            f"{name} is {_rows(targets)} and the model's output [n, {_commas(outputs)}]; the loss"
            f" takes class indices {_rows(targets, outputs[1:])}: pass {name}.squeeze(-1)"
        )
    if each != outputs[1:]:
        return
    if targets.is_floating_point():
        raise ValueError(
            f"{name} is {short(targets.dtype)}, and the loss takes class indices: pass"
            f" {name}.long()"
        )
    counted = targets[targets != ignored]
    if len(counted):
        _check_range(counted, outputs[0], outputs[0], name, "give the loss ignore_index={}")


def _check_range(targets: Tensor, outputs: int, classes: int, name: str, skip: str) -> None:
    low, high = int(targets.min()), int(targets.max())
    if 0 <= low and high < classes:
        return
    given = f"labels run from {low} to {high} and the model has {outputs} output"
    given += f"{'' if outputs == 1 else 's'}, classes are 0 to {classes - 1}: "
    if low == 1 and high == classes:
        raise ValueError(f"{given}subtract 1")
    if low == -1 and set(targets.unique().tolist()) == {-1, 1}:
        raise ValueError(f"{given}pass ({name} + 1) // 2")
    if low < 0:
        below = targets[targets < 0]
        advice = f"leave out the {len(below)} labels below 0"
        if bool((below == low).all()):
            advice += f", or {skip.format(low)} to skip them"
        raise ValueError(given + advice)
    raise ValueError(f"{given}make the model with {high + 1} outputs, or renumber the labels")


def _one_hot(targets: Tensor, classes: int) -> bool:
    ones = targets == 1
    alone = bool(((targets == 0) | ones).all()) and bool((ones.sum(-1) == 1).all())
    return targets.shape[-1] > 1 and targets.shape[-1] == classes and alone


def _rows(targets: Tensor, shape: Sequence[int] | None = None) -> str:
    each = targets.shape[1:] if shape is None else shape
    return f"[{_commas((len(targets), *each))}]"


def _commas(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def pair(given: Any, name: str) -> tuple[Any, Any]:
    """Return inputs and targets of one set of examples, which are not checked.

    Raises:
        ValueError: Not a pair, a map-style Dataset of items (x, y), or a list of such.
    """
    if isinstance(given, TensorDataset):
        given = given.tensors
        if len(given) != 2:
            raise ValueError(f"{name} is a TensorDataset of {len(given)} tensors; x and y needed")
    if isinstance(given, tuple) and len(given) == 2:
        return given
    if isinstance(given, list) and len(given) == 2 and isinstance(given[0], Tensor | np.ndarray):
        return given[0], given[1]
    if isinstance(given, DataLoader):
        raise ValueError(f"{name} is a DataLoader, whose batches are not used; pass its .dataset")
    if isinstance(given, list | Dataset) and not isinstance(given, IterableDataset):
        return _stacked(given, name)
    raise ValueError(f"{name} is a {_kind(given)}; pass {_SHOULD_BE}")


def _stacked(given: Any, name: str) -> tuple[Tensor, Tensor]:
    if not hasattr(given, "__len__") or len(given) == 0:
        raise ValueError(f"{name} has no examples, or does not say how many; at least 1 is needed")
    inputs, targets = [], []
    for row in range(len(given)):
        item = given[row]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ValueError(f"{name}: example {row} is a {_kind(item)}; it must be a pair (x, y)")
        inputs.append(_value(item[0], f"{name}: x of example {row}"))
        targets.append(_value(item[1], f"{name}: y of example {row}"))
    return _stack(inputs, f"{name}: x"), _stack(targets, f"{name}: y")


def _value(value: Any, label: str) -> Tensor:
    if type(value).__module__.startswith("PIL."):
        raise ValueError(f"{label} is a PIL picture; give the dataset transform=ToTensor()")
    return value.detach() if isinstance(value, Tensor) else of_array(value, label)


def _stack(values: list[Tensor], label: str) -> Tensor:
    forms = [(short(value.dtype), list(value.shape)) for value in values]
    odd = next((row for row, form in enumerate(forms) if form != forms[0]), None)
    if odd is not None:
        raise ValueError(
            f"{label} of example {odd} is {forms[odd][0]} {forms[odd][1]}, and of example 0"
            f" {forms[0][0]} {forms[0][1]}; all examples must have one shape and dtype"
        )
    return torch.stack(values)


def _form(tensor: Tensor) -> str:
    device = "" if tensor.device.type == "cpu" else f" on {tensor.device}"
    return f"{short(tensor.dtype)} {list(tensor.shape[1:])}{device}"


def _kind(given: Any) -> str:
    return type(given).__name__
