"""Finding pictures in one folder per class, and what else lies there."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

# Pictures in formats that are not read.
_NOT_READ = {".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".svg"}


def class_names(folder: Path) -> list[str]:
    """List the subfolders, which are the classes, in the order of their names.

    Hidden ones (`.ipynb_checkpoints`, `__MACOSX`) are none.

    Raises:
        ValueError: Names that differ in case only, or pictures beside the subfolders.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not hidden(path))
    check_case(names, str(folder))
    beside = sorted(path.name for path in folder.iterdir() if path.is_file() and _is_picture(path))
    if beside:
        raise ValueError(
            f"{folder} has {len(beside)} pictures outside of the class folders, the first is"
            f" {beside[0]}; move them into the folder of their class"
        )
    return names


def pictures_of(folder: Path, names: list[str]) -> list[tuple[Path, str]]:
    """List each picture below `folder`/NAME, however deep, with its class; hidden ones are none."""
    files = [(file, name) for name in names for file in _below(folder / name)]
    left = Counter(file.suffix.lower() for file, _ in files if file.suffix.lower() in _NOT_READ)
    if left:
        log.warning(
            "%s: %d pictures are left out, as %s is not read; convert them to PNG",
            *(folder, sum(left.values()), ", ".join(sorted(left))),
        )
    return [(file, name) for file, name in files if _is_picture(file)]


def check_case(names: list[str], where: str) -> None:
    """Raise ValueError where two classes differ in upper and lower case only."""
    lowered = Counter(name.lower() for name in names)
    twice = [name for name in names if lowered[name.lower()] > 1]
    if twice:
        raise ValueError(
            f"{where}: the classes {twice[0]} and {twice[1]} differ in upper and lower case only;"
            " give a class one name"
        )


def hidden(path: Path) -> bool:
    """Whether a file or folder is kept by a program for itself and is no data."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def _below(folder: Path) -> Iterator[Path]:
    for root, _, names in sorted(os.walk(folder, followlinks=True)):
        parts = Path(root).relative_to(folder).parts
        if not any(hidden(Path(part)) for part in parts):
            yield from (Path(root, name) for name in sorted(names) if not hidden(Path(name)))


def _is_picture(path: Path) -> bool:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    return path.suffix.lower() in IMG_EXTENSIONS and not hidden(path)
