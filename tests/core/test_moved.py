"""Former import paths still work, and say where the module is now."""

import subprocess
import sys
from importlib import import_module

import pytest
from hydra.utils import instantiate

from fedlocal.moved import MOVED


@pytest.mark.parametrize("former", MOVED)
def test_a_former_path_is_the_present_module(former, monkeypatch):
    monkeypatch.delitem(sys.modules, f"fedlocal.{former}", raising=False)
    with pytest.warns(FutureWarning) as said:
        module = import_module(f"fedlocal.{former}")
    line = f"fedlocal.{former} is now fedlocal.{MOVED[former]}; write that"
    assert [str(each.message) for each in said if each.category is FutureWarning] == [line]
    assert module is import_module(f"fedlocal.{MOVED[former]}")
    assert module.__name__ == module.__spec__.name == f"fedlocal.{MOVED[former]}"


def test_a_target_in_a_users_yaml(monkeypatch):
    import fedlocal.runtime
    from fedlocal.flower import FlowerEngine

    monkeypatch.delattr(fedlocal.runtime, "flower_settings", raising=False)
    monkeypatch.delitem(sys.modules, "fedlocal.runtime.flower_settings", raising=False)
    with pytest.warns(FutureWarning, match=r"is now fedlocal\.flower\.runtime; write that"):
        made = instantiate({"_target_": "fedlocal.runtime.flower_settings.FlowerEngine"})
    assert isinstance(made, FlowerEngine)


def test_other_names_are_as_unknown_as_before():
    for name in ("fedlocal.runtime.flower", "fedlocal.nod", "node"):
        with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}'"):
            import_module(name)


def test_the_package_itself_uses_no_former_path():
    code = "import fedlocal, fedlocal.config.build, fedlocal.flower.server_app, fedlocal.main"
    subprocess.run([sys.executable, "-W", "error::FutureWarning", "-c", code], check=True)
