"""Former import paths still work, and say where the module is now."""

import subprocess
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec

import pytest
from hydra.utils import instantiate

import fedlocal
from fedlocal.utils.moved import MOVED


@pytest.mark.parametrize("former", MOVED)
def test_a_former_path_is_the_present_module(former, monkeypatch):
    monkeypatch.delitem(sys.modules, f"fedlocal.{former}", raising=False)
    with pytest.warns(FutureWarning) as said:
        module = import_module(f"fedlocal.{former}")
    line = f"fedlocal.{former} is now fedlocal.{MOVED[former]}; import that"
    assert [str(each.message) for each in said if each.category is FutureWarning][-1] == line
    assert module is import_module(f"fedlocal.{MOVED[former]}")
    assert module.__name__ == module.__spec__.name == f"fedlocal.{MOVED[former]}"


def test_a_module_of_a_former_package_is_loaded_once():
    with pytest.warns(FutureWarning):
        from fedlocal.compress.sparse import TopK  # pyright: ignore[reportMissingImports]
    from fedlocal.slots.compress import TopK as present

    assert TopK is present


def test_no_former_path_hides_a_present_module():
    for former in MOVED:
        parent, _, name = f"fedlocal.{former}".rpartition(".")
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            module, package = import_module(f"{parent}.{name}"), import_module(parent)
        present = find_spec(f"{package.__name__}.{name}")
        assert present is None or present.name == module.__name__, former


def test_the_function_is_no_module():
    with pytest.raises(ModuleNotFoundError, match="write `from fedlocal import simulate, Result`"):
        import_module("fedlocal.simulate")
    assert callable(fedlocal.simulate)


def test_a_target_in_a_users_yaml(monkeypatch):
    import fedlocal.runtime
    from fedlocal.flower import FlowerEngine

    monkeypatch.delattr(fedlocal.runtime, "flower_settings", raising=False)
    monkeypatch.delitem(sys.modules, "fedlocal.runtime.flower_settings", raising=False)
    with pytest.warns(FutureWarning, match=r"is now fedlocal\.flower\.runtime; import that"):
        made = instantiate({"_target_": "fedlocal.runtime.flower_settings.FlowerEngine"})
    assert isinstance(made, FlowerEngine)


def test_other_names_are_as_unknown_as_before():
    for name in ("fedlocal.runtime.flower", "fedlocal.nod", "node"):
        with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}'"):
            import_module(name)


def test_the_package_itself_uses_no_former_path():
    code = "import fedlocal.config.build, fedlocal.flower.server_app, fedlocal.cli.main\n"
    # Names that are loaded at their first use.
    for package in ("", ".flower", ".runtime", ".slots"):
        code += f"from fedlocal{package} import *\n"
    subprocess.run([sys.executable, "-W", "error::FutureWarning", "-c", code], check=True)
