"""What laws compare: the ends of two runs that see the same mini-batches."""

from functools import lru_cache
from typing import Any

from tests.problems import Problem, distance, simulate

EXACT = 1e-12
DIFFERENT = 1e-4


@lru_cache(maxsize=16)
def end(problem: Problem, strategy: Any, rounds: int = 5, **options: Any) -> Any:
    """The result of a run; remembered, as laws compare many runs with one."""
    result = simulate(problem, strategy, rounds, **{"batch_size": 2, **options})
    # A run that does not move, or blows up, would satisfy any law.
    assert 1e-6 < distance(result.params, problem.start) < 1e3
    return result


def gap(problem: Problem, one: Any, other: Any, rounds: int = 5, **options: Any) -> float:
    """How far apart two strategies end."""
    ends = [end(problem, strategy, rounds, **options).params for strategy in (one, other)]
    return distance(*ends)


def client_gap(problem: Problem, one: Any, other: Any, **options: Any) -> float:
    """How far apart any client's models end under two strategies."""
    return distance(*[end(problem, each, **options).client_params for each in (one, other)])
