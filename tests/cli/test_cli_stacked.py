"""`hydra/launcher=stacked`: every job leaves what it leaves alone."""

import csv
import json

from safetensors.torch import load_file

SWEEP = (
    "-m", "dataset=quadratic", "K=3", "H=2", "rounds=3", "dtype=float64", "strategy=fedprox",
    "lr=0.01", "strategy.mu=0.1,0.5", "seed=0,1",
)  # fmt: skip
STACKED = "hydra/launcher=stacked"


def left(folder):
    """What a job left, but for what times and says how it was run."""
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("wall_seconds", "executor"):
        del summary[key]
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row | {"wall_seconds": ""} for row in csv.DictReader(file)]
    return summary, rows, load_file(folder / "model.safetensors")


def test_jobs_leave_what_they_leave_alone(cli, here):
    assert cli(*SWEEP, "hydra.sweep.dir=alone").code == 0
    outcome = cli(*SWEEP, "hydra.sweep.dir=stack", STACKED)
    assert outcome.code == 0, outcome.err
    assert len(outcome.out.splitlines()) >= 4
    for job in range(4):
        (one, rows, model), (other, others, same) = (
            left(here / sweep / str(job)) for sweep in ("alone", "stack")
        )
        assert one == other and rows == others
        assert all((model[key] == same[key]).all() for key in model)
        assert (here / "stack" / str(job) / ".hydra" / "overrides.yaml").exists()
    told = json.loads((here / "stack" / "0" / "summary.json").read_text())["executor"]
    assert told.startswith("stacked with other jobs")
    assert (here / "stack" / "summary.csv").exists()


def test_a_job_that_is_refused_leaves_the_others(cli, here):
    outcome = cli(*SWEEP[:-3], "lr=0.01,-1", "hydra.sweep.dir=stack", STACKED)
    assert outcome.code == 2
    assert [path.parent.name for path in here.rglob("summary.json")] == ["0"]


def test_few_at_once(cli, here):
    one_by_two = (STACKED, "hydra.launcher.jobs_at_once=2", "hydra.sweep.dir=few")
    assert cli(*SWEEP, *one_by_two).code == 0
    assert len(list((here / "few").rglob("summary.json"))) == 4
    refused = cli(*SWEEP, STACKED, "hydra.launcher.jobs_at_once=0", "hydra.sweep.dir=none")
    assert "jobs_at_once must be >= 1, got 0" in refused.err


def test_a_finished_sweep_is_left_as_it_is(cli):
    assert cli(*SWEEP, "hydra.sweep.dir=twice", STACKED).code == 0
    again = cli(*SWEEP, "hydra.sweep.dir=twice", STACKED)
    assert again.code == 0 and again.out.count("(finished before)") == 4
