"""LIBSVM text files: w8a, a9a, ijcnn1, covtype and the like.

Format: one example per line, `label index:value index:value ...`, indices from 1, ascending,
zeros left out; `#` begins a comment. Source: Chang and Lin. LIBSVM. 2011.
https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from fedlocal.data.dataset import Dataset
from fedlocal.data.files import existing_file, read_text
from fedlocal.data.split import stratified_split


def libsvm(
    path: str | Path, test_fraction: float = 0.2, num_features: int | None = None, seed: int = 0
) -> Dataset:
    """Read a LIBSVM classification file, plain or gzipped, into a dense float32 matrix.

    Args:
        path: The file.
        test_fraction: Share of each class to test on; 0 for no test set.
        num_features: Width of the matrix; None takes the largest index in the file.
        seed: Of the split.

    Returns:
        Labels are the file's integers in ascending order mapped to 0..C-1: -1/+1 become 0/1.

    Raises:
        FileNotFoundError: No file at `path`.
        ValueError: A malformed line (named by its number), an index above num_features, labels
            that are not integers, only one class.
    """
    path = existing_file(path, "libsvm", "LIBSVM text, plain or .gz,")
    raw_labels, x = _read(path, num_features)
    classes, labels = np.unique(raw_labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{path}: every label is {classes[0]}; at least two classes needed")
    train, test = map(torch.from_numpy, stratified_split(labels, test_fraction, seed))
    inputs, y = torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))
    return Dataset("libsvm", inputs[train], y[train], inputs[test], y[test], len(classes))


def _read(path: Path, num_features: int | None) -> tuple[np.ndarray, np.ndarray]:
    labels: list[int] = []
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        try:
            label, indices, numbers = _parse(fields)
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


def _parse(fields: list[str]) -> tuple[int, list[int], list[float]]:
    try:
        label = float(fields[0])
    except ValueError:
        raise ValueError(f"label {fields[0]!r} is not a number") from None
    if not label.is_integer():
        raise ValueError(f"label {fields[0]!r} is not an integer; libsvm reads classes only")
    try:
        pairs = [field.split(":") for field in fields[1:]]
        indices = [int(index) for index, _ in pairs]
        values = [float(value) for _, value in pairs]
    except ValueError:
        raise ValueError(f"expected 'index:value' but found {_first_bad(fields[1:])!r}") from None
    ascending = all(a < b for a, b in pairwise(indices))
    if not ascending or (indices and indices[0] < 1):
        raise ValueError(f"indices must begin at 1 and ascend, got {indices[:5]}...")
    return int(label), indices, values


def _first_bad(fields: list[str]) -> str:
    for field in fields:
        try:
            index, value = field.split(":")
            _ = int(index), float(value)
        except ValueError:
            return field
    raise AssertionError("called on fields that all parse")
