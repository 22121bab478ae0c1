"""The command lines and environment that Flower's programs get."""

import os
import shlex
import shutil
import subprocess
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlocal.flower.deploy import programs
from fedlocal.flower.deploy.folders import public_keys
from fedlocal.flower.deploy.processes import Program
from fedlocal.flower.deploy.programs import config_text, shown, write_connection
from fedlocal.flower.deploy.settings import load_node


def flags(program):
    """The arguments of a Flower program, which stands behind watchdog.py and the gate's flags."""
    command = list(program.command)
    first = next(
        i
        for i, word in enumerate(command)
        if os.path.basename(word).startswith("flower-") or word.endswith("flower/supernode.py")
    )
    return command[:first], command[first + 1 :]


def test_superlink_is_encrypted_and_asks_nodes(deployment):
    folder = deployment / "superlink"
    before, after = flags(programs.superlink_program(folder, 8123, "0.0.0.0"))
    assert before[-2:] == ["--gate", "0.0.0.0:8123"]
    *after, own_port = after
    assert int(own_port) != 8123
    assert after == [
        *("--ssl-certfile", f"{folder}/server.crt", "--ssl-keyfile", f"{folder}/server.key"),
        *("--ssl-ca-certfile", f"{folder}/ca.crt", "--enable-supernode-auth"),
        *("--disable-runtime-dependency-installation", "--database", f"{folder}/state.db"),
        # Other machines reach the gate, and nothing else.
        *("--host", "127.0.0.1", "--port"),
    ]


def test_less_only_if_asked_for(deployment):
    folder = deployment / "superlink"
    before, after = flags(programs.superlink_program(folder, 1, "::", insecure=True, is_open=True))
    assert before[-2:] == ["--open-gate", "[::]:1"]
    assert after[0] == "--insecure"
    assert not any(word.startswith(("--ssl", "--enable")) for word in after)
    node = deployment / "nodes/0"
    _, after = flags(programs.supernode_program(node, load_node(node), 9, insecure=True))
    assert after[:2] == ["--insecure", "--superlink"]


def test_supernode(deployment, monkeypatch):
    monkeypatch.chdir(deployment)
    node = deployment / "nodes/1"
    before, after = flags(
        programs.supernode_program(node.relative_to(deployment), load_node(node), 9)
    )
    assert before[-1].endswith("watchdog.py")
    assert after == [
        *("--root-certificates", f"{node}/ca.crt", "--auth-supernode-private-key"),
        *(f"{node}/node.key", "--superlink", "127.0.0.1:8000", "--host", "127.0.0.1", "--port"),
        *("9", "--node-config", "partition-id=1 num-partitions=2"),
    ]


def test_registration(deployment):
    folder = deployment / "superlink"
    command = programs.register_program(folder, public_keys(folder)).command
    assert list(command)[-3:] == ["fedlocal", f"{folder}/nodes/0.pub", f"{folder}/nodes/1.pub"]


def test_machines_have_their_own_files_and_find_the_programs(deployment, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    node = deployment / "nodes/1"
    environment = programs.supernode_program(node, load_node(node), 9).environment
    assert environment["FLWR_HOME"] == f"{node}/flwr"
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    # Flower starts this by name.
    assert shutil.which("flower-superexec", path=environment["PATH"])


def test_the_user_has_the_last_word_on_telemetry(deployment, monkeypatch):
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    assert programs.environment(deployment)["FLWR_TELEMETRY_ENABLED"] == "1"


@pytest.mark.parametrize(
    ("listen", "address"),
    [("0.0.0.0", "127.0.0.1:8"), ("127.0.0.1", "127.0.0.1:8"), ("::", "[::1]:8")],
)
def test_connection(deployment, listen, address):
    folder = deployment / "superlink"
    write_connection(folder, 8, listen)
    found = tomllib.loads((folder / "flwr/config.toml").read_text())["superlink"]
    root = f"{folder}/ca.crt"
    assert found == {
        "default": "fedlocal",
        "fedlocal": {"address": address, "root-certificates": root},
    }


def test_other_connections_are_kept(deployment):
    file = deployment / "superlink/flwr/config.toml"
    file.parent.mkdir()
    other = '[superlink]\ndefault = "o"\n[superlink.o]\naddress = "a:1"\n'
    file.write_text(other + '[superlink.fedlocal]\naddress = "b:1"\nroot-certificates = "c"\n')
    write_connection(deployment / "superlink", 8, "0.0.0.0", insecure=True)
    found = tomllib.loads(file.read_text())["superlink"]
    assert found == {
        "default": "o",
        "o": {"address": "a:1"},
        "fedlocal": {"address": "127.0.0.1:8", "insecure": True},
    }
    file.write_text("[")
    with pytest.raises(ValueError, match=r"config\.toml"):
        write_connection(deployment / "superlink", 8, "0.0.0.0")


keys = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])).filter(
    lambda text: text.isprintable() and not ("'" in text and ('"' in text or "\\" in text))
)
values = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts


@given(config=st.dictionaries(keys, values))
def test_flower_reads_what_was_meant(config):
    from flwr.common.config import parse_config_args

    assert parse_config_args([config_text(config)]) == config


@pytest.mark.parametrize("config", [{"a b": 1}, {"": 1}, {"a=": 1}, {"a": "x\ny"}, {"a": "'\""}])
def test_what_flower_would_misread_is_refused(config):
    with pytest.raises(ValueError, match=r"is no key|cannot take"):
        config_text(config)


def test_what_is_shown_can_be_run(tmp_path):
    program = Program(["sh", "-c", 'echo "$FLWR_A" "$1"', "sh", "a 'b"], {"FLWR_A": "x y"})
    done = subprocess.run(shown(program), shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == "x y a 'b\n"
    assert shlex.split(shown(program))[0].startswith("PATH=")


def test_a_missing_program_is_named():
    with pytest.raises(FileNotFoundError, match="there is no program flower-nothing"):
        programs.flower("flower-nothing")
