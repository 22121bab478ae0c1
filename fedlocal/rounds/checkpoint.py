"""Checkpoints: the state of a run between two rounds, in a file."""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedlocal.rounds.client_table import ClientTable
from fedlocal.rounds.run_loop import Progress
from fedlocal.utils.atomic import write_atomically
from fedlocal.vectors.trees import tree_map

FILE = "state.pt"

# Errors of unpickling for damaged files, and for classes that have other names or fields now.
UNREADABLE = (
    UnpicklingError, EOFError, RuntimeError, AttributeError, ImportError, TypeError, KeyError,
)  # fmt: skip


@dataclass(frozen=True)
class Checkpointing:
    """Schedule of checkpoints.

    Attributes:
        every: Rounds between two checkpoints; 0 saves one only when the run is interrupted.
        keep: Keep the last checkpoint of a finished run, so that more rounds can be added.
        strict: Refuse to resume with other code or other versions. False only warns.
    """

    every: int = 0
    keep: bool = False
    strict: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for a negative number of rounds."""
        if self.every < 0:
            raise ValueError(f"checkpoint.every must be >= 0 rounds, got {self.every}")

    def due(self, round_index: int) -> bool:
        """Return whether to save after `round_index` rounds."""
        return self.every > 0 and round_index % self.every == 0


class Checkpoint(NamedTuple):
    """Saved run.

    Attributes:
        digest: Digest of the run.
        progress: State (`rounds.state.RunState`), history and records after the rounds so far.
    """

    digest: str
    progress: Progress


def has_checkpoint(folder: Path) -> bool:
    """Return whether the folder holds a checkpoint."""
    return (folder / FILE).is_file()


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint atomically: a crash leaves the old one or the new one."""
    folder.mkdir(exist_ok=True)
    write_atomically(folder / FILE, lambda path: torch.save(tuple(checkpoint), path))


def load_checkpoint(folder: Path, device: torch.device) -> Checkpoint | None:
    """Load the folder's checkpoint, None if there is none. It is a pickle: load trusted files only.

    Spilled states of clients stay mapped from the file while they are in use.

    Raises:
        ValueError: The file is damaged, or an incompatible version of the package has written it.
    """
    if not has_checkpoint(folder):
        return None
    path = folder / FILE
    try:
        saved = Checkpoint(*torch.load(path, map_location="cpu", mmap=True, weights_only=False))
    except UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read: it is damaged, or an incompatible version of fedlocal has"
            f" written it ({type(error).__name__}); run again in another folder"
        ) from error

    def placed(leaf: Any) -> Any:
        if isinstance(leaf, ClientTable):
            return leaf.to(device)
        # A copy, so that the tensor is not mapped from the file.
        return leaf.to(device, copy=True) if isinstance(leaf, Tensor) else leaf

    state = tree_map(placed, saved.progress.state)
    return saved._replace(progress=saved.progress._replace(state=state))
