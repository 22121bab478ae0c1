"""Tracker for TensorBoard: event files in the run's folder."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from fedlocal.utils.flat_config import flatten

FOLDER = "tensorboard"


@dataclass
class TensorBoardTracker:
    """Tracker that writes metrics by round, and the configuration, to `tensorboard/`.

    TensorBoard keeps single precision; metrics.csv has all digits.
    """

    title: ClassVar[str] = "TensorBoard"
    _writer: Any = field(default=None, init=False)

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        """Open an event file, which hides the rounds to come in earlier files.

        Raises:
            RuntimeError: TensorBoard is not installed.
        """
        try:
            from tensorboard.plugins.hparams.summary_v2 import hparams_pb
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RuntimeError("not installed; pip install 'fedlocal[tensorboard]'") from error
        first = resumed + 1 if resumed else 0
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=first)
        if not resumed:
            self._writer.add_text("config", _as_code(config))
            self._writer.file_writer.add_summary(hparams_pb(_plain(config)))

    def log(self, row: dict[str, Any]) -> None:
        """Write one round; undefined quantities are left out."""
        for key, value in row.items():
            if key != "round" and value is not None:
                self._writer.add_scalar(key, value, row["round"])
        # A crash must not lose more rounds than metrics.csv does.
        self._writer.flush()

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Close the file."""
        self._writer.close()


def _as_code(config: dict[str, Any]) -> str:
    """Return the configuration indented, which Markdown shows verbatim."""
    lines = json.dumps(config, indent=2).splitlines()
    return "\n".join(f"    {line}" for line in lines)


def _plain(config: dict[str, Any]) -> dict[str, bool | int | float | str]:
    """Return the configuration in the types of the table of hyperparameters."""
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in flatten(config).items()
    }
