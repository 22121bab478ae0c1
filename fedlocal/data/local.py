"""A machine's own data: one .npz, CSV file or folder of pictures, all of it to train on."""

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.data.dataset import Dataset
from fedlocal.data.pixels import standardise

# Of ImageNet, as for the dataset imagefolder: the same picture gives the same numbers.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TARGETS = ("y", "label")
_CLASSES = "classes.txt"


def load_local(
    path: str | Path, classes: str | Path | Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Read what one machine holds, so that a class has the same index on every machine.

    Args:
        path: One of
            `FILE.npz` with the arrays x [n, ...] and y [n]; bytes are pixels, divided by 255;
            `FILE.csv` with a header and columns of numbers; the target is the column `y`, or
            `label`, or else the last one;
            a folder with one subfolder of pictures per class, all pictures of one size.
        classes: The names of all classes in the order of their indices, or a text file with a
            name per line. None takes `classes.txt` in the folder (of the file), or where there is
            none the sorted names found here, which agree only between machines that hold all
            classes. Targets that are whole numbers are indices already, unless the names are
            whole numbers too.

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
        x, y = _read_pictures(path, names)
    elif path.suffix == ".npz":
        x, y = _read_npz(path)
    elif path.suffix == ".csv":
        x, y = _read_csv(path)
    else:
        raise ValueError(f"{path}: local data is a .npz, a .csv or a folder of pictures")
    targets, num_classes = _targets(path, y, names)
    # Its checks are those of any dataset: finite numbers, lengths, indices below num_classes.
    data = Dataset(str(path), x, targets, None, None, num_classes)
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
        classes = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    names = list(classes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"classes must be two or more different names, got {names}")
    return names


def _targets(path: Path, y: NDArray[Any], names: list[str] | None) -> tuple[Tensor, int | None]:
    """Class indices and their number, or regression targets and None."""
    if y.dtype.kind == "f":
        if names is not None:
            raise ValueError(f"{path}: targets are fractions, but there are classes {names}")
        return torch.from_numpy(y.astype(np.float32)).reshape(len(y), -1), None
    found = [str(name) for name in np.unique(y)]
    if "" in found:
        raise ValueError(f"{path}: the example in row {int((y == '').argmax())} has no target")
    # Whether 3 is an index or a name must not depend on what else this machine holds.
    if y.dtype.kind != "U" and not (names and all(name.isdigit() for name in names)):
        indices = torch.from_numpy(y.astype(np.int64))
        return indices, len(names) if names else max(2, int(y.max(initial=0)) + 1)
    names = found if names is None else names
    unknown = [name for name in found if name not in names]
    if unknown:
        raise ValueError(f"{path}: there is no class {unknown[0]!r}; the classes are {names}")
    index = np.array([names.index(name) for name in found], dtype=np.int64)
    return torch.from_numpy(index[np.unique(y, return_inverse=True)[1]]), max(2, len(names))


def _read_npz(path: Path) -> tuple[Tensor, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            x, y = archive["x"], archive["y"]
    # A lone .npy array has neither `with` nor keys.
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not a readable .npz with the plain arrays x and y ({error})"
        ) from error
    if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiubU" or y.ndim == 0:
        raise ValueError(
            f"{path}: x must hold numbers and y numbers or names, got {x.dtype} and {y.dtype}"
        )
    scale = np.float32(255 if x.dtype == np.uint8 else 1)
    return torch.from_numpy(x.astype(np.float32) / scale), y


def _read_csv(path: Path) -> tuple[Tensor, NDArray[Any]]:
    header = _header(path)
    named = [name for name in _TARGETS if name in header]
    if len(named) > 1:
        raise ValueError(f"{path}: has the columns y and label; keep the one that is the target")
    target = header.index(named[0]) if named else len(header) - 1
    inputs = [column for column in range(len(header)) if column != target]
    x, y = _columns(path, inputs, np.float32), _columns(path, [target], np.str_)[:, 0]
    return torch.from_numpy(x), _narrowed(np.char.strip(y))


def _header(path: Path) -> list[str]:
    # A spreadsheet may begin its file with a byte order mark.
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, skipinitialspace=True)
        header = [name.strip() for name in next(lines, [])]
        if len(header) < 2:
            raise ValueError(f"{path}: the first line must name two or more columns, got {header}")
        if not any(lines):
            raise ValueError(f"{path}: no examples below the header {header}")
    return header


def _columns(path: Path, columns: list[int], dtype: type) -> NDArray[Any]:
    try:
        return np.loadtxt(
            path,
            dtype,
            delimiter=",",
            skiprows=1,
            usecols=columns,
            ndmin=2,
            comments=None,
            quotechar='"',
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}, counted without the header") from error


def _narrowed(text: NDArray[np.str_]) -> NDArray[Any]:
    """The same column as integers, else as floats, else as it is."""
    for dtype in (np.int64, np.float64):
        try:
            return text.astype(dtype)
        except ValueError:
            continue
    return text


def _read_pictures(folder: Path, names: list[str] | None) -> tuple[Tensor, NDArray[np.str_]]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    files = [
        (file, name)
        for name in found
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in IMG_EXTENSIONS
    ]
    if not files:
        raise FileNotFoundError(
            f"{folder}: no pictures; it should hold one subfolder of pictures per class, and has "
            f"the subfolders {found}"
        )
    images = [_picture(file) for file, _ in files]
    odd = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        raise ValueError(
            f"{files[odd][0]} is {_size(images[odd])} but {files[0][0]} is {_size(images[0])};"
            " all pictures must have one size"
        )
    pixels = np.stack(images).transpose(0, 3, 1, 2)
    return standardise(pixels, _MEAN, _STD), np.array([name for _, name in files])


def _picture(file: Path) -> NDArray[np.uint8]:
    from torchvision.datasets.folder import pil_loader

    try:
        return np.asarray(pil_loader(str(file)))
    except OSError as error:
        raise ValueError(f"cannot read {file} ({error})") from error


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
