"""Folders of a deployment on disk: one per machine, each of which can be copied alone.

DIR/                  stays where it was made
  ca.key ca.crt       the authority; needed again only to renew
  superlink/          goes to the SuperLink's machine
    ca.crt server.crt server.key superlink.toml nodes/0.pub nodes/1.pub ...
  nodes/0/ ...        each goes to one SuperNode's machine
    ca.crt node.key node.toml
"""

from collections.abc import Sequence
from pathlib import Path

import tomli_w

from fedlocal.flower.deploy import certificates
from fedlocal.flower.deploy.settings import (
    NODE_SETTINGS,
    SUPERLINK_SETTINGS,
    NodeSettings,
    address,
    require_file,
)
from fedlocal.utils.atomic import write_atomically

CA, CA_KEY = "ca.crt", "ca.key"
SERVER, SERVER_KEY, NODE_KEY = "server.crt", "server.key", "node.key"
SUPERLINK, NODES = "superlink", "nodes"

_NODE_COMMENT = (
    "# Every key of node-config reaches the app. Here go data, a .npz, a .csv or a folder of\n"
    "# pictures, and state, where the machine keeps what must survive a restart.\n"
)


def create_deployment(
    folder: Path, hosts: Sequence[str], num_nodes: int, port: int, days: int
) -> None:
    """Create an authority, the SuperLink's certificate and the keys of all nodes.

    Args:
        folder: New or empty folder.
        hosts: Names and addresses of the SuperLink; the nodes use the first.
        num_nodes: Number of SuperNodes; node i holds partition i.
        port: Port of the SuperLink.
        days: Validity of its certificate in days.

    Raises:
        FileExistsError: The folder is not empty.
        ValueError: An invalid host, number of nodes or number of days.
    """
    if num_nodes < 1:
        raise ValueError(f"a deployment needs at least one node, got {num_nodes}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not empty; nothing is overwritten")
    authority = certificates.new_authority()
    server = certificates.server_certificate(authority, hosts, days)
    for private in (folder, folder / SUPERLINK, folder / NODES):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        private.chmod(0o700)
    ca = certificates.certificate_pem(authority)
    _write(folder / CA_KEY, certificates.key_pem(authority), secret=True)
    for holder in (folder, folder / SUPERLINK):
        _write(holder / CA, ca)
    _write_server(folder / SUPERLINK, server)
    _write(folder / SUPERLINK / SUPERLINK_SETTINGS, tomli_w.dumps({"port": port}))
    (folder / SUPERLINK / NODES).mkdir()
    for index in range(num_nodes):
        settings = NodeSettings(
            address(hosts[0], port), {"partition-id": index, "num-partitions": num_nodes}
        )
        _create_node(folder, index, ca, settings)


def _create_node(folder: Path, index: int, ca: bytes, settings: NodeSettings) -> None:
    node = folder / NODES / str(index)
    node.mkdir(mode=0o700)
    private, public = certificates.node_key_pair()
    _write(node / CA, ca)
    _write(node / NODE_KEY, private, secret=True)
    _write(folder / SUPERLINK / NODES / f"{index}.pub", public)
    table = {"superlink": settings.superlink, "node-config": settings.node_config}
    _write(node / NODE_SETTINGS, tomli_w.dumps(table) + _NODE_COMMENT)


def renew(folder: Path, hosts: Sequence[str] | None, days: int) -> Path:
    """Give the SuperLink a new key and certificate; nodes need no change.

    Args:
        folder: Folder of `create_deployment`, with the authority's key.
        hosts: None keeps those of the old certificate.
        days: Validity of the new certificate in days.

    Returns:
        The SuperLink's folder, whose server.crt and server.key are new.

    Raises:
        FileNotFoundError: Another kind of folder.
        ValueError: As in `create_deployment`, or the authority itself expires before.
    """
    ca, key = (require_file(folder / name).read_bytes() for name in (CA, CA_KEY))
    authority = certificates.load_signed(ca, key)
    superlink = folder / SUPERLINK
    if hosts is None:
        hosts = certificates.hosts_of(load_certificate(superlink / SERVER))
    _write_server(superlink, certificates.server_certificate(authority, hosts, days))
    return superlink


def load_certificate(path: Path) -> certificates.x509.Certificate:
    """Read a certificate.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a certificate.
    """
    try:
        return certificates.x509.load_pem_x509_certificate(require_file(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not a certificate in PEM format ({error})") from error


def public_keys(superlink: Path) -> list[Path]:
    """Return the public keys of the nodes that a SuperLink knows, in the order of their numbers."""
    return sorted((superlink / NODES).glob("*.pub"), key=lambda key: (len(key.stem), key.stem))


def node_folders(folder: Path) -> list[Path]:
    """Return the nodes' folders of a whole deployment, in the order of their numbers."""
    found = (entry.parent for entry in (folder / NODES).glob(f"*/{NODE_SETTINGS}"))
    return sorted(found, key=lambda node: (len(node.name), node.name))


def _write_server(superlink: Path, server: certificates.Signed) -> None:
    # The key first: a certificate without its key would stop a SuperLink from starting.
    _write(superlink / SERVER_KEY, certificates.key_pem(server), secret=True)
    _write(superlink / SERVER, certificates.certificate_pem(server))


def _write(path: Path, content: bytes | str, secret: bool = False) -> None:
    write_atomically(path, content, 0o600 if secret else 0o644)
