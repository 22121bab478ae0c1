"""A deployment on disk: who may read what, and that nothing is overwritten."""

import os
import shutil
import stat

import pytest

from fedlocal.flower.deploy.certificates import hosts_of, public_key_of
from fedlocal.flower.deploy.folders import (
    create_deployment,
    load_certificate,
    node_folders,
    public_keys,
    renew,
)
from fedlocal.flower.deploy.settings import load_node, load_port


def modes(folder):
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


def test_secrets_are_secret_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        create_deployment(tmp_path / "new/d", ["a"], 1, port=8000, days=30)
    finally:
        os.umask(old)
    found = modes(tmp_path / "new/d")
    for name in ("ca.key", "superlink/server.key", "nodes/0/node.key"):
        assert found.pop(name) == 0o600
    for name in (".", "superlink", "nodes", "nodes/0"):
        assert found.pop(name) == 0o700
    assert set(found) == {
        *("ca.crt", "superlink/ca.crt", "superlink/server.crt", "superlink/superlink.toml"),
        *("superlink/nodes", "superlink/nodes/0.pub", "nodes/0/ca.crt", "nodes/0/node.toml"),
    }


def test_a_node_is_complete_alone(deployment, tmp_path):
    alone = shutil.copytree(deployment / "nodes/1", tmp_path / "elsewhere")
    settings = load_node(alone)
    assert settings.superlink == "127.0.0.1:8000"
    assert settings.node_config == {"partition-id": 1, "num-partitions": 2}
    known = (deployment / "superlink/nodes/1.pub").read_bytes()
    assert public_key_of((alone / "node.key").read_bytes()) == known
    assert (alone / "ca.crt").read_bytes() == (deployment / "superlink/ca.crt").read_bytes()
    assert load_port(deployment / "superlink") == 8000


def test_nodes_come_in_the_order_of_their_numbers(tmp_path):
    create_deployment(tmp_path / "d", ["::1"], 11, port=1, days=30)
    assert [key.stem for key in public_keys(tmp_path / "d/superlink")] == list(map(str, range(11)))
    assert [node.name for node in node_folders(tmp_path / "d")] == list(map(str, range(11)))
    assert load_node(tmp_path / "d/nodes/10").superlink == "[::1]:1"


def test_nothing_is_overwritten(deployment, tmp_path):
    before = {path: path.read_bytes() for path in deployment.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        create_deployment(deployment, ["a"], 1, port=8000, days=30)
    assert before == {path: path.read_bytes() for path in deployment.rglob("*") if path.is_file()}
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        create_deployment(tmp_path / "file", ["a"], 1, port=8000, days=30)


@pytest.mark.parametrize(
    ("hosts", "nodes", "days"), [(["a b"], 1, 30), (["a"], 0, 30), (["a"], 1, 0)]
)
def test_what_cannot_be_leaves_nothing(tmp_path, hosts, nodes, days):
    with pytest.raises(ValueError, match=r"got|neither"):
        create_deployment(tmp_path / "d", hosts, nodes, port=8000, days=days)
    assert not (tmp_path / "d").exists()


def test_renewal_keeps_hosts_and_nodes(deployment):
    superlink = deployment / "superlink"
    kept = [*deployment.glob("*.*"), *deployment.glob("nodes/*/*"), *superlink.glob("nodes/*")]
    before = {path: path.read_bytes() for path in kept}
    old = load_certificate(superlink / "server.crt")
    assert renew(deployment, None, 100) == superlink
    new = load_certificate(superlink / "server.crt")
    assert hosts_of(new) == hosts_of(old)
    assert new.public_key() != old.public_key()
    assert new.not_valid_after_utc > old.not_valid_after_utc
    assert before == {path: path.read_bytes() for path in kept}
    assert modes(superlink)["server.key"] == 0o600
    renew(deployment, ["b"], 100)
    assert hosts_of(load_certificate(superlink / "server.crt"))[0] == "b"


def test_renewal_needs_the_authority(deployment, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*ca\.crt; `fedlocal-deploy init"):
        renew(tmp_path, None, 100)
    (deployment / "superlink/server.crt").write_text("none")
    with pytest.raises(ValueError, match="not a certificate"):
        renew(deployment, None, 100)


def test_paths_of_a_node_are_absolute(deployment):
    node = deployment / "nodes/0"
    with (node / "node.toml").open("a") as file:
        file.write('data = "d/x.csv"\nstate = "/var/s"\nclasses = "../c"\nother = "d/x"\n')
    config = load_node(node).node_config
    assert config["data"] == str(node / "d/x.csv")
    assert config["state"] == "/var/s"
    assert config["classes"] == str(deployment / "nodes/c")
    assert config["other"] == "d/x"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("superlink", "Expected '='"),
        ('superlink = "a:1"', r"needs superlink = .* and a table \[node-config\]"),
        ('superlink = "a:1"\nnode-config = {a = [1]}', "node-config takes text, numbers"),
    ],
)
def test_bad_settings_are_named(deployment, text, reason):
    (deployment / "nodes/0/node.toml").write_text(text)
    with pytest.raises(ValueError, match=rf"node\.toml: .*{reason}"):
        load_node(deployment / "nodes/0")


def test_bad_ports_are_named(deployment):
    for port in ("0", "70000", '"8000"'):
        (deployment / "superlink/superlink.toml").write_text(f"port = {port}")
        with pytest.raises(ValueError, match="port must be 1 to 65535"):
            load_port(deployment / "superlink")
