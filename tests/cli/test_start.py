"""What a command imports before it has work to do: nobody waits for torch to read a help."""

import sys
from pathlib import Path

import pytest

from tests.report.folders import run_folder

HEAVY = {
    "torch",
    "torchvision",
    "flwr",
    "ray",
    "wandb",
    "mlflow",
    "sklearn",
    "matplotlib",
    "pandas",
}
# numpy and rich are light beside these, yet no help needs them.
LIGHT = {"numpy", "rich"}
ENTRY = """
import atexit, sys
from importlib import import_module
names = lambda: {name.partition(".")[0] for name in sys.modules}
atexit.register(lambda: print("imported:", *names(), file=sys.stderr))
module = import_module(sys.argv[1])
del sys.argv[0]
getattr(module, "main", lambda: None)()
"""


@pytest.fixture
def imported(shell):
    """Names of the packages that a command has imported by its end, and its exit code."""

    def after(*command: str, **env: str) -> tuple[set[str], int]:
        outcome = shell("-c", ENTRY, *command, command=Path(sys.executable).name, **env)
        assert outcome.err.splitlines()[-1].startswith("imported: "), outcome
        return set(outcome.err.splitlines()[-1].split()[1:]), outcome.code

    return after


def test_the_package_alone(imported):
    names, _ = imported("fedlocal")
    assert "fedlocal" in names and not names & (HEAVY | LIGHT | {"hydra", "strategies"})


@pytest.mark.parametrize(
    "command",
    [
        ("fedlocal.cli.main", "--help"),
        ("fedlocal.cli.main", "--cfg", "job"),
        ("fedlocal.cli.main", "--cfg", "job", "--resolve", "strategy=adacomm", "H=3"),
        ("fedlocal.report.command", "--help"),
        ("fedlocal.cli.cite", "--help"),
        ("fedlocal.cli.cite", "vrl_sgd"),
        ("fedlocal.flower.deploy.command", "--help"),
    ],
    ids=" ".join,
)
def test_what_only_tells_something(imported, command):
    names, code = imported(*command)
    assert code == 0
    assert not names & (HEAVY | LIGHT)


def test_completion(imported):
    line = "fedlocal strategy=vrl"
    names, code = imported(
        "fedlocal.cli.main", "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line))
    )
    assert code == 0
    assert not names & (HEAVY | LIGHT)


@pytest.mark.parametrize("wrong", ["nonsense=1", "strategy=fedlocal", "K=["])
def test_refusal_of_what_hydra_cannot_compose(imported, wrong):
    names, code = imported("fedlocal.cli.main", wrong)
    assert code == 2
    assert not names & (HEAVY | LIGHT)


def test_report_draws_without_torch(imported, here):
    run_folder(here / "run")
    names, code = imported("fedlocal.report.command", "run")
    assert code == 0
    assert "matplotlib" in names and not names & {"torch", "flwr", "wandb", "sklearn"}


def test_a_run_draws_its_curves_without_pandas(imported):
    names, code = imported("fedlocal.cli.main", "dataset=quadratic", "rounds=2")
    assert code == 0
    assert "matplotlib" in names and "pandas" not in names
