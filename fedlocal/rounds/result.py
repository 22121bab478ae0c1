"""The result of a run."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from fedlocal.objective import Layout
from fedlocal.objective.gradients import Own
from fedlocal.rounds.client_table import ClientTable
from fedlocal.rounds.ledger import Ledger
from fedlocal.rounds.metrics import Row
from fedlocal.rounds.server import ServerState
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.flat import assign
from fedlocal.vectors.trees import Tree

# Metrics of the last row that a result prints.
SHOWN = (
    "local_loss", "train_loss", "test_loss", "test_accuracy",
    "uplink_bytes", "downlink_bytes", "sim_seconds",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Result of a run.

    Attributes:
        history: One dict of metrics per round; bytes, steps and seconds are cumulative, None
            where a quantity is not defined.
        model: The trained module in eval mode (the mean model where clients differ). Personal
            parameters and personal buffers in it are those of the start: see `client_model`.
        params: The shared parameters, [P].
        client_params: Each client's model after the last synchronisation, [K, P]; in an
            asynchronous run the model that each would read next.
        server_state: The server's state.
        clients: The clients' states; see `client_states`.
        ledger: Bytes and local steps of every round.
        layout: Names and shapes of the model's shared, personal and buffered parts.
        executor: Execution of a cohort, with the reason where clients ran one at a time.
    """

    history: list[Row]
    model: nn.Module
    params: Tensor
    client_params: Tensor
    server_state: ServerState
    clients: Tree
    ledger: Ledger
    layout: Layout
    executor: str

    def client_model(self, client: int) -> nn.Module:
        """Return one client's model in eval mode, its personal parts included.

        Args:
            client: 0 to K - 1.

        Raises:
            IndexError: There is no such client.
            ValueError: The client's personal parts are on another machine.
        """
        count = len(self.client_params)
        if not isinstance(client, int | np.integer) or not 0 <= client < count:
            raise IndexError(f"there is no client {client!r}; clients are 0 to {count - 1}")
        kept = self._kept(np.array([client]))
        model = deepcopy(self.model)
        assign(model, self.client_params[client], self.layout.shared)
        for layout, rows in zip((self.layout.personal, self.layout.buffers), kept, strict=True):
            if rows != ():
                assign(model, rows[0], layout)
        return model

    def personal_tensors(self) -> dict[str, Tensor]:
        """Return the clients' personal parameters and buffers by name, each [K, ...].

        Raises:
            ValueError: They are on other machines.
        """
        named = {}
        kept = self._kept(np.arange(len(self.client_params)))
        for layout, rows in zip((self.layout.personal, self.layout.buffers), kept, strict=True):
            named |= {} if rows == () else layout.named(rows)
        return named

    def _kept(self, clients: IntArray) -> Own:
        """Return the personal parts of these clients' models, every tensor [S, ...]."""
        if isinstance(self.clients, ClientTable):
            return self.clients.take(clients).own.parts
        averaged = self.server_state.buffers != () or not self.layout.buffers.names
        if self.layout.personal.names or not averaged:
            raise ValueError("personal parts of a model never leave the clients' machines")
        return Own()

    @property
    def client_states(self) -> Tree:
        """The clients' states, every tensor [K, ...]; gathered at each call."""
        table = self.clients
        return table.everyone() if isinstance(table, ClientTable) else table

    def __repr__(self) -> str:
        last = self.history[-1] if self.history else {}
        values = {key: last[key] for key in SHOWN if last.get(key) is not None}
        row = "".join(
            f", {key}={value:.6g}" if isinstance(value, float) else f", {key}={value}"
            for key, value in values.items()
        )
        return f"Result(rounds={len(self.history)}, parameters={self.params.numel()}{row})"
