"""The method that docs/extending.md adds: its three files, as they stand there, and run."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

import strategies
from tests.problems import RUNTIMES

GUIDE = Path(__file__).parents[1] / "docs" / "extending.md"
STRATEGY, CONF, TEST = re.findall(r"```(?:python|yaml)\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def loaded(name: str, path: Path, text: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def added(tmp_path, monkeypatch):
    """The strategy's file and yaml, where their kind is found."""
    monkeypatch.setitem(sys.modules, "strategies.cyclic_median", None)
    module = loaded("strategies.cyclic_median", tmp_path / "strategies/cyclic_median.py", STRATEGY)
    monkeypatch.setattr(strategies, "cyclic_median", module.cyclic_median, raising=False)
    (tmp_path / "conf/strategy").mkdir(parents=True)
    (tmp_path / "conf/strategy/cyclic_median.yaml").write_text(CONF)
    return tmp_path


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_its_test_passes(added, runtime):
    test = loaded("test_cyclic_median", added / "tests/test_cyclic_median.py", TEST)
    del sys.modules["test_cyclic_median"]
    test.test_clients_take_turns_and_the_median_counts(runtime)


def test_it_is_a_choice_on_the_command_line(added, monkeypatch, capsys):
    from fedlocal.cli.main import main

    GlobalHydra.instance().clear()
    monkeypatch.chdir(added)
    monkeypatch.setattr(
        sys, "argv",
        ["fedlocal", f"hydra.searchpath=[file://{added}/conf]", "strategy=cyclic_median", "K=10",
         "participation=0.3", "rounds=3", "device=cpu", "hydra.run.dir=run"],
    )  # fmt: skip
    main()
    assert "strategy=cyclic_median" in capsys.readouterr().out
    assert len((added / "run/metrics.csv").read_text().splitlines()) == 4


def test_it_refuses_what_it_breaks(added):
    from dataclasses import replace

    from strategies.vrl_sgd import vrl_sgd

    strategy = sys.modules["strategies.cyclic_median"].cyclic_median()
    with pytest.raises(ValueError, match=r"mixing=Median\(.*breaks that"):
        replace(vrl_sgd(), mixing=strategy.mixing)
