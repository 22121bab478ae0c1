"""Checks of files on disk: each returns a description, or raises an error with the fix."""

import os
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fedlocal.flower.deploy import certificates, folders
from fedlocal.flower.deploy.settings import NodeSettings, Value, host_and_port, require_file


def secret(path: Path) -> str:
    """Check that a private key is readable by its owner only."""
    mode = stat.S_IMODE(require_file(path).stat().st_mode)
    if mode & 0o077:
        raise ValueError(f"{path} can be read by others (mode {mode:o}); chmod 600 {path}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"{path} cannot be read by this user; chown it, or run as its owner")
    return f"{path.name}, mode {mode:o}"


def authority(path: Path) -> str:
    """Check that the authority's certificate is valid now."""
    return f"valid until {_valid_until(folders.load_certificate(path), path, 'make all anew')}"


def server(folder: Path) -> str:
    """Check that the server's certificate is valid, signed by the authority, and fits its key."""
    file = folder / folders.SERVER
    certificate = folders.load_certificate(file)
    until = _valid_until(certificate, file, "`fedlocal-deploy renew DIR` makes a new one")
    if not certificates.signed_by(certificate, folders.load_certificate(folder / folders.CA)):
        raise ValueError(
            f"{file} is not signed by {folders.CA}; copy both from the same deployment"
        )
    key = require_file(folder / folders.SERVER_KEY).read_bytes()
    try:
        certificates.load_signed(file.read_bytes(), key)
    except ValueError as error:
        raise ValueError(
            f"{folders.SERVER_KEY} beside {file}: {error}; copy both together"
        ) from error
    return f"for {', '.join(certificates.hosts_of(certificate))}; valid until {until}"


def public_keys(folder: Path) -> str:
    """Check that the SuperLink knows its nodes, by different keys."""
    files = folders.public_keys(folder)
    if not files:
        raise ValueError(f"no public keys {folder}/nodes/*.pub; no node could ever be let in")
    seen: dict[bytes, Path] = {}
    for file in files:
        key = file.read_bytes()
        if not key.startswith(b"ecdsa-sha2-nistp"):
            raise ValueError(f"{file} is no public key on a NIST curve; copy it again")
        if key in seen:
            raise ValueError(f"{file} and {seen[key]} are the same key; every node has its own")
        seen[key] = file
    return f"{len(files)} nodes"


def node_key(folder: Path) -> str:
    """Check that the node has a usable private key."""
    file = require_file(folder / folders.NODE_KEY)
    try:
        certificates.public_key_of(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file}: {error}; copy the node's folder again") from error
    return "on a NIST curve"


def partition(config: Mapping[str, Value]) -> str:
    """Check that the node's partition is one of the configured ones."""
    index, number = config.get("partition-id"), config.get("num-partitions")
    if not isinstance(index, int) or not isinstance(number, int) or not 0 <= index < number:
        raise ValueError(
            f"partition-id must be 0 to num-partitions - 1, got {index} of {number}; see node.toml"
        )
    return f"{index} of {number}"


def unique_partitions(nodes: Sequence[NodeSettings]) -> str:
    """Check that every partition has exactly one node."""
    ids = [node.node_config.get("partition-id") for node in nodes]
    numbers = {node.node_config.get("num-partitions") for node in nodes}
    if numbers != {len(nodes)} or sorted(map(str, ids)) != sorted(map(str, range(len(nodes)))):
        raise ValueError(
            f"{len(nodes)} nodes need the partition-ids 0 to {len(nodes) - 1} once each and"
            f" num-partitions = {len(nodes)}, got {ids} of {sorted(map(str, numbers))}"
        )
    return f"0 to {len(nodes) - 1}, once each"


def check_covered(folder: Path, node: NodeSettings) -> str:
    """Check that the certificate covers the name by which a node reaches the SuperLink."""
    host, _ = host_and_port(node.superlink)
    hosts = certificates.hosts_of(folders.load_certificate(folder / folders.SERVER))
    if host not in hosts:
        raise ValueError(
            f"the SuperLink's certificate is for {', '.join(hosts)}, not for {host};"
            f" `fedlocal-deploy renew DIR --host {host}` makes one"
        )
    return f"{host} is in the certificate"


def data(config: Mapping[str, Value]) -> str:
    """Check that the machine's own data can be read."""
    from fedlocal.data.local import load_local

    classes = config.get("classes")
    x, y = load_local(str(config["data"]), None if classes is None else str(classes))
    kind = f"regression targets {list(y.shape)}"
    if not y.is_floating_point():
        kind = f"classes {y.unique().tolist()}"
    return f"{len(x)} examples {list(x.shape[1:])}, {kind}"


def state(config: Mapping[str, Value]) -> str:
    """Check that the folder of the persistent state is writable."""
    path = Path(str(config["state"]))
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if (there != path and not there.is_dir()) or not os.access(there, os.W_OK):
        raise ValueError(f"{path}: {there} cannot be written by this user")
    return f"{path} can be written"


def _valid_until(certificate: certificates.x509.Certificate, path: Path, way_out: str) -> str:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= datetime.now(UTC) <= end:
        raise ValueError(
            f"{path} is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d}, and today is"
            f" {datetime.now(UTC):%Y-%m-%d}; {way_out}, if this clock is right"
        )
    return f"{end:%Y-%m-%d}"
