"""`fedlocal-deploy`: set up and run a SuperLink and SuperNodes on a user's machines."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedlocal.flower.deploy import checks, folders, programs
from fedlocal.flower.deploy.doctor import examine
from fedlocal.flower.deploy.processes import Program, supervise
from fedlocal.flower.deploy.settings import Value, absolute_paths, load_node, load_port, own_folders
from fedlocal.flower.isolation import free_port

_DAYS = 365
_ENDED = (
    "It ended by itself. `fedlocal-deploy doctor {folder}` looks for the reason. If nothing is"
    " wrong: a node that was killed, or whose SuperLink was, is let in again after a minute."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit with code 2 for user errors, 1 if a check or a program failed."""
    options = _parser().parse_args(arguments)
    try:
        sys.exit(options.run(options))
    except (ValueError, OSError) as error:
        print(f"fedlocal-deploy: {error}", file=sys.stderr)
        sys.exit(2)


def _init(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    folders.create_deployment(folder, options.host, options.nodes, options.port, options.days)
    print(
        f"{folder}/superlink goes to {options.host[0]}, which then runs\n"
        f"    fedlocal-deploy superlink superlink\n"
        f"{folder}/nodes/0 and so on go to one machine each, which then runs\n"
        f"    fedlocal-deploy supernode 0\n"
        f"{folder}/ca.key stays here; it is needed again to renew."
    )
    return 0


def _renew(options: argparse.Namespace) -> int:
    superlink = folders.renew(options.folder, options.host, options.days)
    print(
        f"{superlink}/server.crt and server.key are new; copy both to the SuperLink's machine and"
        " start the SuperLink again. Nodes go on as they are."
    )
    return 0


def _superlink(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    port = options.port or load_port(folder)
    program = programs.superlink_program(
        folder, port, options.listen, insecure=options.insecure, is_open=options.open
    )
    keys = folders.public_keys(folder)
    if not keys and not options.insecure:
        raise ValueError(f"no public keys {folder}/nodes/*.pub; no node could ever be let in")
    beside = None if options.insecure else programs.register_program(folder, keys)
    if not options.dry_run:
        programs.write_connection(folder, port, options.listen, insecure=options.insecure)
    home = programs.home_of(folder)
    print(f"start runs here with: FLWR_HOME={home} flwr run APP {programs.CONNECTION} --stream")
    return _run(folder, program, beside, options.dry_run)


def _supernode(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    settings = load_node(folder)
    config = {**settings.node_config, **_node_config(options)}
    config = {**config, **{k: v for k, v in own_folders(folder).items() if k not in config}}
    checks.partition(config)
    settings = replace(
        settings, superlink=options.superlink or settings.superlink, node_config=config
    )
    program = programs.supernode_program(
        folder,
        settings,
        options.port or free_port(),
        insecure=options.insecure,
        stock=options.stock,
    )
    return _run(folder, program, None, options.dry_run)


def _doctor(options: argparse.Namespace) -> int:
    checks = examine(options.folder, insecure=options.insecure)
    for check in checks:
        print(check)
    bad = sum(not check.ok for check in checks)
    print(f"{len(checks)} checks, {bad or 'none'} failed")
    return 1 if bad else 0


def _run(folder: Path, program: Program, beside: Program | None, dry_run: bool) -> int:
    for one in (program, beside):
        if one is not None:
            print(programs.shown(one), flush=True)
    if dry_run:
        return 0
    code = supervise(program, beside)
    if code:
        print(_ENDED.format(folder=folder), file=sys.stderr)
    return code


def _node_config(options: argparse.Namespace) -> dict[str, Value]:
    """Return the node settings of the flags, which precede those of the folder."""
    flags: dict[str, Value | None] = {
        "partition-id": options.partition_id,
        "num-partitions": options.num_partitions,
        "data": options.data,
        "state": options.state,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    return absolute_paths(given | dict(options.set), Path.cwd())


def _setting(text: str) -> tuple[str, Value]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    if value in ("true", "false"):
        return key, value == "true"
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port is 1 to 65535, got {text}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fedlocal-deploy",
        description="Run federated learning on machines of your own, encrypted and authenticated.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="make keys and certificates, a folder per machine")
    init.add_argument(
        "folder", type=Path, metavar="DIR", help="is made; must not exist or be empty"
    )
    init.add_argument(
        "--host", nargs="+", required=True, help="names and addresses of the SuperLink's machine"
    )
    init.add_argument("--nodes", type=int, required=True, help="number of SuperNodes")
    init.add_argument("--port", type=_port, default=8000, help="the SuperLink's (%(default)s)")
    init.add_argument(
        "--days", type=int, default=_DAYS, help="the certificate's life (%(default)s)"
    )
    init.set_defaults(run=_init)

    again = commands.add_parser("renew", help="give the SuperLink a new certificate and key")
    again.add_argument("folder", type=Path, metavar="DIR", help="of init, with ca.key")
    again.add_argument("--host", nargs="+", help="names and addresses (those of the old one)")
    again.add_argument("--days", type=int, default=_DAYS, help="its life (%(default)s)")
    again.set_defaults(run=_renew)

    link = commands.add_parser("superlink", help="run the SuperLink and let the nodes in")
    link.add_argument("folder", type=Path, metavar="DIR", help="DIR/superlink of init")
    link.add_argument("--port", type=_port, help="goes before the port in superlink.toml")
    link.add_argument(
        "--listen", choices=programs.LISTEN, default=programs.LISTEN[0], help="(%(default)s)"
    )
    link.add_argument(
        "--open",
        action="store_true",
        help="let other machines start runs and add nodes too; Flower does not ask who they are",
    )
    _add_common(link)
    link.set_defaults(run=_superlink)

    node = commands.add_parser("supernode", help="run a SuperNode")
    node.add_argument("folder", type=Path, metavar="DIR", help="DIR/nodes/I of init")
    node.add_argument("--superlink", metavar="HOST:PORT", help="flags go before node.toml")
    node.add_argument("--partition-id", type=int, help="which part of the data, from 0")
    node.add_argument("--num-partitions", type=int, help="of how many")
    node.add_argument("--data", help="this machine's own: a .npz, a .csv, a folder of pictures")
    node.add_argument("--state", help="where it keeps what must survive a restart")
    node.add_argument(
        "--set", type=_setting, action="append", default=[], metavar="KEY=VALUE", help="for the app"
    )
    node.add_argument("--port", type=_port, help="of its local interface (a free one)")
    _add_common(node)
    node.add_argument(
        "--stock", action="store_true", help="Flower's own SuperNode, with its waits of seconds"
    )
    node.set_defaults(run=_supernode)

    doctor = commands.add_parser("doctor", help="check a folder, its data and the SuperLink")
    doctor.add_argument("folder", type=Path, metavar="DIR", help="of init, or one in it")
    doctor.add_argument("--insecure", action="store_true", help="as started with")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--insecure", action="store_true", help="neither encryption nor authentication"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command, start nothing")


if __name__ == "__main__":
    main()
