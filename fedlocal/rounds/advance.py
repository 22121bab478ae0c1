"""One round of a run, synchronous or asynchronous."""

from time import perf_counter

from fedlocal.rounds.asynchronous import exchanges_round
from fedlocal.rounds.barrier import Row, barrier_round
from fedlocal.rounds.ledger import RoundRecord
from fedlocal.rounds.state import RunState, Simulation
from fedlocal.rounds.training import Turns, completed
from fedlocal.slots import Timing

ROUNDS = {
    Timing.BARRIER: barrier_round,
    Timing.OVERLAPPED: barrier_round,
    Timing.ASYNCHRONOUS: exchanges_round,
}


def advance(sim: Simulation, state: RunState) -> tuple[RunState, Row, RoundRecord]:
    """Run one round; return the next state, its row of metrics, and its ledger record."""
    return completed(advancing(sim, state))


def advancing(sim: Simulation, state: RunState) -> Turns[tuple[RunState, Row, RoundRecord]]:
    """See `advance`; a batched run yields its local training."""
    began = perf_counter()
    after, row, record = yield from ROUNDS[sim.strategy.timing](sim, state)
    row["wall_seconds"] = state.wall_seconds + perf_counter() - began
    return after._replace(wall_seconds=row["wall_seconds"]), row, record
