import math
import sys
import tomllib

import numpy as np
import pytest
import tomli_w
from flwr.common.config import get_fused_config_from_dir, validate_config
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.flower.app_bundle import MARK, announce_end, plain_config, write_app

NASTY = [
    'say "yes"',
    "it's",
    "a=b, c = d",
    "C:\\new\\table",
    "two\nlines\r\nand\ttabs",
    "\x00\x1b[31m\x7f",
    "naïve Σ 模型 🌸",
    "'''\"\"\"",
    "# no comment",
    "",
]
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.sampled_from(NASTY),
)


def config_of(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["tool"]["flwr"]["app"]


@given(st.dictionaries(st.one_of(st.text(), st.sampled_from(NASTY)), VALUES))
def test_every_flat_value_survives(values):
    back = tomllib.loads(tomli_w.dumps(plain_config(values)))
    assert back == values
    assert [type(value) for value in back.values()] == [type(value) for value in values.values()]


def test_not_a_number_and_subclasses_of_plain_types():
    values = {"nan": math.nan, "flag": True, "half": np.float64(0.5), "word": np.str_("x")}
    back = tomllib.loads(tomli_w.dumps(plain_config(values)))
    assert math.isnan(back.pop("nan"))
    assert back == {"flag": True, "half": 0.5, "word": "x"}


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, "got key=None; write anything else as a string"),
        ([1, 2], r"got key=\[1, 2\]"),
        (2**63, "ints of 64 bits, got key=9223372036854775808"),
        (np.int64(3), "got key=np.int64"),
        ("half \ud83d", "is no valid Unicode: surrogates not allowed"),
    ],
)
def test_what_flower_cannot_carry_is_refused(value, hint):
    with pytest.raises(ValueError, match=hint):
        plain_config({"key": value})


def test_flower_reads_the_app_as_it_was_meant(tmp_path):
    config = {"seed": 3, "lr": 1e-5, "nesterov": False} | dict(
        zip("abcdefghij", NASTY, strict=True)
    )
    folder = write_app(tmp_path / "new" / "app", "tiny-2", "one.two:app", "three:_app", config)
    assert folder == tmp_path / "new" / "app"
    assert get_fused_config_from_dir(folder, {}) == config
    whole = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    assert validate_config(whole, project_dir=folder) == (True, [], [])
    assert whole["project"]["name"] == "tiny-2"


def test_writing_again_replaces(tmp_path):
    write_app(tmp_path, "first", "a:app", "b:app", {"x": 1, "y": 2})
    write_app(tmp_path, "second", "a:app", "b:app", {"x": 3})
    assert config_of(tmp_path)["config"] == {"x": 3}


def test_the_named_objects_are_imported_only_when_they_run(tmp_path, monkeypatch):
    (tmp_path / "late_module.py").write_text(
        "calls = []\n"
        "def server(grid, context): calls.append((grid, context))\n"
        "def client(message, context): return message, context\n"
    )
    folder = write_app(tmp_path / "app", "late", "late_module:server", "late_module:client")
    monkeypatch.syspath_prepend(tmp_path)
    apps = {}
    for name in ("app_server", "app_client"):
        space = {"__name__": name}
        exec((folder / f"{name}.py").read_text(), space)
        apps[name] = space["app"]
    assert "late_module" not in sys.modules
    assert apps["app_client"]("message", "context") == ("message", "context")
    apps["app_server"]("grid", "context")
    assert sys.modules.pop("late_module").calls == [("grid", "context")]


@pytest.mark.parametrize(
    ("name", "server", "client", "hint"),
    [
        ("my_app", "a:b", "c:d", "letters, digits and hyphens only, got 'my_app'"),
        ("app", "a.b", "c:d", "'a.b'"),
        ("app", "a:b", "c:d; import os", '"module:attribute", got'),
        ("app", "a:b", "c:d\n", '"module:attribute", got'),
    ],
)
def test_names_are_checked_before_anything_is_written(tmp_path, name, server, client, hint):
    with pytest.raises(ValueError, match=hint):
        write_app(tmp_path / "app", name, server, client)
    assert not (tmp_path / "app").exists()


def test_the_end_is_announced_behind_the_mark(monkeypatch, capsys):
    monkeypatch.setenv(MARK, "4f1e")
    with announce_end():
        print("working")
    assert capsys.readouterr().out == "working\n4f1e completed\n"


def test_a_failure_is_announced_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv(MARK, "4f1e")
    with pytest.raises(ValueError), announce_end():
        raise ValueError("two\n  lines")
    out, err = capsys.readouterr()
    assert out == "4f1e failed: ValueError: two lines\n"
    assert "in test_a_failure_is_announced_in_one_line" in err


def test_without_a_mark_nothing_is_said(monkeypatch, capsys):
    monkeypatch.delenv(MARK, raising=False)
    with pytest.raises(KeyError), announce_end():
        raise KeyError("x")
    with announce_end():
        pass
    assert capsys.readouterr() == ("", "")
