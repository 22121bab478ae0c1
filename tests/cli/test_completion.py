"""Completion in bash, as Hydra installs it for the installed command."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.strategies_in_conf import NAMES


def complete(cli, line: str) -> list[str]:
    told = cli("-sc", "query=bash")
    assert (told.code, told.err) == (0, ""), line
    return told.out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fedlocal strategy=", {f"strategy={name}" for name in NAMES}),
        ("fedlocal strategy=vrl", {"strategy=vrl_sgd"}),
        ("fedlocal H=3 runtime=", {"runtime=flower", "runtime=loop", "runtime=vmapped"}),
        ("fedlocal -m partition=dirichlet clock.sp", {"clock.spread="}),
        ("fedlocal strategy=slowmo strategy.slow_m", {"strategy.slow_momentum="}),
        ("fedlocal nonsense=", set()),
    ],
)
def test_what_may_come_next(cli, monkeypatch, line, expected):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert set(complete(cli, line)) == expected


def test_bash_completes(here):
    # As in the guide, and then what bash does at a TAB.
    script = """
        eval "$(fedlocal -sc install=bash)"
        complete -p fedlocal
        COMP_LINE="fedlocal faults=d" COMP_POINT=17 COMP_CWORD=1
        COMP_WORDS=(fedlocal faults=d)
        hydra_bash_completion
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    told = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={"PATH": path, "HOME": str(here)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    first, *rest = told.stdout.splitlines()
    assert first.endswith("-F hydra_bash_completion fedlocal") and told.stderr == ""
    assert rest == ["faults=dead", "faults=dropout"]
    assert not list(here.iterdir())
