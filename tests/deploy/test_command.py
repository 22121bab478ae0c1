"""The command: what it prints, what it refuses."""

import shlex

import pytest

from fedlocal.flower.deploy import command
from fedlocal.flower.deploy.command import main
from fedlocal.flower.deploy.local import LocalDeployment


def called(capsys, *arguments):
    """Exit code and output of the command."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return end.value.code, shown.out + shown.err


def words(output, program):
    """The command line that is printed for one of Flower's programs."""
    line = next(line for line in output.splitlines() if f"/{program} " in line)
    return shlex.split(line)


def test_init_then_doctor_then_renew(capsys, tmp_path):
    folder = tmp_path / "d"
    code, output = called(
        capsys, "init", folder, "--host", "a.example.org", "10.0.0.1", "--nodes", 3, "--port", 8123
    )
    assert code == 0
    assert "fedlocal-deploy superlink superlink" in output
    code, output = called(capsys, "doctor", folder)
    assert code == 0
    assert "a.example.org is in the certificate" in output
    assert "0 to 2, once each" in output
    assert output.endswith("none failed\n")
    old = (folder / "superlink/server.crt").read_bytes()
    code, output = called(capsys, "renew", folder)
    assert (code, "copy both" in output) == (0, True)
    assert (folder / "superlink/server.crt").read_bytes() != old


def test_doctor_fails_with_a_line(capsys, deployment):
    (deployment / "ca.key").chmod(0o644)
    code, output = called(capsys, "doctor", deployment)
    assert code == 1
    assert "FAIL  authority's key: " in output
    assert output.endswith("14 checks, 1 failed\n")


def test_superlink_prints_what_it_starts(capsys, deployment):
    folder = deployment / "superlink"
    code, output = called(capsys, "superlink", folder, "--dry-run")
    assert code == 0
    line = words(output, "flower-superlink")
    assert line[-4:-1] == ["--host", "127.0.0.1", "--port"]
    assert "--gate 0.0.0.0:8000" in output
    assert "--enable-supernode-auth" in line
    assert words(output, "register_keys.py")[-2:] == [
        f"{folder}/nodes/0.pub",
        f"{folder}/nodes/1.pub",
    ]
    assert f"FLWR_HOME={folder}/flwr flwr run APP fedlocal" in output
    # Nothing was started, so nothing was written.
    assert not (folder / "flwr").exists()
    _, output = called(
        capsys, "superlink", folder, "--dry-run", "--insecure", "--listen", "::", "--port", 5
    )
    assert "--gate [::]:5" in output or "--gate '[::]:5'" in output
    assert "nodes/0.pub" not in output


def test_flags_go_before_the_folder(capsys, deployment, monkeypatch):
    monkeypatch.chdir(deployment)
    with (deployment / "nodes/0/node.toml").open("a") as file:
        file.write('data = "d.csv"\ngpu = "a"\n')
    code, output = called(capsys, "supernode", "nodes/0", "--dry-run", "--set", "worker=w")
    assert code == 0
    assert words(output, "supernode.py")[-1] == (
        f"partition-id=0 num-partitions=2 data='{deployment}/nodes/0/d.csv' gpu='a'"
        f" worker='{deployment}/w' state='{deployment}/nodes/0/state'"
    )
    _, output = called(
        *(capsys, "supernode", "nodes/0", "--dry-run", "--superlink", "b:9", "--data", "e.csv"),
        *("--set", "worker=", "--stock"),
        *("--partition-id", 4, "--num-partitions", 5, "--state", "/s", "--port", 77),
        *("--set", "gpu=true", "--set", "rate=0.5", "--set", "name=a=b", "--set", "n=3"),
    )
    line = words(output, "flower-supernode")
    assert line[line.index("--superlink") + 1] == "b:9"
    assert line[line.index("--port") + 1] == "77"
    assert line[-1] == (
        f"partition-id=4 num-partitions=5 data='{deployment}/e.csv' gpu=true state='/s' worker=''"
        " rate=0.5 name='a=b' n=3"
    )


def test_what_is_supervised(capsys, deployment, monkeypatch):
    seen = []
    monkeypatch.setattr(command, "supervise", lambda *programs: seen.append(programs) or 7)
    code, _ = called(capsys, "superlink", deployment / "superlink")
    assert code == 7
    assert [program is not None for program in seen[-1]] == [True, True]
    assert (deployment / "superlink/flwr/config.toml").exists()
    called(capsys, "superlink", deployment / "superlink", "--insecure")
    assert seen[-1][1] is None
    called(capsys, "supernode", deployment / "nodes/1")
    assert seen[-1][1] is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["init", "{}", "--host", "a", "--nodes", "1"], "nothing is overwritten"),
        (["init", "{}/x", "--host", "a b", "--nodes", "1"], "neither an IP address nor"),
        (["init", "{}/x", "--host", "a"], "--nodes"),
        (["init", "{}/x", "--host", "a", "--nodes", "1", "--port", "0"], "a port is 1 to 65535"),
        (["superlink", "{}/nodes/0"], "no file"),
        (["superlink", "{}/superlink", "--listen", "10.0.0.1"], "invalid choice"),
        (["supernode", "{}/superlink"], "no file"),
        (["supernode", "{}/nodes/0", "--partition-id", "2"], "must be 0 to num-partitions - 1"),
        (["supernode", "{}/nodes/0", "--set", "a"], "is not KEY=VALUE"),
        (["doctor", "{}/superlink/nodes"], "holds neither"),
        (["renew", "{}/superlink"], "no file"),
        ([], "COMMAND"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(capsys, deployment, arguments, reason):
    code, output = called(capsys, *(word.format(deployment) for word in arguments))
    assert code == 2
    assert reason in output
    assert "Traceback" not in output


def test_a_superlink_without_nodes_is_refused(capsys, deployment):
    for key in (deployment / "superlink/nodes").iterdir():
        key.unlink()
    code, output = called(capsys, "superlink", deployment / "superlink", "--dry-run")
    assert (code, "no node could ever be let in" in output) == (2, True)


def test_a_local_deployment_needs_a_configuration_per_node(tmp_path):
    with pytest.raises(ValueError, match="3 nodes, but 2 configurations"):
        LocalDeployment(tmp_path, 3, [{}, {}])
