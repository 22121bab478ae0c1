"""The result of a run."""

from dataclasses import dataclass

from torch import Tensor, nn

from fedlocal.client_table import ClientTable
from fedlocal.ledger import Ledger
from fedlocal.rounds.barrier import Row
from fedlocal.server import ServerState
from fedlocal.trees import Tree

# Metrics of the last row that a result prints.
SHOWN = (
    "local_loss", "train_loss", "test_loss", "test_accuracy",
    "uplink_bytes", "downlink_bytes", "sim_seconds",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a run leaves behind.

    Attributes:
        history: One dict of metrics per round; bytes, steps and seconds are cumulative, None
            where a quantity is not defined.
        model: The trained module in eval mode (the mean model where clients differ). Personal
            parameters and personal buffers in it are those of the start.
        params: The shared parameters, [P].
        client_params: Each client's model after the last synchronisation, [K, P]; of an
            asynchronous run what each would read now.
        server_state: The server's state.
        clients: Where the clients' states are.
        ledger: What every round sent and computed.
    """

    history: list[Row]
    model: nn.Module
    params: Tensor
    client_params: Tensor
    server_state: ServerState
    clients: Tree
    ledger: Ledger

    @property
    def client_states(self) -> Tree:
        """The clients' states, every tensor [K, ...]; put together anew each time."""
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
