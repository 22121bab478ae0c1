"""Reading what the user put on disk, with errors that name the file."""

import gzip
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def existing_file(path: str | Path, name: str, content: str) -> Path:
    """Return `path` with `~` expanded.

    Args:
        path: As the user gave it.
        name: The dataset's name, for the message.
        content: What the file should hold, for the message.

    Raises:
        FileNotFoundError: No file is there.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"dataset {name}: no file {path}; {content} should be there")
    return path


def read_bytes(path: Path) -> bytes:
    """Read a whole file, unpacked in memory if it is gzipped, whatever its name ends in.

    Raises:
        ValueError: A damaged gzip file.
    """
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file ({error})") from error


def read_text(path: Path) -> str:
    """Read a whole text file, UTF-8, gzipped or not; every line ends with one newline character.

    Raises:
        ValueError: A damaged gzip file, or not UTF-8.
    """
    try:
        # A spreadsheet may begin its file with a byte order mark.
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_npz(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Read these arrays of a .npz file; without names all that are in it.

    Raises:
        ValueError: No such file of plain arrays, or one of them is missing.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names or archive.files}
    # A lone .npy array has neither `with` nor `files`.
    except (
        *(ValueError, OSError, EOFError, KeyError),
        *(zipfile.BadZipFile, TypeError, AttributeError),
    ) as error:
        arrays = f"with the plain arrays {' and '.join(names)}" if names else "of plain arrays"
        raise ValueError(f"{path}: not a readable .npz {arrays} ({error})") from error


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one file of unsigned bytes in MNIST's idx format, gzipped or not.

    The format: two zero bytes, a type byte (8 = unsigned byte), the number of dimensions, then each
    dimension as a big-endian 32-bit integer, then the values, last dimension fastest.
    Source: LeCun, Cortes, Burges. The MNIST database. http://yann.lecun.com/exdb/mnist/

    Raises:
        ValueError: Another type than unsigned bytes, or a length that disagrees with the header.
    """
    data = read_bytes(path)
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path}: not an idx file of unsigned bytes (begins {data[:4].hex()})")
    offset = 4 + 4 * data[3]
    shape = tuple(int(size) for size in np.frombuffer(data[4:offset], dtype=">u4"))
    values = np.frombuffer(data[offset:], dtype=np.uint8)
    if len(shape) != data[3] or len(values) != math.prod(shape):
        raise ValueError(
            f"{path}: the header promises {list(shape)} values but {len(values)} follow; "
            "is the file cut off?"
        )
    return values.reshape(shape)
