import os
from math import isnan
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from fedlocal.report.tracking import MlflowTracker
from fedlocal.report.tracking.mlflow import _experiment
from fedlocal.report.tracking.run_ids import load_run_id

# MLflow's store uses what SQLAlchemy is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CONFIG = {
    "K": 2,
    "partition": {"alpha": 0.1, "sizes": list(range(5000))},
    "many": {str(i): i for i in range(150)},
}


@pytest.fixture
def store(tmp_path, monkeypatch) -> str:
    """Where runs are kept, in a folder of the test's own."""
    for key in [key for key in os.environ if key.startswith("MLFLOW")]:
        monkeypatch.delenv(key)
    # The tracker sets what is not set; this has it put back.
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/runs.db"


def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("summary.json", "partition.npz", "model.safetensors", "metrics.csv"):
        (folder / name).write_text(name)
    return folder


def test_a_run_its_crash_and_what_follows(tmp_path, store):
    from mlflow import MlflowClient

    folder, client = run_folder(tmp_path), MlflowClient(store)

    def begin(resumed: int) -> MlflowTracker:
        tracker = MlflowTracker(uri=store, experiment="drift")
        tracker.start(folder, CONFIG, "a run", "a sweep", resumed)
        return tracker

    tracker = begin(0)
    for i in (1, 2, 3):
        tracker.log({"round": i, "train_loss": 1 / i, "test_loss": None})
    (run,) = client.search_runs([client.get_experiment_by_name("drift").experiment_id])
    assert (run.info.run_name, run.info.status) == ("a run", "RUNNING")
    assert run.data.tags["group"] == "a sweep"
    assert run.data.params["partition.alpha"] == "0.1"
    assert run.data.params["many.149"] == "149"
    # MLflow takes no more; summary.json has it all.
    assert run.data.params["partition.sizes"] == str(list(range(5000)))[:6000]
    # The process dies; the last checkpoint was taken after round 2.
    tracker = begin(2)
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    for i in (3, 4):
        tracker.log({"round": i, "train_loss": 1 / i, "test_loss": float("nan")})
    tracker.finish({"train_loss": 0.25, "params_sha256": "ab", "versions": {"x": 1}, "config": 1})
    run_id = run.info.run_id
    losses = [(m.step, m.value) for m in client.get_metric_history(run_id, "train_loss")]
    assert losses == [(1, 1.0), (2, 1 / 2), (3, 1 / 3), (4, 1 / 4)]
    ((step, diverged),) = [
        (m.step, m.value) for m in client.get_metric_history(run_id, "test_loss")
    ]
    assert step == 4 and isnan(diverged)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert {"params_sha256": "ab", "versions": "{'x': 1}"}.items() <= run.data.tags.items()
    assert not {"train_loss", "config"} & set(run.data.tags)
    files = {file.path for file in client.list_artifacts(run_id)}
    assert files == {"summary.json", "partition.npz", "model.safetensors"}
    # A new run in the same folder is another one; here it breaks off.
    begin(0).finish(None)
    other = load_run_id(folder, "mlflow")
    assert other not in (None, run_id)
    assert client.get_run(other).info.status == "FAILED"
    assert client.list_artifacts(other) == []


def test_two_jobs_that_make_the_experiment_at_once(store):
    from mlflow.exceptions import MlflowException

    class Raced:
        known: ClassVar[list] = [None, SimpleNamespace(experiment_id="7")]

        def get_experiment_by_name(self, name):
            return self.known.pop(0) if self.known else None

        def create_experiment(self, name):
            raise MlflowException("it is there already")

    raced = Raced()
    assert _experiment(raced, "drift") == "7"
    with pytest.raises(MlflowException, match="there already"):
        _experiment(raced, "drift")


def test_a_server_that_is_not_there(tmp_path, store):
    with pytest.raises(Exception, match="refused"):
        MlflowTracker(uri="http://127.0.0.1:9").start(tmp_path, {}, "a run", None, 0)
    assert load_run_id(tmp_path, "mlflow") is None
