"""Sweeps on the engines that Hydra has: local processes, Slurm (its local executor), Optuna.

The first two start processes that each import torch, which takes longer than all that they do; so
they are slow tests.
"""

import csv
import json
from pathlib import Path

import pytest

QUICK = ("dataset=quadratic", "K=2", "H=2", "rounds=3")


def losses(folder: Path) -> dict[str, str]:
    with (folder / "summary.csv").open(newline="") as file:
        return {row["run"]: row["train_loss"] for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
        ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"),
    ],
)
def test_jobs_in_other_processes_give_what_they_give_in_this_one(shell, here, launcher):
    sweep = ("-m", *QUICK, "lr=0.1,-1,0.05")
    assert shell(*sweep, "hydra.sweep.dir=here").code == 2
    outcome = shell(*sweep, *launcher, "hydra.sweep.dir=there")
    # A job that fails elsewhere is told of here as well.
    assert outcome.code == 2, outcome.err
    for name in ("here", "there"):
        (line,) = (here / name / "failed.txt").read_text().splitlines()
        assert line == "2 in 1: lr must be positive, got -1.0; for example lr=0.1"
    assert losses(here / "here") == losses(here / "there")
    assert set(losses(here / "there")) == {"0", "2"}
    # On the same engine again, with nothing left but the failed one.
    again = shell("resume=there")
    assert again.code == 2, again.err
    assert losses(here / "there") == losses(here / "here")


SEARCH = (
    "-m", "dataset=synthetic", *QUICK[1:], "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1",
    "hydra.sweeper.n_trials=5", "hydra.sweeper.sampler.seed=1", "goal.metric=test_loss",
    "lr=interval(0.001,0.5)", "H=choice(1,4)",
)  # fmt: skip


# The sweeper still takes the Optuna of the time before SQLAlchemy 2, which says so.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_search_finds_the_best_of_its_trials_and_goes_on_after_a_stop(cli, here):
    from omegaconf import OmegaConf

    assert cli(*SEARCH, "hydra.sweep.dir=search").code == 0
    found = OmegaConf.load(here / "search/optimization_results.yaml")
    by_job = {
        job: json.loads((here / f"search/{job}/summary.json").read_text()) for job in range(5)
    }
    best = min(by_job.values(), key=lambda summary: summary["test_loss"])
    assert found.best_value == best["test_loss"]
    assert found.best_params.lr == best["config"]["lr"]
    # As if the last two had never run: the others are not run again, and propose the same.
    for job in (3, 4):
        (here / f"search/{job}/summary.json").unlink()
    outcome = cli(*SEARCH, "hydra.sweep.dir=search")
    assert outcome.out.count("(finished before)") == 3
    assert OmegaConf.load(here / "search/optimization_results.yaml") == found
