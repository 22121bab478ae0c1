"""Deployment on this machine's loopback interface, for tests and demonstrations."""

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from fedlocal.flower.deploy import folders, processes, programs, runs
from fedlocal.flower.deploy.logs import latest_log, pause, start_logged, whole_log
from fedlocal.flower.deploy.processes import Program, Running, kill, new_mark
from fedlocal.flower.deploy.settings import Value, address, load_node
from fedlocal.flower.deploy.versions import ask
from fedlocal.flower.isolation import free_port

# A busy machine of two cores takes some 20 s, and a node that was killed is let in after 60 s.
PATIENCE_SECONDS = 150.0
_HOST = "127.0.0.1"
_LET_IN = re.compile(r"SuperNode ID: (\d+)")


class LocalDeployment:
    """Context manager that runs a SuperLink and SuperNodes on this machine.

    The folder may be used again; the SuperLink then has its former state.

    Attributes:
        connection: Name of the connection for `flwr run APP NAME`.
        home: The $FLWR_HOME that has this connection.
        folder: Folder of the files of `fedlocal-deploy init`, and of logs.
        mark: Mark of every process of the deployment; see `processes.marked`.
    """

    def __init__(
        self,
        folder: Path,
        supernodes: int = 2,
        node_configs: Sequence[Mapping[str, Value]] = (),
        insecure: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Describe a deployment; `with` starts it.

        Args:
            folder: Folder to create.
            supernodes: Number of SuperNodes.
            node_configs: Settings of each node besides partition-id and num-partitions; empty for
                none.
            insecure: Whether to use neither encryption nor authentication.
            environment: Variables of every process besides those of this one.

        Raises:
            ValueError: The number of configurations differs from that of nodes.
        """
        if node_configs and len(node_configs) != supernodes:
            raise ValueError(f"{supernodes} nodes, but {len(node_configs)} configurations of nodes")
        self.folder = folder.absolute()
        self.connection = programs.CONNECTION
        self.home = programs.home_of(self.folder / folders.SUPERLINK)
        self._state = self.folder / folders.SUPERLINK / programs.STATE
        self._insecure = insecure
        self._environment = dict(environment or {})
        self._node_configs = list(node_configs) or [{}] * supernodes
        self.mark = new_mark()
        self._port = 0
        self._superlink: Running | None = None
        self._nodes: dict[int, Running] = {}
        self._node_ids: dict[int, int] = {}

    @property
    def address(self) -> str:
        """Address of the SuperLink, HOST:PORT."""
        return address(_HOST, self._port)

    def __enter__(self) -> Self:
        """Start everything; return when every node is connected.

        Raises:
            RuntimeError: A program does not start; the message holds its log.
        """
        number = len(self._node_configs)
        if not (self.folder / folders.CA).exists():
            folders.create_deployment(self.folder, [_HOST], number, port=8000, days=30)
        if self._state.exists():
            self.expire_node()
        # When this process ends, its end of the pipe is closed, and the watchdog cleans up,
        # unless it is killed together with this process.
        self._watchdog = subprocess.Popen(
            [sys.executable, "-P", processes.__file__, self.mark],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self.start_superlink()
            for index in range(number):
                self._launch_node(index)
            for index in range(number):
                self._await_node(index)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def start_superlink(self) -> None:
        """Start the SuperLink; after `stop_superlink` with the same state and port.

        Raises:
            RuntimeError: It ends, or does not register its nodes.
        """
        folder, old_port = self.folder / folders.SUPERLINK, self._port
        # Another program may take the free port before it is used.
        for _ in range(3):
            self._port = old_port or free_port()
            programs.write_connection(folder, self._port, _HOST, insecure=self._insecure)
            program = programs.superlink_program(folder, self._port, _HOST, insecure=self._insecure)
            self._superlink = self._start(program, "superlink")
            if self._is_up(self._superlink):
                return self._revive_nodes()
            self.stop_superlink()
        raise RuntimeError(f"superlink ended:\n{latest_log(self.folder, 'superlink')}")

    def stop_superlink(self) -> None:
        """Kill the SuperLink at once, with the ServerApp that may run."""
        if self._superlink is not None:
            kill(self._superlink)
            self._superlink = None

    def start_node(self, index: int) -> None:
        """Start a node; return when it is connected.

        This takes a minute after `stop_node`, while the SuperLink considers the node connected and
        refuses a second one with its key. `expire_node` shortens it.

        Raises:
            RuntimeError: It is refused.
        """
        self._launch_node(index)
        self._await_node(index)

    def stop_node(self, index: int) -> None:
        """Kill a node at once, with the ClientApp that may run."""
        kill(self._nodes.pop(index))

    def expire_node(self, index: int | None = None) -> None:
        """Mark a node as gone at the SuperLink, at once instead of within a minute; None: all."""
        gone = "UPDATE node SET online_until = 1"
        values: tuple[int, ...] = ()
        if index is not None:
            gone += " WHERE node_id = ?"
            values = (int.from_bytes(self._node_ids[index].to_bytes(8), signed=True),)
        state = sqlite3.connect(self._state, timeout=30)
        try:
            with state:
                state.execute(gone, values)
        finally:
            state.close()

    def run(self, app: Path, run_config: Mapping[str, Value] | None = None) -> Iterator[str]:
        """Start a run of the app in a folder; yield the lines of its ServerApp as they are printed.

        Raises:
            RuntimeError: The run failed; the message holds its last lines.
        """
        return runs.follow(self.home, self.mark, app, run_config)

    def flwr(self, *arguments: str) -> str:
        """Return the output of `flwr ARGUMENTS`; raise RuntimeError if it fails."""
        return runs.call(self.home, self.mark, *arguments)

    def statuses(self) -> list[str]:
        """Return the states of the runs, the latest first: finished:completed or another one."""
        return runs.statuses(self.home, self.mark)

    def logs(self, index: int | None = None) -> str:
        """Return the log of a node over all its starts; None for the SuperLink."""
        return whole_log(self.folder, "superlink" if index is None else f"node-{index}")

    def _is_up(self, superlink: Running) -> bool:
        """Wait until the SuperLink answers and knows its nodes; return False if it ends."""
        end = time.monotonic() + PATIENCE_SECONDS
        keys = folders.public_keys(self.folder / folders.SUPERLINK)
        program = programs.register_program(self.folder / folders.SUPERLINK, keys)
        helper = None if self._insecure else self._start(program, "register")
        try:
            while superlink.process.poll() is None:
                if self._answers() if helper is None else helper.process.poll() == 0:
                    return True
                refused = helper is not None and helper.process.poll()
                pause(0.0 if refused else end, self.folder, "register" if helper else "superlink")
            return False
        finally:
            if helper is not None:
                kill(helper)

    def _revive_nodes(self) -> None:
        """Restart nodes that ended with the SuperLink, as a service would."""
        for index, node in list(self._nodes.items()):
            if node.process.poll() is not None:
                self.stop_node(index)
                self.expire_node(index)
                self.start_node(index)

    def _answers(self) -> bool:
        ca = None if self._insecure else self.folder / folders.CA
        try:
            return bool(ask(_HOST, self._port, ca))
        except (OSError, ValueError):
            return False

    def _launch_node(self, index: int) -> None:
        folder = self.folder / folders.NODES / str(index)
        settings = load_node(folder)
        config = {**settings.node_config, **self._node_configs[index]}
        settings = replace(settings, superlink=self.address, node_config=config)
        program = programs.supernode_program(folder, settings, free_port(), insecure=self._insecure)
        self._nodes[index] = self._start(program, f"node-{index}")

    def _await_node(self, index: int) -> None:
        """Wait until a node is connected; restart it if it ends."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not (found := _LET_IN.search(latest_log(self.folder, f"node-{index}"))):
            if self._nodes[index].process.poll() is not None:
                self.stop_node(index)
                pause(end, self.folder, f"node-{index}", 1.0)
                self._launch_node(index)
            pause(end, self.folder, f"node-{index}")
        self._node_ids[index] = int(found[1])

    def _start(self, program: Program, name: str) -> Running:
        variables = {**program.environment, **self._environment}
        program = replace(program, environment=variables)
        return start_logged(self.folder, name, program, new_mark(self.mark))

    def _end(self) -> None:
        for running in (*self._nodes.values(), self._superlink):
            if running is not None:
                kill(running)
        self._nodes, self._superlink = {}, None
        # Runs that are still followed, and all other processes with the mark.
        self._watchdog.communicate()
