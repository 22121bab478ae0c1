"""A machine's own data: one .npz, CSV file or folder of pictures, all of it to train on."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.data.arrays import as_numbers, as_targets
from fedlocal.data.class_folders import check_case, class_names, pictures_of
from fedlocal.data.dataset import Dataset
from fedlocal.data.files import read_npz, read_text
from fedlocal.data.number_csv import read_csv
from fedlocal.data.pictures import read_rgb, say_cmyk
from fedlocal.data.pixels import IMAGENET, standardise

log = logging.getLogger(__name__)

# How a missing value is spelled, in lower case.
_MISSING = {"", "?", "n/a", "na", "nan", "none", "null"}
_CLASSES = "classes.txt"


def load_local(
    path: str | Path,
    classes: str | Path | Sequence[str] | None = None,
    num_classes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Read what one machine holds, so that a class has the same index on every machine.

    Args:
        path: One of
            `FILE.npz` with the arrays x [n, ...] and y [n]; bytes are pixels, divided by 255;
            `FILE.csv` with a header and columns of numbers, see `fedlocal.data.number_csv`; the
            target is the column `y`, or `label`, or else the last one;
            a folder with one subfolder of pictures per class, all pictures of one size.
        classes: The names of all classes in the order of their indices, or a text file with a
            name per line. None takes `classes.txt` in the folder (of the file), or where there is
            none the sorted names found here, which agree only between machines that hold all
            classes. Targets that are whole numbers are indices already, unless the names are
            whole numbers too.
        num_classes: Over all machines, where known: names that `classes` does not list must be
            so many, as their indices would differ from those of other machines.

    Returns:
        float32 inputs [n, ...] (pictures [n, 3, H, W], standardised like the dataset
        imagefolder); class indices int64 [n], or for targets written with a decimal point
        regression targets float32 [n, 1].

    Raises:
        FileNotFoundError: Nothing at `path`, or no file at `classes`.
        ValueError: A file that cannot be read, a target that `classes` does not have, NaN, ...
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"no local data at {path}; a .npz, a .csv or a folder is needed")
    names = _class_names(path, classes)
    if path.is_dir():
        x, y = _read_pictures(path)
    elif path.suffix == ".npz":
        x, y = _read_npz(path)
    elif path.suffix == ".csv":
        inputs, y = read_csv(path)
        x = torch.from_numpy(inputs)
    else:
        raise ValueError(f"{path}: local data is a .npz, a .csv or a folder of pictures")
    targets, found = _targets(path, y, names, num_classes)
    # Its checks are those of any dataset: finite numbers, lengths, indices below num_classes.
    data = Dataset(str(path), x, targets, None, None, found)
    return data.x_train, data.y_train


def _class_names(path: Path, classes: str | Path | Sequence[str] | None) -> list[str] | None:
    if classes is None:
        beside = (path if path.is_dir() else path.parent) / _CLASSES
        if not beside.is_file():
            return None
        classes = beside
    if isinstance(classes, str | Path):
        file = Path(classes).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f"no file {file}; it should name the classes, one per line")
        classes = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    names = list(classes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"classes must be two or more different names, got {names}")
    return names


def _targets(
    path: Path, y: NDArray[Any], names: list[str] | None, num_classes: int | None
) -> tuple[Tensor, int | None]:
    """Class indices and their number, or regression targets and None."""
    if y.dtype.kind == "f":
        return _numbers(path, y, names), None
    found = [str(name) for name in np.unique(y)]
    # Whether 3 is an index or a name must not depend on what else this machine holds.
    if y.dtype.kind != "U" and not (names and all(name.isdigit() for name in names)):
        indices = as_targets(y, f"{path}: y")
        return indices, len(names) if names else max(2, int(y.max(initial=0)) + 1)
    if names is None:
        _check_found(path, y, found, num_classes)
    names = found if names is None else names
    unknown = [name for name in found if name not in names]
    if unknown:
        raise ValueError(f"{path}: there is no class {unknown[0]!r}; the classes are {names}")
    index = np.array([names.index(name) for name in found], dtype=np.int64)
    return torch.from_numpy(index[np.unique(y, return_inverse=True)[1]]), max(2, len(names))


def _numbers(path: Path, y: NDArray[Any], names: list[str] | None) -> Tensor:
    if names is not None:
        raise ValueError(f"{path}: targets are fractions, but there are classes {names}")
    if (y == np.round(y)).all():
        log.warning(
            "%s: the targets are %s and are read for regression, though all are whole numbers;"
            " class indices have no decimal point",
            *(path, y.dtype),
        )
    return torch.from_numpy(y.astype(np.float32)).reshape(len(y), -1)


def _check_found(path: Path, y: NDArray[Any], found: list[str], num_classes: int | None) -> None:
    missing = [name for name in found if name.strip().lower() in _MISSING]
    if missing:
        row = int((y == missing[0]).argmax())
        given = f", but {missing[0]!r}" if missing[0] else ""
        raise ValueError(f"{path}: the example in row {row} has no target{given}; delete the row")
    check_case(found, str(path))
    if num_classes is not None and len(found) != num_classes:
        raise ValueError(
            f"{path}: has {len(found)} names of classes, dataset.num_classes is {num_classes}; list"
            f" all of them in {_CLASSES} beside the data, the same on every machine"
        )


def _read_npz(path: Path) -> tuple[Tensor, NDArray[Any]]:
    x, y = read_npz(path, "x", "y").values()
    if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiubU" or y.ndim == 0:
        raise ValueError(
            f"{path}: x must hold numbers and y numbers or names, got {x.dtype} and {y.dtype}"
        )
    return as_numbers(x, f"{path}: x").float(), y


def _read_pictures(folder: Path) -> tuple[Tensor, NDArray[np.str_]]:
    listed = pictures_of(folder, class_names(folder))
    if not listed:
        raise FileNotFoundError(
            f"{folder}: no pictures; it should hold one subfolder of pictures per class, and has "
            f"the subfolders {class_names(folder)}"
        )
    files = [file for file, _ in listed]
    read = [read_rgb(file) for file in files]
    say_cmyk(str(folder), files, [mode for _, mode in read])
    images = [np.asarray(picture) for picture, _ in read]
    odd = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        raise ValueError(
            f"{files[odd]} is {_size(images[odd])} but {files[0]} is {_size(images[0])};"
            " all pictures must have one size"
        )
    pixels = np.stack(images).transpose(0, 3, 1, 2)
    # As for the dataset imagefolder: the same picture gives the same numbers.
    return standardise(pixels, IMAGENET.mean, IMAGENET.std), np.array([name for _, name in listed])


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
