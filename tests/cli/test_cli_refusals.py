"""What the user can mend gets one line and exit code 2, and leaves no folder behind."""

import signal
from time import sleep

import numpy as np
import pytest

QUICK = ("dataset=quadratic", "rounds=2")

# Overrides, and what the line must say: what was given, what is allowed, the likely fix.
CASES = [
    ("partition=foo", "no partition=foo", "dirichlet, dirichlet_prior, iid"),
    ("partition=redundant partition@partition.base=foo", "no partition=foo", "iid"),
    ("dataset=foo", "no dataset=foo", "digits, "),
    ("model=foo uplink=topk", "no model=foo", "mlp"),
    ("foo=1", "no key foo", "the top level has K, H"),
    ("strategy.foo=1", "no key strategy.foo", "has lr, period"),
    ("partition=dirichlet partition.alfa=1", "no key partition.alfa (did you mean alpha?)"),
    ("+strategy.foo=1", "strategy has no setting foo", "lr, period"),
    ("+uplink.compressor.foo=1", "uplink.compressor has no setting foo", "none"),
    ("+strategy=vrl_sgd", "Multiple values for strategy. Write strategy=vrl_sgd"),
    ("K", "'K'", "key=value"),
    ("K=[1", "'K=[1'", "key=value"),
    ("=3", "override"),
    ("strategy=local_sgd,vrl_sgd", "Ambiguous", "--multirun"),
    ("strategy._target_=foo.bar", "foo.bar cannot be imported"),
    ("K=0", "K must be a whole number >= 1, got 0", "K=8"),
    ("K=abc", "got 'abc'", "K=8"),
    ("spill=1", "spill must be text", "got 1"),
    ("spill=DIR runtime=flower", "spill=DIR is for clients in this process", "leave spill=null"),
    ("H=0", "H must be a whole number >= 1, got 0"),
    ("H=1.5", "H must be a whole number >= 1, got 1.5"),
    ("H=abc", "H must be a whole number >= 1, got 'abc'"),
    ("rounds=0", "rounds must be a whole number >= 1, got 0"),
    ("steps=0", "steps must be a whole number >= 1, got 0"),
    ("steps=abc", "steps must be a whole number >= 1, got 'abc'"),
    ("lr=abc", "lr must be a number, got 'abc'"),
    ("strategy.lr=abc", "strategy.lr must be a number, got 'abc'"),
    ("strategy.buffers=foo", "keep, reset or average, got 'foo'"),
    ("participation=0", "participation must be in (0, 1], got 0"),
    ("participation=abc", "participation must be a number, got 'abc'"),
    ("seed=-1", "seed must be a whole number >= 0, got -1"),
    ("dtype=int8", "float32, float64, got 'int8'"),
    ("device=meta", "device must be auto, or cpu", "got 'meta'"),
    ("partition=dirichlet partition.alpha=0", "alpha must be positive", "got 0"),
    ("partition=dirichlet partition.alpha=-1", "alpha must be positive", "got -1"),
    ("partition=dirichlet partition.alpha=abc", "partition.alpha must be a number, got 'abc'"),
    ("partition=redundant partition.mu=1", "mu must be in [0, 1), got 1"),
    ("partition=redundant partition.mu=-0.1", "mu must be in [0, 1), got -0.1"),
    ("partition=similarity partition.similarity=2", "similarity must be", "got 2"),
    ("K=4 dataset.num_clients=3", "K must be at most", "4 clients for 3 ids"),
    ("uplink=topk uplink.compressor.ratio=0", "uplink.compressor: ratio must be in (0, 1], got 0"),
    ("uplink=topk uplink.compressor.ratio=1.5", "(0, 1], got 1.5"),
    ("downlink=qsgd downlink.compressor.levels=0", "downlink.compressor: levels", "got 0"),
    ("strategy=vrl_sgd faults=dropout", "takes part in every round"),
    ("strategy=vrl_sgd downlink=topk", "receives the anchor exactly", "downlink="),
    ("dataset=mnist dataset.root=/nonexistent", "/nonexistent/MNIST/raw", "dataset.download=true"),
    ("dataset=mnist", "dataset.root must be given"),
    ("dataset=libsvm dataset.path=/nonexistent", "no file /nonexistent"),
    ("model=lenet5 dataset=digits", "needs images", "model=mlp", "dataset.flat=false"),
    ("model=char_gru dataset=digits", "reads token indices", "digits has numbers", "model=mlp"),
    ("dataset=text", "dataset.path must be given"),
    ("dataset=text_csv dataset.path=/nonexistent", "no file /nonexistent"),
    ("dataset=heart_disease dataset.path=/nonexistent", "no file /nonexistent/processed.cleveland"),
    ("model=mlp model.hidden=[a]", "model.hidden must be a list, each a whole number, got ['a']"),
    ("tracking=wandb tracking.mode=foo", "online, offline or disabled, got 'foo'"),
    ("clock.bandwidth_bytes=0", "clock.bandwidth_bytes must be positive, got 0"),
    ("evaluate.every=abc", "evaluate.every must be a whole number, got 'abc'"),
]


@pytest.mark.parametrize("given, says", [(case[0], case[1:]) for case in CASES])
def test_refusal(cli, here, given, says):
    # What is given later goes before.
    line = cli(*QUICK, *given.split()).refused if given != "=3" else cli(given).refused
    assert line.startswith("fedlocal: ")
    for part in says:
        assert part in line
    assert list(here.iterdir()) == []


def archive(path, x, y):
    np.savez(path, x_train=x, y_train=y)


DAMAGED = {
    "label.svm": (lambda p: p.write_text("1 1:2\n-1 x:3\n"), "line 2", "'x:3'"),
    "text.npz": (lambda p: p.write_text("hello"), "text.npz"),
    "label.npz": (lambda p: archive(p, np.ones((9, 3)), np.arange(9) - 1), "-1 in row 0"),
    "nan.npz": (lambda p: archive(p, np.full((9, 3), np.nan), np.arange(9)), "NaN", "row 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_data(cli, here, tmp_path, name):
    write, *says = DAMAGED[name]
    write(tmp_path / name)
    kind = "npz" if name.endswith("npz") else "libsvm"
    line = cli(f"dataset={kind}", f"dataset.path={tmp_path / name}").refused
    for part in says:
        assert part in line
    assert list(here.iterdir()) == []


def test_the_real_command_refuses_alike(shell, here):
    line = shell("K=0").refused
    assert line == "fedlocal: K must be a whole number >= 1, got 0; for example K=8"
    assert list(here.iterdir()) == []


def test_a_folder_of_the_users_stays(cli, here):
    (here / "mine").mkdir()
    (here / "mine/notes").write_text("keep")
    assert cli("K=0", "hydra.run.dir=mine").code == 2
    assert cli("K=0", "hydra.run.dir=.").code == 2
    assert cli("K=0", "hydra.run.dir=mine/new/deep").code == 2
    assert [path.name for path in (here / "mine").iterdir() if path.name != ".hydra"] == ["notes"]


def test_a_bug_keeps_its_traceback(cli, here, monkeypatch):
    def buggy(*_):
        raise TypeError("not the user's doing")

    monkeypatch.setattr("fedlocal.rounds.run_loop.advance_turns", buggy)
    outcome = cli(*QUICK)
    assert outcome.code == 1
    assert "Traceback" in outcome.err and "buggy" in outcome.err
    assert "TypeError: not the user's doing" in outcome.err
    assert [path.name for path in here.iterdir()] == ["outputs"]


def test_an_interrupt_is_quiet(start, here):
    process = start("dataset=quadratic", "rounds=1000000", "evaluate.every=1000")
    while not any(path.stat().st_size for path in here.rglob("metrics.csv")):
        assert process.poll() is None
        sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    # One line that says what is trained.
    assert (process.returncode, len(out.splitlines())) == (130, 1)
    first, last = err.splitlines()
    assert first == "fedlocal: the round is finished first; once more ends at once"
    assert last.startswith("fedlocal: interrupted after round ")


def test_data_on_other_machines_are_not_trained_on_here(cli):
    given = ("dataset=on_nodes", "dataset.input_shape=[4]", "dataset.num_classes=3")
    assert cli(*given).refused == (
        "fedlocal: dataset=on_nodes needs SuperNodes that hold the data; start it with flwr run,"
        " as docs/deployment.md says"
    )
