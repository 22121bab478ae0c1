"""A folder of your own pictures, one subfolder per class."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from fedlocal.data.class_folders import class_names, hidden, pictures_of
from fedlocal.data.dataset import Dataset
from fedlocal.data.pictures import Colour, read_pictures, stretch
from fedlocal.data.pixels import IMAGENET, standardise
from fedlocal.data.split import stratified_split

_SPLITS = {"train", "test", "val", "valid", "validation"}

log = logging.getLogger(__name__)


def imagefolder(
    path: str | Path,
    size: int = 32,
    test_fraction: float = 0.2,
    seed: int = 0,
    background: Sequence[int] | None = None,
) -> Dataset:
    """Read pictures as RGB, resized to size x size, standardised like ImageNet.

    Args:
        path: Either `path/CLASS/picture.png`, or `path/train/CLASS/...` with `path/test/CLASS/...`.
            Classes are numbered in the order of their names; hidden folders and files are none.
        size: Height and width in pixels. The picture is stretched, not cropped.
        test_fraction: Share of each class to test on. Not used where path/test exists.
        seed: Of the split.
        background: Red, green and blue, 0 to 255, that transparent pixels lie on; None refuses
            pictures with transparent pixels.

    Returns:
        float32 inputs [n, 3, size, size].

    Raises:
        FileNotFoundError: No folder at `path`, no class folder in it, or a class without pictures.
        ValueError: A picture that cannot be read without loss, only one of train/ and test/,
            train/ and test/ with different classes, classes that differ in case only, or pictures
            outside of the class folders.
    """
    path = Path(path).expanduser()
    colour = _colour(background)
    if not path.is_dir():
        raise FileNotFoundError(
            f"dataset imagefolder: no folder {path}; it should hold one subfolder of pictures "
            "per class, or such folders inside train/ and test/"
        )
    if _has_split(path):
        x_train, y_train, classes = _read(path / "train", size, colour)
        x_test, y_test, test_classes = _read(path / "test", size, colour)
        if classes != test_classes:
            raise ValueError(
                f"dataset imagefolder: classes {classes} in {path}/train but {test_classes} "
                f"in {path}/test"
            )
    else:
        x, y, classes = _read(path, size, colour)
        train, test = stratified_split(y, test_fraction, seed)
        x_train, y_train, x_test, y_test = x[train], y[train], x[test], y[test]
    return Dataset(
        "imagefolder",
        standardise(x_train, IMAGENET.mean, IMAGENET.std),
        torch.from_numpy(y_train),
        standardise(x_test, IMAGENET.mean, IMAGENET.std),
        torch.from_numpy(y_test),
        num_classes=len(classes),
    )


def _has_split(path: Path) -> bool:
    folders = sorted(each.name for each in path.iterdir() if each.is_dir() and not hidden(each))
    has = [part in folders for part in ("train", "test")]
    if all(has):
        others = [name for name in folders if name not in ("train", "test")]
        if others:
            log.warning("dataset imagefolder: %s has %s, not read", path, ", ".join(others))
        return True
    if any(has):
        raise ValueError(f"dataset imagefolder: {path} has only one of train/ and test/")
    splits = [name for name in folders if name.lower() in _SPLITS]
    if splits:
        raise ValueError(
            f"dataset imagefolder: {path} has the folder {splits[0]}, which is no class; name the"
            " two parts train and test"
        )
    return False


def _read(
    folder: Path, size: int, background: Colour | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    classes = class_names(folder)
    if not classes:
        raise FileNotFoundError(f"Couldn't find any class folder in {folder}.")
    listed = pictures_of(folder, classes)
    empty = sorted(set(classes) - {name for _, name in listed})
    if empty:
        raise FileNotFoundError(
            f"dataset imagefolder: the class folders {', '.join(empty)} in {folder} have no"
            " pictures; fill them or delete them"
        )
    files = [file for file, _ in listed]
    images = read_pictures("imagefolder", files, size, stretch, background=background).numpy()
    index = {name: i for i, name in enumerate(classes)}
    return images, np.array([index[name] for _, name in listed], dtype=np.int64), classes


def _colour(background: Sequence[int] | None) -> Colour | None:
    if background is None:
        return None
    levels = tuple(background)
    if len(levels) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in levels):
        raise ValueError(
            "dataset imagefolder: background must be red, green and blue, 0 to 255 each, got"
            f" {list(background)}; [255,255,255] is white"
        )
    return cast(Colour, levels)
