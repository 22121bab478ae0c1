"""The whole family as one Flower strategy, for a user's own ServerApp.

    strategy = FedLocal("strategy=vrl_sgd K=4 H=10")
    result = strategy.start(grid, strategy.initial_arrays(), num_rounds=20)

The ClientApp is that of `fedlocal.flower.client_app`. Fedlocal's own ServerApp does not use this:
it polls for replies more often, asks again where a method needs every client, and writes a run
folder.
"""

from collections.abc import Iterable
from dataclasses import replace
from logging import getLogger
from math import isfinite

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from fedlocal.config.build import build
from fedlocal.config.compose import compose
from fedlocal.config.errors import ConfigError
from fedlocal.flower.remote_population import FlowerNodes, count_uploads, population
from fedlocal.flower.replies import Request, settle, upload_reader
from fedlocal.rounds.metrics import Row
from fedlocal.rounds.state import RoundPlan, RunState, Simulation, consensus, initial_state
from fedlocal.rounds.synchronous import conclude, plan_round
from fedlocal.slots import Timing
from fedlocal.slots.strategy import Strategy as FilledSlots
from fedlocal.vectors.trees import Tree

log = getLogger(__name__)


class FedLocal(Strategy):
    """Strategy that drives one run. Flower's interface has no way to hand the state in and out.

    Attributes:
        history: Rows of metrics of the rounds so far.
        state: State of the run; None before the first round.
    """

    def __init__(self, overrides: str = "", patience_seconds: float = 600.0) -> None:
        """Compose and build the run.

        Args:
            overrides: As on the command line, for example "strategy=vrl_sgd K=4".
            patience_seconds: Wait for the nodes before the first round.

        Raises:
            ConfigError: The overrides are invalid.
        """
        self.overrides = overrides
        self.sim: Simulation = build(compose(overrides).cfg).simulation
        _check_rounds(self.sim.strategy)
        self.patience_seconds = patience_seconds
        self.state: RunState | None = None
        self.history: list[Row] = []
        self._asked: tuple[RoundPlan, dict[int, Request], dict[int, int]] | None = None

    def initial_arrays(self) -> ArrayRecord:
        """Return the initial model: its shared parameters, by name."""
        return self._named(self.sim.start, self.sim.averaged_buffers)

    def summary(self) -> None:
        """Log what runs."""
        log.info("%s over %d clients", self.sim.strategy, len(self.sim.clients))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return a message to every node that holds members of the cohort."""
        if self.state is None:
            self._begin(arrays, grid)
        assert self.state is not None
        sim, state, remote = self.sim, self.state, self.state.clients
        nodes = _nodes(sim)
        plan = plan_round(sim, state)
        pending = nodes.requests(sim, remote, plan)
        where = {remote.machines[partition].node: partition for partition in pending}
        self._asked = plan, pending, where
        train_requests = nodes.train_requests(sim, state, remote, pending)
        return [
            Message(train_requests[partition], node, "train") for node, partition in where.items()
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """Return the next model and the round's row of metrics.

        Raises:
            RuntimeError: A client is missing and the method needs every one.
        """
        assert self.state is not None and self._asked is not None
        sim, (plan, pending, where) = self.sim, self._asked
        contents = {
            where[reply.metadata.src_node_id]: reply.content
            for reply in replies
            if not reply.has_error()
        }
        read = upload_reader(sim, plan)
        settled = settle(sim, pending, contents, read, sim.strategy.needs_everyone)
        if settled.again and sim.strategy.needs_everyone:
            raise RuntimeError(
                f"no sound reply from the partitions {sorted(settled.again)}, and {sim.strategy}"
                " needs every client; fedlocal's own ServerApp would ask them again"
            )
        clients, answers = count_uploads(
            sim, self.state.clients, plan, settled.values, settled.reached
        )
        self.state, row, _ = conclude(sim, self.state, plan, clients, answers)
        self.history.append(row)
        return self._named(consensus(sim, self.state), self.state.server.buffers), _metrics(row)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return nothing: a round's row holds its evaluation."""
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Return nothing, see `configure_evaluate`."""
        return None

    def _begin(self, arrays: ArrayRecord, grid: Grid) -> None:
        given = {key: array.numpy() for key, array in arrays.items()}
        for key, array in self.initial_arrays().items():
            if key not in given or not np.array_equal(given[key], array.numpy()):
                raise ValueError(
                    f"initial_arrays differ from the configured model in {key}; pass"
                    " strategy.initial_arrays(), both ends start from it"
                )
        nodes = population(self.sim, self.overrides, grid, self.patience_seconds)
        self.sim = replace(self.sim, population=nodes)
        self.state = initial_state(self.sim)

    def _named(self, x: Tensor, buffers: Tree) -> ArrayRecord:
        """Return the parameters x [P], and the averaged buffers [B] if there are any, by name."""
        named = self.sim.objective.spec.named(x)
        if buffers != ():
            named |= self.sim.objective.layout.buffers.named(buffers)
        return ArrayRecord({key: t.detach().cpu() for key, t in named.items()})


def _check_rounds(strategy: FilledSlots) -> None:
    if strategy.timing is Timing.ASYNCHRONOUS or strategy.correction.needs_gradient_exchange:
        raise ConfigError(
            "rounds of a Flower Strategy are one exchange with a barrier, and those of this method"
            " are not; use fedlocal's own ServerApp: fedlocal runtime=flower, or flwr run"
        )


def _nodes(sim: Simulation) -> FlowerNodes:
    assert isinstance(sim.population, FlowerNodes)
    return sim.population


def _metrics(row: Row) -> MetricRecord:
    return MetricRecord({k: v for k, v in row.items() if v is not None and isfinite(v)})
