"""A folder of your own pictures, one subfolder per class."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedlocal.data.dataset import Dataset
from fedlocal.data.pictures import read_pictures, stretch
from fedlocal.data.pixels import standardise
from fedlocal.data.split import stratified_split

# Of ImageNet: the usual choice for photographs of unknown origin.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagefolder(
    path: str | Path, size: int = 32, test_fraction: float = 0.2, seed: int = 0
) -> Dataset:
    """Read pictures as RGB, resized to size x size, standardised like ImageNet.

    Args:
        path: Either `path/CLASS/picture.png`, or `path/train/CLASS/...` with `path/test/CLASS/...`.
            Classes are numbered in the order of their names.
        size: Height and width in pixels. The picture is stretched, not cropped.
        test_fraction: Share of each class to test on. Not used where path/test exists.
        seed: Of the split.

    Returns:
        float32 inputs [n, 3, size, size].

    Raises:
        FileNotFoundError: No folder at `path`, no class folder in it, or a class without pictures.
        ValueError: A picture that cannot be read, only one of train/ and test/, or train/ and
            test/ with different classes.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(
            f"dataset imagefolder: no folder {path}; it should hold one subfolder of pictures "
            "per class, or such folders inside train/ and test/"
        )
    has_split = {part: (path / part).is_dir() for part in ("train", "test")}
    if any(has_split.values()) and not all(has_split.values()):
        raise ValueError(f"dataset imagefolder: {path} has only one of train/ and test/")
    if all(has_split.values()):
        x_train, y_train, classes = _read(path / "train", size)
        x_test, y_test, test_classes = _read(path / "test", size)
        if classes != test_classes:
            raise ValueError(
                f"dataset imagefolder: classes {classes} in {path}/train but {test_classes} "
                f"in {path}/test"
            )
    else:
        x, y, classes = _read(path, size)
        train, test = stratified_split(y, test_fraction, seed)
        x_train, y_train, x_test, y_test = x[train], y[train], x[test], y[test]
    return Dataset(
        "imagefolder",
        standardise(x_train, _MEAN, _STD),
        torch.from_numpy(y_train),
        standardise(x_test, _MEAN, _STD),
        torch.from_numpy(y_test),
        num_classes=len(classes),
    )


def _read(folder: Path, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    from torchvision.datasets import ImageFolder

    pictures = ImageFolder(str(folder))
    files = [Path(file) for file, _ in pictures.samples]
    images = read_pictures("imagefolder", files, size, stretch).numpy()
    return images, np.array(pictures.targets, dtype=np.int64), list(pictures.classes)
