import csv
import json
import os
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

import fedlocal.rounds.run_loop
from fedlocal.report.tracking import WandbTracker

SMALL = ("dataset=quadratic", "K=2", "H=2", "rounds=2")
QUICK = (*SMALL, "tracking=wandb")
DOCS = Path(__file__).parents[2] / "docs/tracking.md"
# The real W&B; what its own imports warn about is not ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home without a key, and no W&B process after the test."""
    for key in [key for key in os.environ if key.startswith("WANDB")]:
        monkeypatch.delenv(key)
    # The tracker sets it; this has it put back.
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "here/cache"))
    place = tmp_path / "home"
    place.mkdir(exist_ok=True)
    for key in ("HOME", "WANDB_CONFIG_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(key, str(place))
    monkeypatch.setenv("NETRC", str(place / "netrc"))
    yield place
    import wandb

    wandb.teardown()


def written_in(folder: Path) -> list[list]:
    """All that W&B wrote for each process that ran in this folder, the first one first."""
    import wandb

    # Its background process is still writing when a run is finished.
    wandb.teardown()
    written = [records(path) for path in folder.glob("wandb/offline-run-*/*.wandb")]
    return sorted(written, key=lambda one: run_in(one).start_time.ToNanoseconds())


def records(path: Path) -> list:
    """What is in a log of W&B's, which is in LevelDB's format.

    After 7 bytes come blocks of 32 KiB of checksum (4 bytes), length (2), kind (1) and data; only
    the kinds 1 (whole) and 4 (last part) end a record.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole, found = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        end = at + 7 + int.from_bytes(data[at + 4 : at + 6], "little")
        whole += data[at + 7 : end]
        if data[at + 6] in (1, 4):
            found.append(Record.FromString(whole))
            whole = b""
        at = end
    return found


def values(items) -> dict[str, str]:
    """Key to JSON text; W&B writes a key either as one or as parts."""
    return {item.key or ".".join(item.nested_key): item.value_json for item in items}


def run_in(written: list):
    (run,) = [one.run for one in written if one.WhichOneof("record_type") == "run"]
    return run


def history_in(written: list) -> list[dict[str, str]]:
    return [values(one.history.item) for one in written if one.HasField("history")]


def metrics_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def rounds_in(here: Path) -> int:
    (path,) = here.rglob("metrics.csv")
    return len(metrics_in(path.parent))


def processes_of(home: Path) -> list[str]:
    """Command lines of the processes that were started with this home."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"HOME={home}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_offline_sweep(shell, here, tmp_path):
    outcome = shell(*QUICK, "-m", "seed=0,1", "tracking.mode=offline", "tracking.tags=[a]")
    assert (outcome.code, outcome.err) == (0, "")
    runs = []
    for folder in sorted(path.parent for path in here.rglob("metrics.csv")):
        (written,) = written_in(folder)
        runs.append(run_in(written))
        config = values(runs[-1].config.update)
        assert (config["K"], config["seed"]) == ("2", folder.name)
        # A plain name to group by, beside the settings.
        assert json.loads(config["strategy"])["name"] == "local_sgd"
        assert "tracking" not in runs[-1].display_name
        history = history_in(written)
        assert [row["local_steps"] for row in history] == ["2", "4"]
        assert [row["_step"] for row in history] == ["1", "2"]
        # Not defined for this data set.
        assert "test_accuracy" not in history[0] and "train_loss" in history[0]
        summary: dict[str, str] = {}
        for one in written:
            if one.HasField("summary"):
                summary |= values(one.summary.update)
        assert len(summary["params_sha256"]) == 64 + len('""')
        sent = [one.artifact for one in written if one.HasField("artifact")]
        files = {one.type: (one.name, one.manifest.contents[0].local_path) for one in sent}
        assert files == {
            "partition": (f"partition-{runs[-1].run_id}", str(folder / "partition.npz")),
            "model": (f"model-{runs[-1].run_id}", str(folder / "model.safetensors")),
        }
        assert any(one.HasField("exit") and one.exit.exit_code == 0 for one in written)
    assert len(runs) == 2 and len({run.run_id for run in runs}) == 2
    assert len({run.run_group for run in runs}) == 1 and runs[0].run_group
    assert ["seed=0" in run.display_name for run in runs] == [True, False]
    assert {(run.project, *run.tags) for run in runs} == {("fedlocal", "a")}
    # Nothing outside the run folders, and nobody left behind.
    written_at_home = {path.name for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert not [name for name in written_at_home if "font" not in name]
    assert processes_of(tmp_path / "home") == []


def test_several_in_a_sweep_each_on_its_own(cli, here, home, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr("fedlocal.report.tracking.mlflow._client", failing("no store"))
    chosen = ("tracking=several", "tracking.use=[mlflow,wandb,tensorboard]")
    with pytest.warns(UserWarning) as caught:
        settings = ("tracking.wandb.mode=offline", "tracking.wandb.artifacts=false")
        assert cli(*SMALL, "-m", "seed=3,4", *chosen, *settings).code == 0
    assert {str(one.message) for one in caught} == {"MLflow is off for this run: no store"}
    for folder in [path.parent for path in here.rglob("metrics.csv")]:
        told = metrics_in(folder)
        (written,) = written_in(folder)
        assert [float(row["train_loss"]) for row in history_in(written)] == [
            float(row["train_loss"]) for row in told
        ]
        assert not any(one.HasField("artifact") for one in written)
        events = EventAccumulator(str(folder / "tensorboard")).Reload()
        defined = {key for key in told[0] if key != "round" and any(row[key] for row in told)}
        assert set(events.Tags()["scalars"]) == defined
        for key in defined:
            expected = [(int(r["round"]), np.float32(r[key])) for r in told if r[key]]
            assert [(event.step, event.value) for event in events.Scalars(key)] == expected


def test_a_run_of_an_agent_has_the_id_that_the_agent_gives(cli, here, home, monkeypatch):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load(re.search(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)[1])
    given = {"H": 2, "partition.alpha": 0.5, "lr": 1.5e-05, "K": 2, "rounds": 1}
    assert set(sweep["parameters"]) <= set(given)
    # As the agent makes it, which itself would ask a server for the values.
    made = create_sweep_command_args({"args": {k: {"value": v} for k, v in given.items()}})
    made["program"] = [sweep["program"]]
    words = []
    for word in create_sweep_command(list(sweep["command"])):
        words += made[word[2:-1]] if word.startswith("${") else [word]
    assert words[0] == "fedlocal" and "lr=1.5e-05" in words
    monkeypatch.setenv("WANDB_RUN_ID", "given123")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    assert cli(*words[1:], "tracking.mode=offline").code == 0
    (path,) = here.rglob("metrics.csv")
    (written,) = written_in(path.parent)
    run = run_in(written)
    assert (run.run_id, run.sweep_id) == ("given123", "sweep123")
    assert sweep["metric"]["name"] in history_in(written)[0]


def test_a_run_that_was_cut_goes_on_in_its_own(cli, here, home, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def dying(sim, state, _advance=fedlocal.rounds.run_loop.advance_turns):
        if state.round_index == 5:
            raise RuntimeError("cut")
        return _advance(sim, state)

    chosen = ("tracking=several", "tracking.wandb.mode=offline", "checkpoint.every=3", "rounds=7")
    with monkeypatch.context() as patch:
        patch.setattr("fedlocal.rounds.run_loop.advance_turns", dying)
        assert cli(*SMALL, *chosen, "hydra.run.dir=cut").code == 1
    assert cli("resume=cut").code == 0
    first, second = written_in(here / "cut")
    assert run_in(first).run_id == run_in(second).run_id
    assert [row["round"] for row in history_in(first)] == ["1", "2", "3", "4", "5"]
    assert [row["round"] for row in history_in(second)] == ["4", "5", "6", "7"]
    events = EventAccumulator(str(here / "cut/tensorboard")).Reload()
    drawn = [(event.step, event.value) for event in events.Scalars("train_loss")]
    told = metrics_in(here / "cut")
    assert drawn == [(int(row["round"]), np.float32(row["train_loss"])) for row in told]
    assert len(drawn) == 7


def test_a_resumed_run_is_the_same_and_a_new_one_is_not(here, home):
    def process(*rounds: int, resumed: int) -> None:
        tracker = WandbTracker(mode="offline")
        tracker.start(here, {"K": 2}, "a run", None, resumed)
        for index in rounds:
            tracker.log({"round": index, "train_loss": 1 / index})
        tracker.finish(None)

    process(1, 2, 3, resumed=0)
    process(3, 4, resumed=2)
    process(1, resumed=0)
    first, second, other = written_in(here)
    assert run_in(first).run_id == run_in(second).run_id != run_in(other).run_id
    # What `wandb sync` appends, and what it begins.
    assert [run_in(one).resume for one in (first, second, other)] == [False, True, False]
    assert [row["round"] for row in history_in(second)] == ["3", "4"]
    # On the way to the server W&B counts the steps of a resumed run anew.
    metrics = {one.metric.glob_name: one.metric.step_metric for one in second if one.metric}
    assert metrics["*"] == "round"


def test_disabled(cli, here, home):
    assert cli(*QUICK, "tracking.mode=disabled").code == 0
    assert rounds_in(here) == 2
    assert not list(here.rglob("*.wandb"))


def test_without_a_key_it_warns_once_and_goes_on(cli, here, home):
    with pytest.warns(UserWarning) as caught:
        assert cli(*QUICK).code == 0
    (warning,) = caught
    assert "W&B is off for this run: no API key; run `wandb login`" in str(warning.message)
    assert rounds_in(here) == 2


def test_without_a_network_it_warns_once_and_goes_on(cli, here, home, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("fedlocal.report.tracking.wandb.SECONDS_TO_CONNECT", 1)
    with pytest.warns(UserWarning) as caught:
        assert cli(*QUICK).code == 0
    (warning,) = caught
    assert str(warning.message).startswith("W&B is off for this run: ")
    assert rounds_in(here) == 2


def failing(words: str):
    def fail(*_, **__):
        raise OSError(words)

    return fail


def in_place_of_wandb(monkeypatch, run: SimpleNamespace) -> None:
    monkeypatch.setattr(WandbTracker, "start", lambda self, *_: setattr(self, "_run", run))


@pytest.mark.parametrize("broken", ["log", "finish"])
def test_a_tracker_that_fails_never_stops_the_run(cli, here, monkeypatch, broken):
    run = SimpleNamespace(log=lambda *_, **__: None, finish=lambda **_: None, summary={})
    setattr(run, broken, failing("the disk is full\nand more"))
    in_place_of_wandb(monkeypatch, run)
    with pytest.warns(UserWarning) as caught:
        assert cli(*QUICK, "tracking.artifacts=false").code == 0
    (warning,) = caught
    assert str(warning.message) == "W&B is off for this run: the disk is full"
    assert rounds_in(here) == 2
    assert list(here.rglob("summary.json"))


def test_a_run_that_broke_off_is_closed_as_failed(cli, monkeypatch):
    def buggy(*_):
        raise RuntimeError("a bug")

    codes = []
    in_place_of_wandb(
        monkeypatch, SimpleNamespace(finish=lambda exit_code: codes.append(exit_code))
    )
    monkeypatch.setattr("fedlocal.rounds.run_loop.advance_turns", buggy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cli(*QUICK).code == 1
    assert codes == [1]
