"""Tracker for MLflow: one run per job, in one experiment; a sweep is a tag."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from tempfile import gettempdir
from typing import Any, ClassVar

from fedlocal.report.tracking.run_ids import load_run_id, save_run_id
from fedlocal.utils.flat_config import flatten

# MLflow's limits: values in a request, characters of a value.
AT_ONCE = 100
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
FILES = ("summary.json", "partition.npz", "model.safetensors")
# By default MLflow sends telemetry, logs on stderr, and waits minutes for a server that is down.
# Values that the user has set take precedence.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}


@dataclass
class MlflowTracker:
    """Tracker that sends parameters, metrics, the summary's other values, and files to MLflow.

    Attributes:
        experiment: Name of the experiment, which is created if there is none.
        uri: Address of a server or a store; None is MLFLOW_TRACKING_URI, and without it mlflow.db
            in the folder where the command was given.
        name: Name of the run; None takes the job's overrides but for those of tracking.
        artifacts: Whether to send the summary, the partition and the final model.
    """

    experiment: str = "fedlocal"
    uri: str | None = None
    name: str | None = None
    artifacts: bool = True
    title: ClassVar[str] = "MLflow"
    _client: Any = field(default=None, init=False)
    _id: str = field(default="", init=False)
    _folder: Path = field(default=Path(), init=False)
    _sent: int = field(default=0, init=False)

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        """Open a run, or the one that the folder's earlier process opened.

        Raises:
            RuntimeError: MLflow is not installed.
        """
        self._client, self._folder = _client(self.uri), folder
        known = load_run_id(folder, "mlflow") if resumed else None
        if known is None:
            self._id = self._open(config, self.name or name, group)
            save_run_id(folder, "mlflow", self._id)
        else:
            self._id = known
            self._client.update_run(known, status="RUNNING")
            # Rounds after the last checkpoint may be there already, and cannot be taken back.
            self._sent = int(self._client.get_run(known).data.metrics.get("round", 0))

    def log(self, row: dict[str, Any]) -> None:
        """Send one round; undefined quantities are left out."""
        from mlflow.entities import Metric

        if row["round"] <= self._sent:
            return
        now = int(time.time() * 1000)
        defined = [(key, float(value)) for key, value in row.items() if value is not None]
        metrics = [Metric(key, value, now, row["round"]) for key, value in defined]
        self._client.log_batch(self._id, metrics=metrics)

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Send summary and files and closes the run, as failed if it broke off."""
        if summary is not None:
            self._send(summary)
        self._client.set_terminated(self._id, "FAILED" if summary is None else "FINISHED")

    def _open(self, config: dict[str, Any], name: str, group: str | None) -> str:
        """Create the run, and the experiment if there is none; returns the run's id."""
        from mlflow.entities import Param

        place = _experiment(self._client, self.experiment)
        tags = {} if group is None else {"group": group}
        run_id = self._client.create_run(place, tags=tags, run_name=name).info.run_id
        for some in _portions(flatten(config), LONGEST_PARAM):
            self._client.log_batch(run_id, params=[Param(key, text) for key, text in some])
        return run_id

    def _send(self, summary: dict[str, Any]) -> None:
        """Send the summary's values that are no metrics as tags, and the files."""
        from mlflow.entities import RunTag

        metrics = self._client.get_run(self._id).data.metrics
        rest = {key: x for key, x in summary.items() if key not in {*metrics, "config"}}
        for some in _portions(rest, LONGEST_TAG):
            self._client.log_batch(self._id, tags=[RunTag(key, text) for key, text in some])
        for name in FILES if self.artifacts else ():
            self._client.log_artifact(self._id, str(self._folder / name))


def _experiment(client: Any, name: str) -> str:
    """Return the id of the experiment, which is created if there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    try:
        return client.create_experiment(name)
    except MlflowException:
        # Another job of the sweep may have created it meanwhile.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


def _portions(values: dict[str, Any], longest: int) -> Iterator[list[tuple[str, str]]]:
    """Yield the values as text within MLflow's limits."""
    texts = [(key, str(value)[:longest]) for key, value in values.items()]
    for at in range(0, len(texts), AT_ONCE):
        yield texts[at : at + AT_ONCE]


def _client(uri: str | None) -> Any:
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    try:
        from filelock import FileLock
        from mlflow import MlflowClient
    except ImportError as error:
        raise RuntimeError("not installed; pip install 'fedlocal[mlflow]'") from error
    # A new store is created in steps, which two jobs of a sweep must not take at once.
    with FileLock(Path(gettempdir()) / f"fedlocal-mlflow-{getuser()}.lock", timeout=120):
        return MlflowClient(uri)
