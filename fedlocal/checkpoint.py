"""A run between two rounds, in a file: everything that the rest of it depends on."""

import os
from pathlib import Path
from typing import NamedTuple

import torch

from fedlocal.ledger import RoundRecord
from fedlocal.rounds.barrier import Row
from fedlocal.simulation import RunState

FILE = "state.pt"


class Checkpoint(NamedTuple):
    """digest: Of the run. state: Where it stands. history, records: Of the rounds so far."""

    digest: str
    state: RunState
    history: list[Row]
    records: list[RoundRecord]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint in one step: a crash leaves the old one or the new one."""
    folder.mkdir(exist_ok=True)
    draft = folder / f"{FILE}.{os.getpid()}"
    with draft.open("wb") as file:
        torch.save(tuple(checkpoint), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / FILE)


def load_checkpoint(folder: Path, digest: str) -> Checkpoint | None:
    """The folder's checkpoint, None if it has none. Load only what you trust: it is a pickle.

    Raises:
        ValueError: It is another run's.
    """
    path = folder / FILE
    if not path.exists():
        return None
    checkpoint = Checkpoint(*torch.load(path, weights_only=False))
    if checkpoint.digest != digest:
        raise ValueError(
            f"{path} belongs to another run (digest {checkpoint.digest[:12]}, here {digest[:12]});"
            " give the same overrides, or another folder"
        )
    return checkpoint
