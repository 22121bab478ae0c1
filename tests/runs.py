"""Runs round by round, and how far two of them are apart."""

from fedlocal.rounds.run_loop import advance
from fedlocal.rounds.state import RunState, Simulation, initial_state
from fedlocal.vectors.trees import Tree, leaves


def advanced(sim: Simulation, state: RunState, rounds: int) -> RunState:
    for _ in range(rounds):
        state, _, _ = advance(sim, state)
    return state


def final(sim: Simulation) -> RunState:
    return advanced(sim, initial_state(sim), sim.rounds)


def held(state: RunState) -> Tree:
    """All tensors that a run in this process keeps between rounds."""
    return state.server, state.clients.everyone()


def largest_difference(a: RunState, b: RunState) -> float:
    pairs = zip(leaves(held(a)), leaves(held(b)), strict=True)
    return max(float((x - y).abs().max()) for x, y in pairs if x.numel())
