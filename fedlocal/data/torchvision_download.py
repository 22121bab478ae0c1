"""The one door to torchvision's downloads."""

from pathlib import Path
from typing import Any


def download_with(class_name: str, root: Path, name: str, **options: str | bool) -> Any:
    """Let `torchvision.datasets.<class_name>` fetch, check and unpack its files into `root`.

    Args:
        class_name: Name of torchvision's class.
        root: Its `root`.
        name: The dataset's name, for the message.
        options: Further arguments of the class, such as `split`.

    Returns:
        torchvision's dataset, read from `root`.

    Raises:
        OSError: The download failed, the checksum was wrong, or `root` cannot be written.
    """
    from torchvision import datasets

    try:
        return getattr(datasets, class_name)(str(root), download=True, **options)
    except (OSError, RuntimeError) as error:
        # torchvision spreads one failure over several lines, one per mirror.
        reason = " ".join(str(error).split())
        raise OSError(f"dataset {name}: download into {root} failed: {reason}") from error
