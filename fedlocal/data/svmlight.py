"""LIBSVM text files: w8a, a9a, ijcnn1, covtype and the like.

Format: one example per line, `label index:value index:value ...`, indices from 1, ascending,
zeros left out; `#` begins a comment. Source: Chang and Lin. LIBSVM. 2011.
https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/
"""

from itertools import pairwise
from math import isfinite
from pathlib import Path

import numpy as np
import torch

from fedlocal.data.dataset import Dataset
from fedlocal.data.files import existing_file, read_text
from fedlocal.data.split import stratified_split


def libsvm(
    path: str | Path,
    test_fraction: float = 0.2,
    num_features: int | None = None,
    seed: int = 0,
    task: str | None = None,
) -> Dataset:
    """Read a LIBSVM file, plain or gzipped, into a dense float32 matrix.

    Args:
        path: The file.
        test_fraction: Share of each class, or of all examples of a regression, to test on; 0 for
            no test set.
        num_features: Width of the matrix; None takes the largest index in the file.
        seed: Of the split.
        task: "classification" or "regression"; None takes whole numbers for classes and refuses
            fractions.

    Returns:
        Labels of a classification are the file's integers in ascending order mapped to 0..C-1:
        -1/+1 become 0/1. Targets of a regression are float32 [n, 1].

    Raises:
        FileNotFoundError: No file at `path`.
        ValueError: A malformed line (named by its number), an index above num_features, labels
            of classes that are not integers, only one class.
    """
    path = existing_file(path, "libsvm", "LIBSVM text, plain or .gz,")
    if task not in (None, "classification", "regression"):
        raise ValueError(f"dataset.task must be classification, regression or null, got {task!r}")
    numbers = task == "regression"
    targets, x = _read(path, num_features, numbers)
    classes, labels = np.unique(targets, return_inverse=True)
    if numbers:
        # One class, of which the split takes its share.
        labels = np.zeros(len(targets), dtype=np.int64)
    elif len(classes) < 2:
        raise ValueError(f"{path}: every label is {classes[0]:g}; at least two classes needed")
    train, test = map(torch.from_numpy, stratified_split(labels, test_fraction, seed))
    column = targets.astype(np.float32)[:, None] if numbers else labels.astype(np.int64)
    inputs, y = torch.from_numpy(x), torch.from_numpy(column)
    num_classes = None if numbers else len(classes)
    return Dataset("libsvm", inputs[train], y[train], inputs[test], y[test], num_classes)


def _read(path: Path, num_features: int | None, fractions: bool) -> tuple[np.ndarray, np.ndarray]:
    labels: list[float] = []
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        try:
            label, indices, numbers = _parse(fields, fractions)
            if indices and num_features is not None and indices[-1] > num_features:
                raise ValueError(f"index {indices[-1]} is above num_features={num_features}")
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        rows.extend([len(labels)] * len(indices))
        labels.append(label)
        columns.extend(indices)
        values.extend(numbers)
    if not columns:
        raise ValueError(f"{path}: no example with a feature in the file")
    x = _zeros(path, len(labels), num_features or max(columns))
    x[rows, np.array(columns, dtype=np.int64) - 1] = values
    return np.array(labels), x


def _zeros(path: Path, rows: int, columns: int) -> np.ndarray:
    try:
        return np.zeros((rows, columns), dtype=np.float32)
    except (MemoryError, ValueError) as error:
        raise ValueError(
            f"{path}: {rows} examples of {columns} features do not fit into memory as a matrix;"
            " is the largest index right?"
        ) from error


def _parse(fields: list[str], fractions: bool) -> tuple[float, list[int], list[float]]:
    try:
        label = float(fields[0])
    except ValueError:
        raise ValueError(f"label {fields[0]!r} is not a number") from None
    if fractions and not isfinite(label):
        raise ValueError(f"target {fields[0]!r} is not a finite number")
    if not fractions and not label.is_integer():
        raise ValueError(
            f"label {fields[0]!r} is not an integer, and classes are; for numbers set"
            " dataset.task=regression"
        )
    try:
        pairs = [field.split(":") for field in fields[1:]]
        indices = [int(index) for index, _ in pairs]
        values = [float(value) for _, value in pairs]
    except ValueError:
        raise ValueError(f"expected 'index:value' but found {_first_bad(fields[1:])!r}") from None
    ascending = all(a < b for a, b in pairwise(indices))
    if not ascending or (indices and indices[0] < 1):
        raise ValueError(f"indices must begin at 1 and ascend, got {indices[:5]}...")
    return label, indices, values


def _first_bad(fields: list[str]) -> str:
    for field in fields:
        try:
            index, value = field.split(":")
            _ = int(index), float(value)
        except ValueError:
            return field
    raise AssertionError("called on fields that all parse")
