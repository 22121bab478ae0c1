import json
import sys
import warnings

import pytest

from fedlocal.report.tracking import MlflowTracker, TensorBoardTracker, TrackerGroup
from fedlocal.report.tracking.run_ids import delete_run_ids, load_run_id, save_run_id


class Service:
    """Notes what it is told; fails where it is asked to."""

    def __init__(self, title: str, fails: str = "", error: BaseException | None = None) -> None:
        self.title, self.fails, self.error, self.told = title, fails, error, []

    def _hear(self, what: str) -> None:
        self.told.append(what)
        if what == self.fails:
            raise self.error

    def start(self, folder, config, name, group, resumed):
        self._hear("start")

    def log(self, row):
        self._hear(f"log {row['round']}")

    def finish(self, summary):
        self._hear("finish")


def track(folder, *services: Service, resumed: int = 0) -> None:
    tracker = TrackerGroup(services)
    tracker.start(folder, {}, "a run", None, resumed)
    tracker.log({"round": resumed + 1})
    tracker.log({"round": resumed + 2})
    tracker.finish({})


@pytest.mark.parametrize("fails", ["start", "log 1", "log 2", "finish"])
def test_one_that_fails_is_off_with_one_warning_and_the_others_go_on(tmp_path, fails):
    broken = Service("This one", fails, OSError("\nthe disk is full\nand more"))
    services = Service("Before"), broken, Service("After")
    with pytest.warns(UserWarning) as caught:
        track(tmp_path, *services)
    assert [str(one.message) for one in caught] == [
        "This one is off for this run: the disk is full"
    ]
    everything = ["start", "log 1", "log 2", "finish"]
    assert services[0].told == services[2].told == everything
    assert broken.told == everything[: everything.index(fails) + 1]


def test_an_error_without_words_is_told_by_its_kind(tmp_path):
    with pytest.warns(UserWarning, match="^It is off for this run: AssertionError$"):
        track(tmp_path, Service("It", "start", AssertionError()))


def test_the_user_may_interrupt(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        track(tmp_path, Service("It", "start", KeyboardInterrupt()))


def test_no_service_is_fine(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        track(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_ids_are_kept_while_a_run_is_resumed_and_not_for_another(tmp_path):
    assert load_run_id(tmp_path, "wandb") is None
    save_run_id(tmp_path, "wandb", "a")
    save_run_id(tmp_path, "mlflow", "b")
    save_run_id(tmp_path, "wandb", "c")
    track(tmp_path, Service("It"), resumed=3)
    assert (load_run_id(tmp_path, "wandb"), load_run_id(tmp_path, "mlflow")) == ("c", "b")
    assert json.loads((tmp_path / "tracking.json").read_text()) == {"wandb": "c", "mlflow": "b"}
    track(tmp_path, Service("It"))
    assert load_run_id(tmp_path, "wandb") is None
    assert list(tmp_path.iterdir()) == []
    delete_run_ids(tmp_path)


@pytest.mark.parametrize(
    ("service", "module", "extra"),
    [
        (TensorBoardTracker, "tensorboard.plugins.hparams.summary_v2", "tensorboard"),
        (MlflowTracker, "mlflow", "mlflow"),
    ],
)
def test_what_is_not_installed_is_said_with_the_command(
    tmp_path, monkeypatch, service, module, extra
):
    for key in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL"):
        monkeypatch.setenv(key, "true")
    monkeypatch.setitem(sys.modules, module, None)
    told = f"{service.title} is off for this run: not installed; pip install 'fedlocal[{extra}]'"
    with pytest.warns(UserWarning) as caught:
        TrackerGroup([service()]).start(tmp_path, {}, "a run", None, 0)
    assert [str(one.message) for one in caught] == [told]
