"""Runs round by round, and how far two of them are apart."""

from fedlocal.rounds.advance import advance
from fedlocal.simulation import RunState, Simulation, initial_state
from fedlocal.trees import leaves


def advanced(sim: Simulation, state: RunState, rounds: int) -> RunState:
    for _ in range(rounds):
        state, _, _ = advance(sim, state)
    return state


def final(sim: Simulation) -> RunState:
    return advanced(sim, initial_state(sim), sim.rounds)


def largest_difference(a: RunState, b: RunState) -> float:
    trees = [(s.server, s.clients) for s in (a, b)]
    pairs = zip(leaves(trees[0]), leaves(trees[1]), strict=True)
    return max(float((x - y).abs().max()) for x, y in pairs if x.numel())
