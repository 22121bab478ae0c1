"""What laws compare: the ends of two runs that see the same mini-batches."""

from tests.problems import Problem, distance, simulate

EXACT = 1e-12
DIFFERENT = 1e-4


def gap(problem: Problem, one, other, rounds=5, **options) -> float:
    """How far apart two strategies end."""
    options = {"batch_size": 2, **options}
    ends = [simulate(problem, strategy, rounds, **options).params for strategy in (one, other)]
    # A run that does not move, or blows up, would satisfy any law.
    assert 1e-6 < distance(ends[0], problem.start) < 1e3
    return distance(*ends)
