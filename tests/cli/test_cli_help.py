"""`fedlocal --help`: every group and option, and examples that work."""

import shlex

import pytest

from tests.strategies_in_conf import CONF, composed


@pytest.fixture
def told(cli) -> str:
    outcome = cli("--help")
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out


def test_every_group_with_every_option(told):
    groups = sorted(path for path in CONF.iterdir() if list(path.glob("*.yaml")))
    assert groups
    for group in groups:
        options = ", ".join(sorted(path.stem for path in group.glob("*.yaml")))
        assert f"\n{group.name}: {options}\n" in told


def test_its_examples_compose(told):
    lines = [line.strip() for line in told.partition("Examples:\n")[2].splitlines()]
    examples = [
        shlex.split(line.partition("   ")[0])[1:] for line in lines if line[:9] == "fedlocal "
    ]
    assert len(examples) >= 5
    for words in examples:
        overrides = [word.partition(",")[0] for word in words if "=" in word]
        assert composed(*overrides).strategy


def test_it_names_its_companions(told):
    assert "fedlocal-report " in told and "fedlocal-cite " in told and "-sc install=bash" in told
