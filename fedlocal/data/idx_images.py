"""MNIST and the three datasets that use the same file format.

The files are read here and not by torchvision, whose reader wants them unpacked: ours also
reads the published .gz files, in memory, so that the folder may be read-only. Downloading is
torchvision's.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fedlocal.data.dataset import Dataset
from fedlocal.data.files import read_idx
from fedlocal.data.pixels import standardise
from fedlocal.data.torchvision_download import download_with

_EMNIST_CLASSES = {
    "byclass": 62,
    "bymerge": 47,
    "balanced": 47,
    "letters": 26,
    "digits": 10,
    "mnist": 10,
}


def mnist(root: str | Path, download: bool = False) -> Dataset:
    """MNIST: 60,000 + 10,000 handwritten digits, [1, 28, 28], 10 classes.

    Args:
        root: Folder that holds `MNIST/raw/` with the four idx files, gzipped or not.
        download: Fetch them with torchvision if they are not there.

    Returns:
        float32 inputs, standardised.

    Raises:
        FileNotFoundError: A file is missing and download is false.
        ValueError: A damaged file.

    Source: LeCun, Bottou, Bengio, Haffner. 1998. http://yann.lecun.com/exdb/mnist/
    """
    return _load("mnist", "MNIST", root, download, mean=0.1307, std=0.3081)


def fashion_mnist(root: str | Path, download: bool = False) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 pictures of clothes; otherwise as `mnist`.

    The files are in `root/FashionMNIST/raw/`.
    Source: Xiao, Rasul, Vollgraf. 2017. https://arxiv.org/abs/1708.07747
    """
    return _load("fashion_mnist", "FashionMNIST", root, download, mean=0.2860, std=0.3530)


def kmnist(root: str | Path, download: bool = False) -> Dataset:
    """Kuzushiji-MNIST: 60,000 + 10,000 cursive Japanese characters; otherwise as `mnist`.

    The files are in `root/KMNIST/raw/`.
    Source: Clanuwat et al. 2018. https://arxiv.org/abs/1812.01718
    """
    return _load("kmnist", "KMNIST", root, download, mean=0.1918, std=0.3483)


def emnist(root: str | Path, split: str = "balanced", download: bool = False) -> Dataset:
    """EMNIST: handwritten letters and digits; otherwise as `mnist`.

    The files are in `root/EMNIST/raw/`, named `emnist-SPLIT-train-images-idx3-ubyte` and so on.
    They hold the images transposed; here they stand upright. The labels 1..26 of the split
    `letters` become 0..25.

    Args:
        root: Folder that holds `EMNIST/raw/`.
        split: byclass (62 classes), bymerge (47), balanced (47), letters (26), digits or mnist.
        download: Fetch the files with torchvision if they are not there.

    Raises:
        ValueError: An unknown split, or a damaged file.

    Source: Cohen, Afshar, Tapson, van Schaik. 2017. https://arxiv.org/abs/1702.05373
    """
    if split not in _EMNIST_CLASSES:
        raise ValueError(f"dataset emnist: no split {split!r}; one of {', '.join(_EMNIST_CLASSES)}")
    return _load(
        "emnist",
        "EMNIST",
        root,
        download,
        mean=0.1751,
        std=0.3332,
        prefixes=(f"emnist-{split}-train", f"emnist-{split}-test"),
        num_classes=_EMNIST_CLASSES[split],
        first_label=int(split == "letters"),
        transposed=True,
        options={"split": split},
    )


def _load(
    name: str,
    class_name: str,
    root: str | Path,
    download: bool,
    mean: float,
    std: float,
    prefixes: Sequence[str] = ("train", "t10k"),
    num_classes: int = 10,
    first_label: int = 0,
    transposed: bool = False,
    options: dict[str, str] | None = None,
) -> Dataset:
    root = Path(root).expanduser()
    folder = root / class_name / "raw"
    names = [f"{p}-{kind}-ubyte" for p in prefixes for kind in ("images-idx3", "labels-idx1")]
    if download and any(_find(folder, file) is None for file in names):
        download_with(class_name, root, name, **(options or {}))
    arrays = [read_idx(_required(folder, file, name)) for file in names]
    tensors = []
    for images, labels in zip(arrays[::2], arrays[1::2], strict=True):
        if images.ndim != 3 or labels.ndim != 1:
            raise ValueError(
                f"dataset {name}: {folder} should hold images [n, H, W] and labels [n], got "
                f"{list(images.shape)} and {list(labels.shape)}"
            )
        upright = images.swapaxes(1, 2) if transposed else images
        tensors.append(standardise(upright[:, None], [mean], [std]))
        tensors.append(torch.from_numpy(labels.astype(np.int64) - first_label))
    return Dataset(name, *tensors, num_classes=num_classes)


def _find(folder: Path, file: str) -> Path | None:
    candidates = (folder / file, folder / f"{file}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _required(folder: Path, file: str, name: str) -> Path:
    path = _find(folder, file)
    if path is None:
        raise FileNotFoundError(
            f"dataset {name}: no {file} (or .gz) in {folder}; put the four idx files there "
            "(gz or not), or set dataset.download=true"
        )
    return path
