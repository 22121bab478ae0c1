"""A run between two rounds, in a file: everything that the rest of it depends on."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from fedlocal.course import Course
from fedlocal.origin import Origin, other_code, other_settings
from fedlocal.refusal import ConfigError

FILE = "state.pt"
# Differences that a refusal names.
SHOWN = 8


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
    draft = folder / f"{FILE}.{os.getpid()}"
    with draft.open("wb") as file:
        torch.save(tuple(checkpoint), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / FILE)


def load_checkpoint(folder: Path, device: torch.device) -> Checkpoint | None:
    """The folder's checkpoint, None if it has none. Load only what you trust: it is a pickle."""
    path = folder / FILE
    if not path.exists():
        return None
    return Checkpoint(*torch.load(path, map_location=device, weights_only=False))


def check_same(folder: Path, before: Origin, now: Origin, strict: bool) -> None:
    """Refuse to go on with another run than the one that the folder holds.

    Args:
        folder: Of the run.
        before: What the run in it was made from.
        now: What the one to go on would be made from.
        strict: Refuse other code as well, instead of a warning.

    Raises:
        ConfigError: They differ; shows in what.
    """
    settings, code = other_settings(before, now), other_code(before, now)
    if settings:
        raise ConfigError(
            f"{folder} holds another run: {_listed(settings)}; give the same settings, or another"
            " folder"
        )
    if code and strict:
        raise ConfigError(
            f"{folder} holds a run of other code: {_listed(code)}; checkpoint.strict=false goes on"
            " all the same"
        )
    if code:
        warnings.warn(f"{folder} goes on with other code: {_listed(code)}", stacklevel=2)


def _listed(lines: list[str]) -> str:
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "; ".join(lines[:SHOWN] + more)
