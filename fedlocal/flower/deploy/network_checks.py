"""Checks of the connection: each returns a description, or raises an error with the fix."""

import socket
import ssl
import time
from pathlib import Path

from fedlocal.flower.deploy.folders import CA
from fedlocal.flower.deploy.gate import software
from fedlocal.flower.deploy.settings import host_and_port, require_file
from fedlocal.flower.deploy.versions import About, ask

# Flower refuses a signature of a node whose clock is 5 s ahead of the SuperLink's, or 305 s behind.
AHEAD_SECONDS, BEHIND_SECONDS = 4.0, 300.0


def port(listen_port: int, ca: Path | None) -> str:
    """Check that the SuperLink's port is free, or used by the SuperLink."""
    try:
        with socket.create_server(("127.0.0.1", listen_port)):
            return f"{listen_port} is free; the SuperLink is not running"
    except OSError:
        pass
    try:
        ask("127.0.0.1", listen_port, ca)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{listen_port} is taken by another program ({error}); stop it, or choose another port"
            " with --port and in every node.toml"
        ) from error
    return f"{listen_port}, where the SuperLink is running"


def reachable(superlink: str) -> str:
    """Check that a program listens at the SuperLink's address."""
    host, number = host_and_port(superlink)
    try:
        with socket.create_connection((host, number), timeout=5):
            return superlink
    except socket.gaierror as error:
        raise ValueError(
            f"there is no host {host} ({error}); a typing error in node.toml?"
        ) from error
    except TimeoutError as error:
        raise ValueError(
            f"no answer from {superlink} for 5 s; does a firewall close port {number}?"
        ) from error
    except OSError as error:
        raise ValueError(
            f"nothing listens at {superlink} ({error}); is the SuperLink started, on this port?"
        ) from error


def answer(superlink: str, ca: Path | None) -> About:
    """Return the SuperLink's description of itself."""
    host, number = host_and_port(superlink)
    try:
        return ask(host, number, None if ca is None else require_file(ca))
    except ssl.SSLCertVerificationError as error:
        raise ValueError(
            f"{superlink} has no certificate for this name from {CA} beside node.toml"
            f" ({error.verify_message}); another deployment's folder, another name than those"
            " given to init, or expired?"
        ) from error
    except ssl.SSLError as error:
        raise ValueError(
            f"{superlink} does not encrypt ({error.reason}); was it started with --insecure?"
        ) from error


def same_software(about: About) -> str:
    """Check that the relevant versions are equal at both ends."""
    here = software()
    differ = [
        f"{name} {here[name]} here and {about.software.get(name)} there"
        for name in here
        if _compared(name, here[name]) != _compared(name, about.software.get(name, ""))
    ]
    if differ:
        raise ValueError(f"{'; '.join(differ)}; install the same")
    return ", ".join(f"{name} {version}" for name, version in here.items())


def clock(about: About) -> str:
    """Check that the clocks are close enough for signatures."""
    ahead = time.time() - about.time
    text = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the SuperLink's"
    if not -BEHIND_SECONDS < ahead < AHEAD_SECONDS:
        raise ValueError(f"this clock is {text}; set it (timedatectl set-ntp true)")
    return text


def _compared(name: str, version: str) -> str:
    """Return a version without Python's patch level and torch's build."""
    if name == "python":
        return ".".join(version.split(".")[:2])
    return version.partition("+")[0]
