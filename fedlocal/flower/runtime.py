"""`runtime=flower`: the job on Flower's simulation engine, a few SuperNodes for all clients."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fedlocal.cli.run import CHECKPOINT
from fedlocal.config.build import Job
from fedlocal.flower.app_bundle import write_app
from fedlocal.flower.engine import Engine, run_app
from fedlocal.report.runs import read_rows
from fedlocal.report.tracking.stdout import ROUND
from fedlocal.rounds.metrics import Row
from fedlocal.rounds.runtime_interface import Runtime
from fedlocal.runtime import Vmapped

SERVER_APP = "fedlocal.flower.server_app:app"
CLIENT_APP = "fedlocal.flower.client_app:app"


@dataclass(frozen=True)
class FlowerEngine(Engine):
    """Execution of a job on Flower.

    A few SuperNodes with many clients each are faster than one SuperNode per client.

    Attributes:
        timeout_seconds: A node that does not answer within this time drops out of the round.
        patience_seconds: Wait for nodes at the start and, in methods that need every client, for
            one that dropped out.
        inner: Runtime of the clients of a node.
    """

    timeout_seconds: float = 600.0
    patience_seconds: float = 600.0
    inner: Runtime = field(default_factory=Vmapped)

    def run_job(
        self, job: Job, folder: Path, about: dict[str, Any], sweep: str | None
    ) -> list[Row]:
        """See `fedlocal.cli.run.run_job`; every process builds the job again.

        Raises:
            EngineError: The run failed; the message holds the end of its log.
        """
        config = {
            "overrides": shlex.join(about["overrides"]),
            "folder": str(folder.absolute()),
            "sweep": sweep or "",
            # Beside the server's state: both ends need it to resume after the engine was killed.
            "nodes": str(folder.absolute() / CHECKPOINT / "nodes"),
        }
        with TemporaryDirectory() as place:
            app = write_app(Path(place), "fedlocal", SERVER_APP, CLIENT_APP, config)
            run_app(app, self, _show)
        return read_rows(folder)


def _show(line: str) -> None:
    """Print the lines of Flower's log for the user: finished rounds, warnings and errors."""
    if line.startswith(ROUND) or "WARNING" in line or "ERROR" in line:
        print(line, flush=True)
