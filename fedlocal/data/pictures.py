"""Reading files of pictures into one array of bytes, once, and from then on out of a cache."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    Fit = Callable[[Image, int], Image]


def stretch(picture: "Image", size: int) -> "Image":
    """The whole picture, whatever its shape, as a square."""
    return picture.resize((size, size))


def crop(picture: "Image", size: int) -> "Image":
    """The middle of the picture as a square: its shorter side resized to `size`, the rest cut."""
    from PIL import Image, ImageOps

    return ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR)


def read_pictures(
    name: str, files: Sequence[Path], size: int, fit: "Fit", cache: str | Path | None = None
) -> Tensor:
    """Pictures as RGB, uint8 [n, 3, size, size], decoded on all cores.

    Args:
        name: The dataset's name, for messages.
        files: Of the pictures, in this order.
        size: Height and width in pixels.
        fit: `stretch` or `crop`.
        cache: A folder that keeps the bytes for the next run: an .npy file for these files, as long
            and as old as they are, this size and this fit. It is mapped into memory and not read,
            so that what does not fit into memory still runs on the CPU. None keeps nothing.

    Raises:
        ValueError: A picture that cannot be read, or more of them than fit into memory.
    """
    shape = (len(files), 3, size, size)
    if cache is None:
        try:
            images = np.empty(shape, dtype=np.uint8)
        except MemoryError as error:
            raise ValueError(
                f"dataset {name}: {len(files)} pictures of {size} x {size} pixels take"
                f" {3e-9 * len(files) * size**2:.0f} GB of memory; take a smaller dataset.size"
            ) from error
        _decode(name, files, size, fit, images)
        return torch.from_numpy(images)
    folder = Path(cache).expanduser()
    kept = folder / f"{name}-{size}-{_digest(files, fit)}.npy"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}")
        try:
            images = np.lib.format.open_memmap(draft, "w+", np.uint8, shape)
            _decode(name, files, size, fit, images)
            images.flush()
            draft.replace(kept)
        finally:
            draft.unlink(missing_ok=True)
    # Copy on write: torch has no tensors that cannot be written to.
    return torch.from_numpy(np.load(kept, mmap_mode="c"))


def _decode(
    name: str, files: Sequence[Path], size: int, fit: "Fit", images: NDArray[np.uint8]
) -> None:
    from torchvision.datasets.folder import pil_loader

    def one(row: int) -> None:
        try:
            picture = fit(pil_loader(str(files[row])), size)
        except OSError as error:
            raise ValueError(f"dataset {name}: cannot read {files[row]} ({error})") from error
        images[row] = np.asarray(picture).transpose(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # A block at a time: a bad picture ends the work soon, and a million tasks take memory.
        for first in range(0, len(files), 4096):
            for _ in pool.map(one, range(first, min(first + 4096, len(files)))):
                pass


def _digest(files: Sequence[Path], fit: "Fit") -> str:
    stats = ((file.absolute(), file.stat()) for file in files)
    seen = "\n".join(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)
    return sha256(f"{fit.__name__}\n{seen}".encode()).hexdigest()[:16]
