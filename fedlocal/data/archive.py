"""Your own arrays: a numpy .npz file."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedlocal.data.dataset import Dataset
from fedlocal.data.files import existing_file

_KNOWN = ("x_train", "y_train", "x_test", "y_test", "client_ids")


def npz(path: str | Path, num_classes: int | None = None) -> Dataset:
    """Read `x_train`, `y_train` and, where present, `x_test`, `y_test` and `client_ids`.

    Write such a file with `numpy.savez("data.npz", x_train=..., y_train=...)`.

    Args:
        path: The file.
        num_classes: Number of classes; None takes the largest label plus one.

    Returns:
        Integer `y` [n] is classification; floating `y`, [n] or [n, d], is regression. Inputs keep
        their floating type; uint8 is taken for pixels and divided by 255; other integers become
        float32.

    Raises:
        FileNotFoundError: No file at `path`.
        ValueError: Not an .npz file, a missing or unknown key, Python objects inside, or arrays
            that do not fit together.
    """
    path = existing_file(path, "npz", "a numpy .npz with x_train and y_train")
    arrays = _read(path)
    x_train, y_train = _inputs(arrays["x_train"]), arrays["y_train"]
    x_test = _inputs(arrays["x_test"]) if "x_test" in arrays else None
    y_test = arrays.get("y_test")
    if y_train.dtype.kind in "iub":
        highest = max(
            (int(y.max()) for y in (y_train, y_test) if y is not None and y.size), default=0
        )
        num_classes = num_classes or 1 + highest
    elif num_classes is not None:
        raise ValueError(f"{path}: num_classes={num_classes} but y_train is {y_train.dtype}")
    return Dataset(
        "npz",
        x_train,
        _targets(y_train, num_classes),
        x_test,
        None if y_test is None else _targets(y_test, num_classes),
        num_classes,
        client_ids=arrays.get("client_ids"),
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    # A lone .npy array has neither `with` nor `files`.
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a readable .npz of plain arrays ({error})") from error
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


def _inputs(x: np.ndarray) -> Tensor:
    if x.dtype.kind == "f":
        return torch.from_numpy(np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("=")))
    scale = 255.0 if x.dtype == np.uint8 else 1.0
    return torch.from_numpy(x.astype(np.float32)) / scale


def _targets(y: np.ndarray, num_classes: int | None) -> Tensor:
    if num_classes is not None:
        return torch.from_numpy(y.astype(np.int64))
    y = y if y.dtype.kind == "f" else y.astype(np.float32)
    return torch.from_numpy(y[:, None] if y.ndim == 1 else y)
