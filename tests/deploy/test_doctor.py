"""The doctor finds what is wrong at either end, and nothing where nothing is."""

import shutil
import socket
import time
from contextlib import contextmanager

import numpy as np
import pytest

from fedlocal.flower.deploy import certificates, checks, doctor
from fedlocal.flower.deploy.folders import create_deployment, renew
from fedlocal.flower.deploy.gate import software
from fedlocal.flower.deploy.versions import ask


def findings(folder, **named):
    return {check.name: check for check in doctor.examine(folder, **named)}


def failures(folder, **named):
    return {name: check.text for name, check in findings(folder, **named).items() if not check.ok}


def set_node(node, **changes):
    text = (node / "node.toml").read_text()
    for key, value in changes.items():
        lines = [line for line in text.splitlines() if not line.startswith(key.replace("_", "-"))]
        line = f"{key.replace('_', '-')} = {value!r}"
        text = "\n".join([line, *lines] if key == "superlink" else [*lines, line])
    (node / "node.toml").write_text(text + "\n")


@contextmanager
def served(deployment, superlink_like, **said):
    """A node's folder whose SuperLink answers."""
    with superlink_like(deployment / "superlink", **said) as port:
        set_node(deployment / "nodes/0", superlink=f"127.0.0.1:{port}")
        (deployment / "superlink/superlink.toml").write_text(f"port = {port}")
        yield deployment / "nodes/0"


def test_all_is_well(deployment, superlink_like, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((5, 3)), y=np.arange(5) % 2)
    with served(deployment, superlink_like) as node:
        set_node(node, data=str(tmp_path / "d.npz"), state=str(tmp_path / "new/state"))
        for folder in (deployment, deployment / "superlink", node):
            assert failures(folder) == {}
        found = findings(node)
        assert found["data"].text == "5 examples [3], classes [0, 1]"
        assert found["partition"].text == "0 of 2"
        assert "running" in findings(deployment / "superlink")["port"].text
    assert str(found["reach"]).startswith("ok    reach: 127.0.0.1:")


def test_a_free_port_is_well(deployment):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (deployment / "superlink/superlink.toml").write_text(f"port = {port}")
    assert failures(deployment / "superlink") == {}


def test_a_port_that_another_has(deployment, superlink_like):
    with superlink_like(software=None) as port:
        (deployment / "superlink/superlink.toml").write_text(f"port = {port}")
        for insecure in (True, False):
            found = failures(deployment / "superlink", insecure=insecure)
            assert "taken by another program" in found.pop("port")
            assert found == {}


def test_readable_secrets(deployment):
    for key in ("ca.key", "superlink/server.key", "nodes/1/node.key"):
        (deployment / key).chmod(0o640)
    found = failures(deployment)
    assert set(found) == {"authority's key", "private key", "node 1 private key"}
    assert all("mode 640); chmod 600 " in text for text in found.values())


def test_files_of_another_deployment(deployment, tmp_path):
    create_deployment(tmp_path / "other", ["127.0.0.1"], 1, port=8000, days=30)
    shutil.copy(tmp_path / "other/superlink/server.key", deployment / "superlink")
    assert "does not belong" in failures(deployment)["certificate"]
    shutil.copy(tmp_path / "other/superlink/server.crt", deployment / "superlink")
    assert "not signed by ca.crt" in failures(deployment)["certificate"]


def test_expiry(deployment, monkeypatch):
    class Later(checks.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + checks.datetime.resolution * 86_400_000_000 * 40

    monkeypatch.setattr(checks, "datetime", Later)
    text = failures(deployment)["certificate"]
    assert "`fedlocal-deploy renew DIR` makes a new one" in text
    assert set(failures(deployment)) == {"certificate"}


def test_missing_files(deployment):
    (deployment / "nodes/0/node.key").unlink()
    (deployment / "superlink/ca.crt").unlink()
    found = failures(deployment)
    assert set(found) == {"authority", "certificate", "node 0 private key", "node 0 key"}
    assert all("no file" in text for text in found.values())


def test_keys_of_nodes(deployment):
    keys = deployment / "superlink/nodes"
    shutil.copy(keys / "0.pub", keys / "1.pub")
    assert "are the same key" in failures(deployment)["nodes' keys"]
    (keys / "1.pub").write_text("ssh-ed25519 AAAA")
    assert "no public key on a NIST curve" in failures(deployment)["nodes' keys"]
    shutil.rmtree(keys)
    assert "no public keys" in failures(deployment)["nodes' keys"]
    (deployment / "nodes/0/node.key").write_text("none")
    assert "not an OpenSSH private key" in failures(deployment)["node 0 key"]


def test_partitions(deployment, superlink_like):
    set_node(deployment / "nodes/1", partition_id=0)
    assert "once each" in failures(deployment)["partitions"]
    set_node(deployment / "nodes/1", partition_id=1, num_partitions=3)
    assert "num-partitions = 2, got" in failures(deployment)["partitions"]
    with served(deployment, superlink_like) as node:
        set_node(node, partition_id=2)
        assert failures(node).keys() == {"partition"}


def test_names(deployment):
    set_node(deployment / "nodes/1", superlink="other.example.org:8000")
    text = failures(deployment)["node 1 name"]
    assert "not for other.example.org; `fedlocal-deploy renew DIR --host other.ex" in text
    set_node(deployment / "nodes/1", superlink="https://a")
    assert "must be HOST:PORT without https://" in failures(deployment)["node 1 name"]


def test_nothing_listens(deployment):
    node = deployment / "nodes/0"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    set_node(node, superlink=f"127.0.0.1:{port}")
    assert "is the SuperLink started, on this port?" in failures(node)["reach"]
    set_node(node, superlink="no-such-host.invalid:8000")
    found = failures(node)
    assert "there is no host no-such-host.invalid" in found.pop("reach")
    assert found == {}


def test_another_authority(deployment, superlink_like, tmp_path):
    create_deployment(tmp_path / "other", ["127.0.0.1"], 1, port=8000, days=30)
    with served(deployment, superlink_like) as node:
        shutil.copy(tmp_path / "other/ca.crt", node)
        found = failures(node)
    assert "another deployment's folder" in found.pop("SuperLink")
    assert found == {}


def test_another_name(deployment, superlink_like, monkeypatch):
    monkeypatch.setattr(certificates, "LOOPBACK", ())
    renew(deployment, ["link.example.org"], 30)
    with served(deployment, superlink_like) as node:
        assert "IP address mismatch" in failures(node)["SuperLink"]


def test_no_encryption(deployment, superlink_like):
    with superlink_like() as port:
        set_node(deployment / "nodes/0", superlink=f"127.0.0.1:{port}")
        assert "was it started with --insecure?" in failures(deployment / "nodes/0")["SuperLink"]
        found = findings(deployment / "nodes/0", insecure=True)
    assert all(check.ok for check in found.values())
    assert found["SuperLink"].text == "not encrypted"
    assert "key" not in found


@pytest.mark.parametrize("said", [{"status": 404, "software": None}, {"time": "soon"}])
def test_another_server(deployment, superlink_like, said):
    with served(deployment, superlink_like, **said) as node:
        assert "no SuperLink that fedlocal-deploy started" in failures(node)["SuperLink"]


@pytest.mark.parametrize(
    ("name", "version", "ok"),
    [
        ("python", "3.9.1", False),
        ("flwr", "1.0.0", False),
        ("fedlocal", "not installed", False),
        ("torch", software()["torch"] + "+cu130", True),
        ("python", software()["python"].rpartition(".")[0] + ".999", True),
    ],
)
def test_versions(deployment, superlink_like, name, version, ok):
    there = software() | {name: version}
    with served(deployment, superlink_like, software=there) as node:
        check = findings(node)["software"]
    assert check.ok == ok
    assert ok or f"{name} {software()[name]} here and {version} there" in check.text


@pytest.mark.parametrize(("ahead", "ok"), [(-200, True), (-400, False), (0, True), (60, False)])
def test_clocks(deployment, superlink_like, ahead, ok):
    with served(deployment, superlink_like, time=time.time() - ahead) as node:
        check = findings(node)["clock"]
    assert check.ok == ok
    if ahead:
        assert ("ahead of" if ahead > 0 else "behind") in check.text


def test_data_and_state(deployment, superlink_like, tmp_path):
    (tmp_path / "d.csv").write_text("a,y\n1,2.5\n")
    (tmp_path / "file").touch()
    with served(deployment, superlink_like) as node:
        set_node(node, data=str(tmp_path / "d.csv"), state=str(tmp_path / "file/state"))
        found = findings(node)
        assert found["data"].text == "1 examples [1], regression targets [1, 1]"
        assert "cannot be written" in found["state"].text
        set_node(node, data="none.csv", state=str(tmp_path))
        found = failures(node)
        assert f"no local data at {node}/none.csv" in found.pop("data")
        assert found == {}
        (tmp_path / "d.csv").write_text("a,y\n1,cat\n")
        (tmp_path / "names").write_text("dog\nemu\n")
        set_node(node, data=str(tmp_path / "d.csv"), classes=str(tmp_path / "names"))
        assert "there is no class 'cat'" in failures(node)["data"]


def test_bad_settings_are_a_finding(deployment):
    (deployment / "nodes/0/node.toml").write_text("none")
    assert failures(deployment / "nodes/0").keys() == {"settings"}
    assert {"partitions", "node 0 name"} <= failures(deployment).keys()


def test_what_is_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds neither superlink\.toml nor node\.toml"):
        doctor.examine(tmp_path)


def test_programs_that_are_missing(deployment, monkeypatch):
    monkeypatch.setattr(doctor, "software", lambda: {"torch": "not installed"})
    assert "not installed here: torch" in failures(deployment / "superlink")["programs"]


def test_silence_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(TimeoutError):
            ask("127.0.0.1", server.getsockname()[1], None, timeout=0.05)
