"""ImageNet and Tiny ImageNet: folders of pictures named by WordNet ids, kept as bytes.

Deng et al. ImageNet: A Large-Scale Hierarchical Image Database. 2009. https://www.image-net.org
Tiny ImageNet: Stanford CS231n. http://cs231n.stanford.edu/tiny-imagenet-200.zip
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedlocal.data.class_folders import hidden
from fedlocal.data.dataset import Dataset
from fedlocal.data.files import existing_file, read_text
from fedlocal.data.pictures import crop, read_pictures
from fedlocal.data.pixels import IMAGENET

_ENDINGS = {".jpeg", ".jpg", ".png"}
_ANNOTATIONS = "val_annotations.txt"


def tiny_imagenet(root: str | Path, size: int = 64, cache: str | None = None) -> Dataset:
    """Load Tiny ImageNet: 100,000 + 10,000 photographs, [3, 64, 64], 200 classes, 1.4 GB.

    Args:
        root: Folder `tiny-imagenet-200` as published: `train/WNID/images/*.JPEG`, and `val/images/`
            with `val/val_annotations.txt`; or `val/WNID/...` sorted as `train` is.
        size: Height and width in pixels; the pictures have 64.
        cache: As of `imagenet`.

    Returns:
        Bytes, with the validation set to test on. The published test set has no labels.

    Raises:
        FileNotFoundError: A folder or file is missing.
        ValueError: A picture that cannot be read, or a class that is not in train.
    """
    return _load("tiny_imagenet", root, size, cache)


def imagenet(root: str | Path, size: int = 64, cache: str | None = None) -> Dataset:
    """ImageNet (ILSVRC 2012): 1,281,167 + 50,000 photographs, 1000 classes, or a part of it.

    Classes are numbered in the order of their WordNet ids. All pictures are held in memory, on the
    device: 16 GB at 64 x 64 pixels, 193 GB at 224 x 224.

    Args:
        root: Folder with `train/WNID/*.JPEG` and `val/WNID/*.JPEG`. The published validation
            pictures lie in one folder and have to be sorted by class first.
        size: Height and width in pixels: the shorter side is resized to it, and the middle cut out.
        cache: A folder that keeps the decoded bytes, so that the next run starts at once; on the
            CPU they are mapped, and need not fit into memory. None decodes in every run.

    Returns:
        Bytes, with the validation set to test on.

    Raises:
        FileNotFoundError: A folder is missing or empty.
        ValueError: A picture that cannot be read, or a class that is not in train.
    """
    return _load("imagenet", root, size, cache)


def _load(name: str, root: str | Path, size: int, cache: str | None) -> Dataset:
    root = Path(root).expanduser()
    if size < 1:
        raise ValueError(f"dataset {name}: size must be >= 1, got {size}")
    train = _by_folder(name, root / "train")
    classes = sorted({label for _, label in train})
    annotated = (root / "val" / _ANNOTATIONS).is_file()
    val = _annotated(name, root / "val") if annotated else _by_folder(name, root / "val")
    parts: list[Tensor] = []
    for listed in (train, val):
        parts.append(read_pictures(name, [file for file, _ in listed], size, crop, cache))
        parts.append(_indices(name, classes, listed))
    return Dataset(name, *parts, num_classes=len(classes), pixels=IMAGENET)


def _by_folder(name: str, folder: Path) -> list[tuple[Path, str]]:
    """List every picture below folder/WNID, however deep, with its WNID."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"dataset {name}: no folder {folder}; it should hold one subfolder of pictures per"
            " class, named by its WordNet id"
        )
    wnids = sorted(path.name for path in folder.iterdir() if path.is_dir() and not hidden(path))
    listed = [
        (file, wnid)
        for wnid in wnids
        for file in sorted((folder / wnid).rglob("*"))
        if file.suffix.lower() in _ENDINGS and not _within_hidden(file, folder)
    ]
    if not listed:
        raise FileNotFoundError(
            f"dataset {name}: no pictures in {folder}/WNID/; it has the subfolders {wnids[:5]}."
            " Sort the pictures into one subfolder per class"
        )
    return listed


def _within_hidden(file: Path, folder: Path) -> bool:
    return any(hidden(Path(part)) for part in file.relative_to(folder).parts)


def _annotated(name: str, folder: Path) -> list[tuple[Path, str]]:
    """List the pictures of val/images with their WNIDs: a line has the file, WNID and a box."""
    lines = read_text(folder / _ANNOTATIONS).splitlines()
    fields = [line.split("\t") for line in lines if line.strip()]
    short = next((line for line in fields if len(line) < 2), None)
    if short is not None or not fields:
        raise ValueError(
            f"{folder / _ANNOTATIONS}: a line must have a file and a WordNet id, got {short}"
        )
    return [
        (existing_file(folder / "images" / file, name, "a picture"), wnid)
        for file, wnid, *_ in fields
    ]


def _indices(name: str, classes: list[str], listed: list[tuple[Path, str]]) -> Tensor:
    index = {wnid: i for i, wnid in enumerate(classes)}
    unknown = next((pair for pair in listed if pair[1] not in index), None)
    if unknown is not None:
        raise ValueError(
            f"dataset {name}: {unknown[0]} is of the class {unknown[1]}, which train/ does not have"
        )
    return torch.from_numpy(np.array([index[wnid] for _, wnid in listed], dtype=np.int64))
