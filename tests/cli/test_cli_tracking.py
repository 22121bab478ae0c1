import csv
import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedlocal.tracking import WandbTracker

QUICK = ("dataset=quadratic", "K=2", "H=2", "rounds=2", "tracking=wandb")
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


def records(folder: Path) -> list:
    """All that W&B wrote about the run in this folder, from its log in LevelDB's format.

    After 7 bytes come blocks of 32 KiB of checksum (4 bytes), length (2), kind (1) and data; only
    the kinds 1 (whole) and 4 (last part) end a record.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
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


def rounds_in(here: Path) -> int:
    (path,) = here.rglob("metrics.csv")
    with path.open(newline="") as file:
        return len(list(csv.DictReader(file)))


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
        written = records(folder)
        (run,) = [one.run for one in written if one.WhichOneof("record_type") == "run"]
        runs.append(run)
        config = values(run.config.update)
        assert (config["K"], config["seed"]) == ("2", folder.name)
        history = [values(one.history.item) for one in written if one.HasField("history")]
        assert [row["local_steps"] for row in history] == ["2", "4"]
        assert [row["_step"] for row in history] == ["1", "2"]
        # Not defined for this data set.
        assert "test_accuracy" not in history[0] and "train_loss" in history[0]
        summary: dict[str, str] = {}
        for one in written:
            if one.HasField("summary"):
                summary |= values(one.summary.update)
        assert len(summary["params_sha256"]) == 64 + len('""')
        assert any(one.HasField("exit") and one.exit.exit_code == 0 for one in written)
    assert len(runs) == 2 and len({run.run_id for run in runs}) == 2
    assert len({run.run_group for run in runs}) == 1 and runs[0].run_group
    assert ["seed=0" in run.display_name for run in runs] == [True, False]
    assert {(run.project, *run.tags) for run in runs} == {("fedlocal", "a")}
    # Nothing outside the run folders, and nobody left behind.
    written_at_home = {path.name for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert not [name for name in written_at_home if "font" not in name]
    assert processes_of(tmp_path / "home") == []


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
    monkeypatch.setattr("fedlocal.tracking.wandb.SECONDS_TO_CONNECT", 1)
    with pytest.warns(UserWarning) as caught:
        assert cli(*QUICK).code == 0
    (warning,) = caught
    assert str(warning.message).startswith("W&B is off for this run: ")
    assert rounds_in(here) == 2


@pytest.mark.parametrize("broken", ["log", "finish"])
def test_a_tracker_that_fails_never_stops_the_run(cli, here, monkeypatch, broken):
    def fail(*_, **__):
        raise OSError("the disk is full\nand more")

    run = SimpleNamespace(log=lambda *_, **__: None, finish=lambda **_: None, summary={})
    setattr(run, broken, fail)
    monkeypatch.setattr(WandbTracker, "_open", lambda self, *_: setattr(self, "_run", run))
    with pytest.warns(UserWarning) as caught:
        assert cli(*QUICK).code == 0
    (warning,) = caught
    assert str(warning.message) == "W&B is off for this run: the disk is full"
    assert rounds_in(here) == 2
    assert list(here.rglob("summary.json"))


def test_a_run_that_broke_off_is_closed_as_failed(cli, monkeypatch):
    def buggy(*_):
        raise RuntimeError("a bug")

    codes = []
    run = SimpleNamespace(finish=lambda exit_code: codes.append(exit_code))
    monkeypatch.setattr(WandbTracker, "_open", lambda self, *_: setattr(self, "_run", run))
    monkeypatch.setattr("fedlocal.course.advance", buggy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cli(*QUICK).code == 1
    assert codes == [1]
