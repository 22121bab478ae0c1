"""Data of a user's own, from what his function returns."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Map

from fedlocal.data.arrays import as_tensor, short
from fedlocal.data.dataset import Dataset, of_fields
from fedlocal.data.examples import pair
from fedlocal.data.labels import count_classes

log = logging.getLogger(__name__)

# What a loader returns.
PARTS = ("x_train", "y_train", "x_test", "y_test")


def as_dataset(made: Any, name: str) -> Dataset:
    """Convert what a loader returns to a `Dataset`.

    Args:
        made: A `Dataset`, an object with its fields, or (x_train, y_train) or (x_train, y_train,
            x_test, y_test) of tensors or arrays; or a map-style Dataset of torch of items (x, y),
            or one for training and one for tests. Inputs are [n, ...]; whole numbers [n] as targets
            are classes, counted from 0; floating ones, [n] or [n, d], are what a regression
            predicts.
        name: The loader's dotted path; its last part names the dataset.

    Raises:
        ValueError: Something else, or data that a `Dataset` refuses.

    >>> as_dataset((torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])), "mine.make_data")
    Dataset('make_data', 4 train, 0 test, input [3], 3 outputs)
    """
    short_name = name.rpartition(".")[2]
    made = _flat(made, f"dataset {short_name}")
    dataset = (
        _of_parts(made, short_name) if isinstance(made, tuple | list) else of_fields(made, name)
    )
    _report_unseen(dataset)
    return dataset


def _report_unseen(dataset: Dataset) -> None:
    """Log the classes that only test examples have, which no client can learn."""
    if dataset.num_classes is None or dataset.y_test is None or dataset.here is not None:
        return
    if dataset.num_tokens is not None:
        # A rare next token is missing from the training part of most texts.
        return
    seen = torch.bincount(dataset.y_train, minlength=dataset.num_classes)
    unseen = dataset.y_test[seen[dataset.y_test] == 0]
    if len(unseen):
        log.warning(
            "dataset %s: %d test examples have classes without training examples, the first %d",
            *(dataset.name, len(unseen), int(unseen[0])),
        )


def _of_parts(made: Sequence[Any], name: str) -> Dataset:
    if len(made) not in (2, 4):
        raise ValueError(
            f"dataset {name}: a loader returns a fedlocal.data.Dataset, (x_train, y_train) or"
            f" (x_train, y_train, x_test, y_test), got {len(made)} parts"
        )
    x_train, y_train, *rest = (
        as_tensor(part, f"dataset {name}: {key}") for key, part in zip(PARTS, made, strict=False)
    )
    x_test, y_test = rest or (None, None)
    targets = [_targets(name, y) for y in (y_train, y_test) if y is not None]
    if len({y.is_floating_point() for y in targets}) > 1:
        given = " and y_test ".join(str(y.dtype) for y in targets)
        raise ValueError(
            f"dataset {name}: y_train is {given}; give both as whole numbers for classes, or both"
            " as floating ones for regression"
        )
    classes = None if targets[0].is_floating_point() else _num_classes(name, targets)
    return Dataset(name, x_train, targets[0], x_test, (*targets, None)[1], classes)


def _flat(made: Any, name: str) -> Any:
    """Return the arrays of one or two sets, of train and test examples; anything else as it is."""
    sets = made if isinstance(made, tuple) and not _is_set(made) else (made,)
    if len(sets) > 2 or not all(map(_is_set, sets)):
        return made
    return [
        part
        for each, key in zip(sets, ("train", "test"), strict=False)
        for part in pair(each, f"{name}: the {key} set")
    ]


def _is_set(given: Any) -> bool:
    """Return whether this is both inputs and targets of a set, and not one of them."""
    if isinstance(given, tuple):
        return len(given) == 2 and all(hasattr(part, "shape") for part in given)
    return isinstance(given, Map | DataLoader)


def _targets(name: str, y: Tensor) -> Tensor:
    """Return class indices as int64, and numbers as columns, as a model of one output has them."""
    if y.is_floating_point():
        if len(y) and bool((y == y.round()).all()):
            log.warning(
                "dataset %s: the targets are %s and are read for regression, though all are whole"
                " numbers; class indices are integers: y.long(), of one-hot rows y.argmax(1)",
                *(name, short(y.dtype)),
            )
        return y.unsqueeze(1) if y.dim() == 1 else y
    if y.dim() != 1:
        raise ValueError(
            f"dataset {name}: y is {short(y.dtype)} {list(y.shape)}; classes are indices [n], of"
            " one-hot rows y.argmax(1), and numbers to predict are floating"
        )
    return y.to(torch.int64)


def _num_classes(name: str, parts: Sequence[Tensor]) -> int:
    """Count classes as the largest label plus one."""
    if len(parts[0]) == 0:
        raise ValueError(f"dataset {name}: the train set is empty")
    return count_classes(torch.cat([*parts]).numpy(force=True), f"dataset {name}")
