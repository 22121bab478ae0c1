"""Runs and sweeps that are stopped and go on: the same to the bit as ones that never stopped."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import fedlocal.cli.run
import fedlocal.rounds.run_loop
from fedlocal.cli.provenance import load_origin, save_origin
from fedlocal.report.runs import read_rows
from fedlocal.rounds.checkpoint import FILE, load_checkpoint, save_checkpoint
from tests.choices import sample

QUICK = ("dataset=synthetic", "K=4", "H=2", "rounds=8", "batch_size=4", "checkpoint.every=3")
SEVERAL = [
    "strategy=vrl_sgd uplink=topk",
    "strategy=slowmo period=adacomm period.block=2 rate=cosine faults=dropout",
    "strategy=squarm_sgd strategy.graph=ring strategy.momentum=0.5",
    "strategy=async_local_sgd clock=pareto clock.spread=1",
    "strategy=double_compression uplink=qsgd deadline=late deadline.seconds=0.2 clock.spread=1",
    "strategy=local_sgd strategy.momentum=0.9 strategy.average_shift=3 diagnostics=true",
]


# The function itself, whatever takes its place.
ADVANCE = fedlocal.rounds.run_loop.advance_turns


class Killed(BaseException):
    """As SIGKILL: nobody is asked."""


@pytest.fixture
def dying(monkeypatch):
    """Lets a run die in the round after so many."""

    def at(rounds: int) -> None:
        def advancing(sim, state):
            if state.round_index == rounds:
                raise Killed
            return ADVANCE(sim, state)

        monkeypatch.setattr(fedlocal.rounds.run_loop, "advance_turns", advancing)

    return at


def results(folder: Path) -> tuple[dict, list[dict], dict]:
    """All that a run leaves but for the time that it took."""
    summary = json.loads((folder / "summary.json").read_text())
    rows = read_rows(folder)
    for one in (summary, *rows):
        del one["wall_seconds"]
    files = {name: (folder / name).read_bytes() for name in ("model.safetensors", "partition.npz")}
    return summary, rows, files


def test_spilled_and_killed_it_goes_on_to_the_same_bits(cli, here, dying):
    sampled = (*QUICK, "strategy=scaffold", "participation=0.5")
    assert cli(*sampled, "hydra.run.dir=whole").code == 0
    dying(5)
    with pytest.raises(Killed):
        cli(*sampled, "spill=clients", "hydra.run.dir=cut")
    dying(-1)
    # Where states are kept may change while a run goes on.
    assert cli("resume=cut", "spill=elsewhere").code == 0
    assert list((here / "clients").iterdir()) == list((here / "elsewhere").iterdir()) == []
    (summary, rows, files), (other, lines, bytes_) = results(here / "whole"), results(here / "cut")
    assert (rows, files) == (lines, bytes_)
    assert summary["params_sha256"] == other["params_sha256"]


@pytest.mark.parametrize("settings", SEVERAL)
def test_a_killed_run_goes_on_to_the_same_bits(cli, here, dying, settings):
    overrides = (*QUICK, *settings.split())
    assert cli(*overrides, "hydra.run.dir=whole").code == 0
    dying(5)
    with pytest.raises(Killed):
        cli(*overrides, "hydra.run.dir=cut")
    # Two rounds are gone with the process.
    assert len(read_rows(here / "cut")) == 5 and not (here / "cut/summary.json").exists()
    assert load_checkpoint(here / "cut/checkpoint", torch.device("cpu")).progress.state[0] == 3
    dying(-1)
    outcome = cli("resume=cut")
    assert (outcome.code, outcome.err) == (0, "")
    assert results(here / "cut") == results(here / "whole")
    assert not (here / "cut/checkpoint").exists()


DROPPING = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, input_shape, num_outputs):
        size = input_shape[0]
        body = nn.Linear(size, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3)
        super().__init__(*body, nn.Linear(6, num_outputs))
"""


@pytest.mark.parametrize("buffers", ["average", "personal"])
def test_dropout_and_running_statistics_go_on_to_the_same_bits(cli, here, dying, buffers):
    (here / "dropping.py").write_text(DROPPING)
    own = ("model=own", "model._target_=dropping.Net", f"model.buffers={buffers}")
    overrides = (*QUICK, *own, "model.personal=['4']")
    assert cli(*overrides, "hydra.run.dir=whole").code == 0
    dying(5)
    with pytest.raises(Killed):
        cli(*overrides, "hydra.run.dir=cut")
    dying(-1)
    assert cli("resume=cut").code == 0
    assert results(here / "cut") == results(here / "whole")


def test_one_that_was_killed_before_its_first_checkpoint_begins_again(cli, here, dying):
    assert cli(*QUICK, "hydra.run.dir=whole").code == 0
    dying(2)
    with pytest.raises(Killed):
        cli(*QUICK, "hydra.run.dir=cut")
    dying(-1)
    assert cli("resume=cut").code == 0
    assert results(here / "cut") == results(here / "whole")


def test_a_crash_while_saving_leaves_the_checkpoint_before(cli, here, dying, monkeypatch):
    assert cli(*QUICK, "hydra.run.dir=whole").code == 0
    save = torch.save

    def torn(content, path):
        if content[1].state.round_index == 6:
            path.write_bytes(b"half of it")
            raise Killed
        save(content, path)

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(Killed):
        cli(*QUICK, "hydra.run.dir=cut")
    monkeypatch.setattr(torch, "save", save)
    assert [path.name for path in (here / "cut/checkpoint").iterdir()] == ["state.pt"]
    assert load_checkpoint(here / "cut/checkpoint", torch.device("cpu")).progress.state[0] == 3
    assert cli("resume=cut").code == 0
    assert results(here / "cut") == results(here / "whole")


def test_a_finished_run_is_left_as_it_is(cli, here):
    assert cli(*QUICK, "hydra.run.dir=run").code == 0
    before = {path: path.stat().st_mtime_ns for path in (here / "run").iterdir() if path.is_file()}
    outcome = cli("resume=run")
    assert outcome.code == 0 and outcome.out.endswith("run (finished before)\n")
    # The same overrides in the same folder are the same run.
    assert cli(*QUICK, "hydra.run.dir=run").out.endswith("(finished before)\n")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_kept_checkpoint_older_than_the_end_changes_nothing(cli, here):
    given = (*QUICK, "checkpoint.keep=true", "hydra.run.dir=run")
    assert cli(*given).code == 0
    assert load_checkpoint(here / "run/checkpoint", torch.device("cpu")).progress.state[0] == 6
    before = {path: path.stat().st_mtime_ns for path in (here / "run").iterdir() if path.is_file()}
    assert cli(*given).out.endswith("(finished before)\n")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_signal_after_the_last_round_still_ends_the_sweep(cli, here, monkeypatch):
    def write(*given, _write=fedlocal.cli.run.write_outcome):
        os.kill(os.getpid(), signal.SIGINT)
        return _write(*given)

    monkeypatch.setattr(fedlocal.cli.run, "write_outcome", write)
    outcome = cli("-m", *QUICK, "seed=0,1", "hydra.sweep.dir=sweep")
    assert outcome.code == 130
    last = "fedlocal: interrupted after its last round; fedlocal resume=sweep goes on"
    assert outcome.err.splitlines()[-1] == last
    assert (here / "sweep/0/summary.json").exists() and not (here / "sweep/1").exists()


@pytest.mark.parametrize("longer", ["rounds=12", "steps=24"])
def test_a_run_whose_checkpoint_was_kept_can_be_made_longer(cli, here, longer):
    assert cli(*QUICK, "rounds=12", "hydra.run.dir=whole").code == 0
    assert cli(*QUICK, "checkpoint.keep=true", "checkpoint.every=4", "hydra.run.dir=run").code == 0
    assert cli("resume=run", longer).code == 0
    ours, theirs = results(here / "run"), results(here / "whole")
    assert ours[0]["params_sha256"] == theirs[0]["params_sha256"]
    assert ours[1:] == theirs[1:]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("resume=run", "lr=0.2"), "lr=0.2 would make another run of it (it has lr=0.1); besides"),
        (("resume=run", "-m"), "-m would make another run of it; besides resume= only rounds"),
        (("resume=run", "rounds=20"), "finished after 8 rounds, and no checkpoint to go on from"),
        (("resume=nowhere",), "there is no run and no sweep of fedlocal in this folder"),
        (
            (*QUICK, "K=3", "hydra.run.dir=run"),
            "another run: K: 4 -> 3; dataset.num_clients: 4 -> 3; give",
        ),
        (
            (*QUICK, "strategy=fedprox", "hydra.run.dir=run"),
            "strategy._target_: strategies.local_sgd -> strategies.fedprox; strategy.",
        ),
    ],
)
def test_another_run_is_refused_with_what_differs(cli, here, arguments, reason):
    assert cli(*QUICK, "hydra.run.dir=run").code == 0
    before = results(here / "run")
    outcome = cli(*arguments)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1) and reason in outcome.err
    assert results(here / "run") == before


def test_other_code_is_refused_unless_it_is_welcome(cli, here, dying):
    dying(5)
    with pytest.raises(Killed):
        cli(*QUICK, "hydra.run.dir=run")
    dying(-1)
    origin = load_origin(here / "run")
    old = origin.code | {"strategies/local_sgd.py": "0"}
    save_origin(here / "run", origin._replace(code=old, versions=origin.versions | {"torch": "1"}))
    outcome = cli("resume=run")
    assert outcome.code == 2 and "checkpoint.strict=false goes on all the same" in outcome.err
    assert "other code: code of strategies/local_sgd.py; torch 1 -> " in outcome.err
    with pytest.warns(UserWarning, match=r"goes on with other code: code of strategies/local_sgd"):
        assert cli("resume=run", "checkpoint.strict=false").code == 0
    assert len(read_rows(here / "run")) == 8


def test_a_file_that_has_changed_since_is_noticed(cli, here, dying, capsys):
    dying(5)
    with pytest.raises(Killed):
        cli(*QUICK, "hydra.run.dir=run")
    dying(-1)
    capsys.readouterr()
    place = here / "run/checkpoint"
    # As if a file that the configuration names made another model now.
    saved = load_checkpoint(place, torch.device("cpu"))
    save_checkpoint(place, saved._replace(digest="0"))
    assert "settings and code are the same, but not the model" in cli("resume=run").refused


@pytest.mark.parametrize("damage", ["cut", "renamed"])
def test_a_checkpoint_that_cannot_be_read_is_refused(cli, here, dying, capsys, monkeypatch, damage):
    dying(5)
    with pytest.raises(Killed):
        cli(*QUICK, "hydra.run.dir=run")
    dying(-1)
    capsys.readouterr()
    file = here / "run/checkpoint" / FILE
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-200])
    else:
        # The checkpoint names a class that no longer exists.
        torch.save(("0", Renamed()), file)
        monkeypatch.delitem(globals(), "Renamed")
    refused = cli("resume=run").refused
    assert "cannot be read" in refused and "run again in another folder" in refused


class Renamed:
    """Class that a checkpoint names and the present code lacks."""


BACKBONE = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, input_shape, num_outputs):
        body, head = nn.Linear(*input_shape, 6), nn.Linear(6, num_outputs)
        body.load_state_dict(torch.load("body.pt", weights_only=True))
        super().__init__(body, nn.Tanh(), head)
"""


def test_another_frozen_backbone_is_another_run(cli, here, dying, capsys):
    (here / "with_backbone.py").write_text(BACKBONE)
    body = nn.Linear(60, 6)
    torch.save(body.state_dict(), "body.pt")
    own = ("model=own", "model._target_=with_backbone.Net", "model.frozen=['0']")
    dying(5)
    with pytest.raises(Killed):
        cli(*QUICK, *own, "hydra.run.dir=run")
    dying(-1)
    capsys.readouterr()
    torch.save({name: tensor + 1 for name, tensor in body.state_dict().items()}, "body.pt")
    assert "settings and code are the same, but not the model" in cli("resume=run").refused
    torch.save(body.state_dict(), "body.pt")
    assert cli("resume=run").code == 0
    assert len(read_rows(here / "run")) == 8


@pytest.mark.parametrize("number", sample([signal.SIGTERM, signal.SIGINT], 2))
def test_a_signal_ends_the_round_and_leaves_a_checkpoint(start, cli, here, number):
    many = (*QUICK, "rounds=4000", "checkpoint.every=0")
    process = start(*many, "hydra.run.dir=cut")
    table = here / "cut/metrics.csv"
    while not table.exists() or len(table.read_text().splitlines()) < 5:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    first, last = err.splitlines()
    assert first == "fedlocal: the round is finished first; once more ends at once"
    done = len(read_rows(here / "cut"))
    folder = (here / "cut").resolve()
    assert last == (
        f"fedlocal: interrupted after round {done} of 4000; fedlocal resume={folder} goes on"
    )
    assert cli("resume=cut", f"rounds={done + 3}").code == 0
    assert cli(*many, f"rounds={done + 3}", "hydra.run.dir=whole").code == 0
    ours, theirs = results(here / "cut"), results(here / "whole")
    assert ours[0]["params_sha256"] == theirs[0]["params_sha256"]
    assert [row["local_loss"] for row in ours[1]] == [row["local_loss"] for row in theirs[1]]


SWEEP = ("-m", *QUICK, "strategy=local_sgd,vrl_sgd", "seed=0,1")


def test_a_killed_sweep_skips_what_is_finished_and_goes_on_with_the_rest(cli, here, dying):
    assert cli(*SWEEP, "hydra.sweep.dir=whole").code == 0
    calls = []

    def third(sim, state):
        calls.append(state.round_index)
        if len(calls) == 8 + 8 + 5:
            raise Killed
        return ADVANCE(sim, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fedlocal.rounds.run_loop, "advance_turns", third)
        with pytest.raises(Killed):
            cli(*SWEEP, "hydra.sweep.dir=cut")
        finished = [(here / f"cut/{job}/summary.json").exists() for job in range(4)]
        assert finished == [True, True, False, False]
        calls.clear()
        patch.setattr(fedlocal.rounds.run_loop, "advance_turns", lambda sim, state: (
            calls.append(state.round_index) or ADVANCE(sim, state)
        ))  # fmt: skip
        outcome = cli("resume=cut")
    assert (outcome.code, outcome.err) == (0, "")
    # The cut one from its checkpoint, the fourth from the beginning.
    assert calls == [3, 4, 5, 6, 7, *range(8)]
    assert outcome.out.count("(finished before)") == 2
    for job in map(str, range(4)):
        assert results(here / "cut" / job) == results(here / "whole" / job)
    tables = [
        [line.split(",")[:-1] for line in (here / name / "summary.csv").read_text().splitlines()]
        for name in ("cut", "whole")
    ]
    assert tables[0] == tables[1] and tables[0][0][-1] == "sim_seconds"


def test_a_sweep_is_not_made_another_one(cli, here):
    assert cli(*SWEEP[:-1], "hydra.sweep.dir=sweep").code == 0
    assert "seed=2 would make another run of it; besides" in cli("resume=sweep", "seed=2").err
    assert cli("resume=sweep").out.count("(finished before)") == 2


def test_relative_paths_are_those_of_the_first_start(cli, here, dying, monkeypatch):
    torch.save  # noqa: B018 - imported before the folder changes
    import numpy as np

    rng = np.random.default_rng(0)
    np.savez("data.npz", x_train=rng.standard_normal((40, 3)), y_train=np.arange(40) % 2)
    dying(5)
    overrides = [one for one in QUICK if not one.startswith("dataset")]
    with pytest.raises(Killed):
        cli("dataset=npz", "dataset.path=data.npz", *overrides, "hydra.run.dir=run")
    dying(-1)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert cli("resume=../run").code == 0
    assert (here / "run/summary.json").exists() and os.listdir(here / "elsewhere") == []


def test_a_checkpoint_is_one_file(cli, here, dying):
    dying(7)
    with pytest.raises(Killed):
        cli(*QUICK, "hydra.run.dir=run")
    assert os.listdir(here / "run/checkpoint") == [FILE]
