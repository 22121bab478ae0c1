"""Arrays of a user's own: a numpy .npz file."""

from pathlib import Path

import numpy as np
from torch import Tensor

from fedlocal.data.arrays import as_numbers, as_targets
from fedlocal.data.dataset import Dataset
from fedlocal.data.files import existing_file, read_npz
from fedlocal.data.labels import count_classes

_INPUTS, _Y = ("x_train", "x_test"), ("y_train", "y_test")
_KNOWN = ("x_train", "y_train", "x_test", "y_test", "client_ids")


def npz(path: str | Path, num_classes: int | None = None, task: str | None = None) -> Dataset:
    """Read `x_train`, `y_train` and, where present, `x_test`, `y_test` and `client_ids`.

    Write such a file with `numpy.savez("data.npz", x_train=..., y_train=...)`.

    Args:
        path: The file.
        num_classes: Number of classes; None takes the largest label plus one.
        task: "classification" or "regression"; None takes integer `y` for classes and `y` with
            fractions for regression targets, and refuses what may be either.

    Returns:
        Classification with `y` [n]; or regression with `y` [n] or [n, d]. Inputs keep their
        floating type; uint8 is taken for pixels and divided by 255; other integers become float32.

    Raises:
        FileNotFoundError: No file at `path`.
        ValueError: Not an .npz file, a missing or unknown key, Python objects inside, arrays that
            do not fit together, or targets that do not fit the task.
    """
    path = existing_file(path, "npz", "a numpy .npz with x_train and y_train")
    arrays = _read(path)
    _check_alike(path, arrays)
    given = [arrays[key] for key in ("y_train", "y_test") if key in arrays]
    if _is_classification(path, given, num_classes, task):
        num_classes = num_classes or count_classes(np.concatenate(given), str(path))
    tensors = {key: as_numbers(arrays[key], f"{path}: {key}") for key in _INPUTS if key in arrays}
    targets = {key: _targets(path, key, arrays[key], num_classes) for key in _Y if key in arrays}
    return Dataset(
        "npz",
        tensors["x_train"],
        targets["y_train"],
        tensors.get("x_test"),
        targets.get("y_test"),
        num_classes,
        client_ids=arrays.get("client_ids"),
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    arrays = read_npz(path)
    missing = [key for key in _KNOWN[:2] if key not in arrays]
    unknown = [key for key in arrays if key not in _KNOWN]
    if missing or unknown or ("x_test" in arrays) != ("y_test" in arrays):
        raise ValueError(
            f"{path}: has the arrays {sorted(arrays)}; needed are x_train and y_train, "
            "and optional are x_test with y_test, and client_ids"
        )
    for key, array in arrays.items():
        if array.dtype.kind not in "fiub" or array.ndim == 0:
            raise ValueError(f"{path}: {key} must be an array of numbers, got {array.dtype}")
    return arrays


def _check_alike(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Refuse bytes beside numbers, and whole numbers beside fractions: they mean something else."""
    for train, test in zip(("x_train", "y_train"), ("x_test", "y_test"), strict=True):
        if test in arrays and _meaning(train, arrays[train]) != _meaning(test, arrays[test]):
            raise ValueError(
                f"{path}: {train} is {arrays[train].dtype} and {test} {arrays[test].dtype}; save"
                " both in one dtype"
            )


def _meaning(key: str, array: np.ndarray) -> str:
    if key in _INPUTS and array.dtype == np.uint8:
        return "pixels"
    return "fractions" if key in _Y and array.dtype.kind == "f" else "numbers"


def _is_classification(
    path: Path, given: list[np.ndarray], num_classes: int | None, task: str | None
) -> bool:
    if task not in (None, "classification", "regression"):
        raise ValueError(f"dataset.task must be classification, regression or null, got {task!r}")
    floating = given[0].dtype.kind == "f"
    if num_classes is not None and (task == "regression" or (floating and task is None)):
        raise ValueError(
            f"{path}: num_classes={num_classes} but y_train is {given[0].dtype}; for classes set"
            " dataset.task=classification"
        )
    whole = all((y == np.round(y)).all() for y in given)
    if task is None and floating and whole:
        raise ValueError(
            f"{path}: y_train is {given[0].dtype} and holds whole numbers only; set"
            " dataset.task=classification, or dataset.task=regression"
        )
    if task == "classification" and not whole:
        raise ValueError(f"{path}: dataset.task=classification, but y has fractions, NaN or inf")
    classes = task == "classification" or (task is None and not floating)
    if classes and given[0].ndim != 1:
        raise ValueError(
            f"{path}: y_train is {list(given[0].shape)}; classes are indices [n], of one-hot rows"
            " y.argmax(1), and for numbers set dataset.task=regression"
        )
    return classes


def _targets(path: Path, key: str, y: np.ndarray, num_classes: int | None) -> Tensor:
    if num_classes is not None:
        return as_targets(y, f"{path}: {key}").long()
    column = y if y.ndim > 1 else y[:, None]
    # As int64, since bytes would be pixels.
    wide = column if y.dtype.kind == "f" else as_targets(column, f"{path}: {key}").numpy()
    return as_numbers(wide, f"{path}: {key}")
