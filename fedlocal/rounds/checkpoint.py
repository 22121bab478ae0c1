"""A run between two rounds, in a file: everything that the rest of it depends on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedlocal.rounds.client_table import ClientTable
from fedlocal.rounds.progress import Course
from fedlocal.utils.atomic import write_atomically
from fedlocal.vectors.trees import tree_map

FILE = "state.pt"


@dataclass(frozen=True)
class Checkpointing:
    """When a run saves itself.

    Attributes:
        every: Rounds between two checkpoints; 0 for none but the one when the run is interrupted.
        keep: Leave the last one in the folder of a finished run, so that it can go on for more
            rounds.
        strict: Refuse to go on with other code or other versions. False only warns.
    """

    every: int = 0
    keep: bool = False
    strict: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no number of rounds."""
        if self.every < 0:
            raise ValueError(f"checkpoint.every must be >= 0 rounds, got {self.every}")

    def due(self, round_index: int) -> bool:
        """Whether to save after so many rounds."""
        return self.every > 0 and round_index % self.every == 0


class Checkpoint(NamedTuple):
    """digest: Of the run. course: The rounds so far."""

    digest: str
    course: Course


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint in one step: a crash leaves the old one or the new one."""
    folder.mkdir(exist_ok=True)
    write_atomically(folder / FILE, lambda path: torch.save(tuple(checkpoint), path))


def load_checkpoint(folder: Path, device: torch.device) -> Checkpoint | None:
    """The folder's checkpoint, None if it has none. Load only what you trust: it is a pickle.

    Clients' states that had been spilled stay in the file, which lives on while they are in use.
    """
    path = folder / FILE
    if not path.exists():
        return None
    saved = Checkpoint(*torch.load(path, map_location="cpu", mmap=True, weights_only=False))

    def placed(leaf: Any) -> Any:
        if isinstance(leaf, ClientTable):
            return leaf.to(device)
        # A copy, which depends on no file.
        return leaf.to(device, copy=True) if isinstance(leaf, Tensor) else leaf

    state = tree_map(placed, saved.course.state)
    return saved._replace(course=saved.course._replace(state=state))
