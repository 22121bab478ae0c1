"""CIFAR-10, CIFAR-100 and SVHN: 32x32 colour images, read by torchvision."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlocal.data.dataset import Dataset
from fedlocal.data.pixels import standardise
from fedlocal.data.torchvision_download import download_with


def cifar10(root: str | Path, download: bool = False) -> Dataset:
    """CIFAR-10: 50,000 + 10,000 photographs, [3, 32, 32], 10 classes.

    Args:
        root: Folder that holds `cifar-10-batches-py/`, the unpacked cifar-10-python.tar.gz.
        download: Fetch it with torchvision if it is not there.

    Returns:
        float32 inputs, standardised.

    Raises:
        FileNotFoundError: The files are missing, or fail torchvision's checksums.

    Source: Krizhevsky. 2009. https://www.cs.toronto.edu/~kriz/cifar.html
    """
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    return _cifar("cifar10", "CIFAR10", "cifar-10-batches-py", root, download, 10, mean, std)


def cifar100(root: str | Path, download: bool = False) -> Dataset:
    """CIFAR-100 with its 100 fine labels; otherwise as `cifar10`.

    `root` holds `cifar-100-python/`, the unpacked cifar-100-python.tar.gz.
    """
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    return _cifar("cifar100", "CIFAR100", "cifar-100-python", root, download, 100, mean, std)


def svhn(root: str | Path, download: bool = False) -> Dataset:
    """SVHN, cropped: 73,257 + 26,032 house number digits, [3, 32, 32], 10 classes.

    Args:
        root: Folder that holds `train_32x32.mat` and `test_32x32.mat`.
        download: Fetch them with torchvision if they are not there.

    Returns:
        float32 inputs, standardised. The digit 0, which the files call 10, has label 0.

    Raises:
        FileNotFoundError: The files are missing, or fail torchvision's checksums.

    Source: Netzer et al. 2011. http://ufldl.stanford.edu/housenumbers/
    """
    mean, std = (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)
    content = "train_32x32.mat and test_32x32.mat"
    parts: list[Tensor] = []
    for split in ("train", "test"):
        data = _open("svhn", "SVHN", root, content, download, split=split)
        parts += [standardise(data.data, mean, std), torch.from_numpy(data.labels)]
    return Dataset("svhn", *parts, num_classes=10)


def _cifar(
    name: str,
    class_name: str,
    folder: str,
    root: str | Path,
    download: bool,
    num_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Dataset:
    parts: list[Tensor] = []
    for train in (True, False):
        data = _open(name, class_name, root, f"the folder {folder}", download, train=train)
        parts += [standardise(data.data.transpose(0, 3, 1, 2), mean, std)]
        parts += [torch.from_numpy(np.asarray(data.targets, dtype=np.int64))]
    return Dataset(name, *parts, num_classes=num_classes)


def _open(
    name: str, class_name: str, root: str | Path, content: str, download: bool, **part: str | bool
) -> Any:
    from torchvision import datasets

    root = Path(root).expanduser()
    with warnings.catch_warnings():
        # The published CIFAR pickles were written by Python 2, and numpy 2.4.0 to 2.4.4 warn about
        # what those store in a dtype. https://github.com/numpy/numpy/pull/31177
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        if download:
            return download_with(class_name, root, name, **part)
        try:
            return getattr(datasets, class_name)(str(root), **part)
        except RuntimeError as error:
            raise FileNotFoundError(
                f"dataset {name}: {root} should hold {content}, complete and as published "
                "(torchvision checks them); or set dataset.download=true"
            ) from error
