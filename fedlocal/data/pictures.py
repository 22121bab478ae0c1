"""Reading files of pictures into one array of bytes, once, and from then on out of a cache."""

import logging
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

from fedlocal.utils.atomic import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

    Fit = Callable[[Image, int], Image]


log = logging.getLogger(__name__)

# Red, green and blue, 0..255.
Colour = tuple[int, int, int]


def read_rgb(file: Path, background: Colour | None = None) -> "tuple[Image, str]":
    """Read one picture as RGB, and say in which mode the file has it.

    It stays as it is stored: a rotation that a camera has noted (EXIF) is not applied.

    Args:
        file: Of the picture.
        background: What transparent pixels lie on; None refuses them.

    Raises:
        ValueError: More than 8 bits a channel, transparent pixels, several frames, or a file that
            cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(file) as picture:
            _check_lossless(file, picture)
            return _on(file, picture, background).convert("RGB"), picture.mode
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read {file} ({error})") from error


def _check_lossless(file: Path, picture: "Image") -> None:
    # Pillow cuts deeper channels off: at white, or at their high byte.
    if picture.mode[0] in "IF" or ";16" in str(getattr(picture, "tile", "")):
        raise ValueError(
            f"{file} has more than 8 bits a channel (mode {picture.mode}), which RGB does not"
            " hold; convert it to 8 bits a channel, or bring numbers as dataset=npz"
        )
    # A camera's MPO is a JPEG with previews behind it.
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        raise ValueError(f"{file} has {frames} frames; a picture of one frame is needed")


def _on(file: Path, picture: "Image", background: Colour | None) -> "Image":
    """Return the picture without transparent pixels."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture
    layer = picture.convert("RGBA")
    if layer.getchannel("A").getextrema() == (255, 255):
        return layer
    if background is None:
        raise ValueError(
            f"{file} has transparent pixels; say what they lie on, with imagefolder"
            " dataset.background=[255,255,255], or convert it to RGB"
        )
    return Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer)


def stretch(picture: "Image", size: int) -> "Image":
    """Resize the whole picture to a square, whatever its shape."""
    return picture.resize((size, size))


def crop(picture: "Image", size: int) -> "Image":
    """Resize the shorter side to `size` and cut the middle of the picture as a square."""
    from PIL import Image, ImageOps

    return ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR)


def read_pictures(
    name: str,
    files: Sequence[Path],
    size: int,
    fit: "Fit",
    cache: str | Path | None = None,
    background: Colour | None = None,
) -> Tensor:
    """Picture as RGB, uint8 [n, 3, size, size], decoded on all cores.

    Args:
        name: The dataset's name, for messages.
        files: Of the pictures, in this order.
        size: Height and width in pixels.
        fit: `stretch` or `crop`.
        cache: A folder that keeps the bytes for the next run: an .npy file for these files, as long
            and as old as they are, this size and this fit. It is mapped into memory and not read,
            so that what does not fit into memory still runs on the CPU. None keeps nothing.
        background: See `read_rgb`; not together with `cache`.

    Raises:
        ValueError: A picture that `read_rgb` refuses, or more of them than fit into memory.
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
        _decode(name, files, size, fit, images, background)
        return torch.from_numpy(images)
    folder = Path(cache).expanduser()
    kept = folder / f"{name}-{size}-{_digest(files, fit)}.npy"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)

        def write(draft: Path) -> None:
            images = np.lib.format.open_memmap(draft, "w+", np.uint8, shape)
            _decode(name, files, size, fit, images)
            images.flush()

        write_atomically(kept, write)
    # Copy on write: torch has no tensors that cannot be written to.
    return torch.from_numpy(np.load(kept, mmap_mode="c"))


def _decode(
    name: str,
    files: Sequence[Path],
    size: int,
    fit: "Fit",
    images: NDArray[np.uint8],
    background: Colour | None = None,
) -> None:
    def one(row: int) -> str:
        try:
            picture, mode = read_rgb(files[row], background)
        except ValueError as error:
            raise ValueError(f"dataset {name}: {error}") from error
        images[row] = np.asarray(fit(picture, size)).transpose(2, 0, 1)
        return mode

    modes: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # A block at a time: a bad picture ends the work soon, and a million tasks take memory.
        for first in range(0, len(files), 4096):
            modes += pool.map(one, range(first, min(first + 4096, len(files))))
    say_cmyk(name, files, modes)


def say_cmyk(name: str, files: Sequence[Path], modes: Sequence[str]) -> None:
    """Log how many pictures were printers' colours, whose conversion is approximate."""
    if "CMYK" in modes:
        log.warning(
            "dataset %s: %d pictures are CMYK, the first is %s; they became RGB without a colour"
            " profile",
            *(name, modes.count("CMYK"), files[modes.index("CMYK")]),
        )


def _digest(files: Sequence[Path], fit: "Fit") -> str:
    stats = ((file.absolute(), file.stat()) for file in files)
    seen = "\n".join(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)
    return sha256(f"{fit.__name__}\n{seen}".encode()).hexdigest()[:16]
