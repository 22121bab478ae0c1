"""A simulation whose clients live on nodes of an in-process grid, and the network between."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedlocal.flower.handlers import answer_as
from fedlocal.flower.inprocess import InProcessGrid, faultless
from fedlocal.flower.node import FRESH, Node, clients_of
from fedlocal.flower.node_request import NodeRequest
from fedlocal.flower.records import RunSpec
from fedlocal.flower.remote_population import FlowerNodes, Remote
from fedlocal.flower.transport import meet
from fedlocal.rounds.fingerprint import run_digest
from fedlocal.rounds.ledger import Ledger
from fedlocal.rounds.payload import check_messages
from fedlocal.rounds.run_loop import advance
from fedlocal.rounds.state import RunState, Simulation, initial_state

Carry = Callable[[Message], Iterable[Message]]


@dataclass
class Rig:
    """One run over nodes. `tamper` may change what a node answers; see `answered`."""

    sim: Simulation
    num_nodes: int
    carry: Carry = faultless
    tamper: Callable[[int, str, RecordDict], RecordDict] = lambda partition, kind, content: content
    digest: Callable[[int, str], str] = lambda partition, digest: digest
    timeout_seconds: float = 60.0
    patience_seconds: float = 5.0
    state_folder: str = ""
    messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_messages(self.sim)
        self.grid = InProcessGrid(self.client_app(), self.num_nodes, carry=self.carried)

    def carried(self, message: Message) -> Iterable[Message]:
        self.messages.append(message)
        return self.carry(message)

    def client_app(self) -> ClientApp:
        app = ClientApp()

        def reply(kind: str, message: Message, context: Context) -> Message:
            partition = int(context.node_config["partition-id"])
            clients = clients_of(len(self.sim.clients), partition, self.num_nodes)
            node = Node(self.sim, clients)
            folder = f"{self.state_folder}/{partition}" if self.state_folder else ""
            node_request = NodeRequest(
                kind, message.content, context.state, partition, self.num_nodes, state=folder
            )
            digest = self.digest(partition, run_digest(self.sim))
            content, kept = answer_as(node, digest, node_request)
            context.state = RecordDict(dict(kept))
            return Message(self.tamper(partition, kind, content), reply_to=message)

        app.query()(lambda message, context: reply("query", message, context))
        app.train()(lambda message, context: reply("train", message, context))
        app.evaluate()(lambda message, context: reply("evaluate", message, context))
        return app

    def over_nodes(self) -> Simulation:
        run_spec = RunSpec("", run_digest(self.sim))
        population = FlowerNodes(
            self.grid,
            run_spec,
            Remote("run", meet(self.grid, run_spec, 5.0), np.full(len(self.sim.clients), FRESH)),
            self.timeout_seconds,
            self.patience_seconds,
        )
        return replace(self.sim, population=population)

    def run(self) -> tuple[Simulation, RunState, Ledger]:
        with self.grid.running():
            sim = self.over_nodes()
            state, ledger = advanced(sim, initial_state(sim), sim.rounds)
            return sim, state, ledger

    def models(self, sim: Simulation, state: RunState):
        with self.grid.running():
            return sim.population.models(sim, state)


def advanced(sim: Simulation, state: RunState, rounds: int) -> tuple[RunState, Ledger]:
    records = []
    for _ in range(rounds):
        state, _, record = advance(sim, state)
        records.append(record)
    return state, Ledger(tuple(records))


def in_process(sim: Simulation) -> tuple[Simulation, RunState, Ledger]:
    """The same run with all clients in this process."""
    return sim, *advanced(sim, initial_state(sim), sim.rounds)
