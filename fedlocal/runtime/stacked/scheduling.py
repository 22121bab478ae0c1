"""Scheduling of batched runs: each proceeds until its clients train, then all train at once."""

from collections.abc import Callable, Sequence

from fedlocal.rounds.training_request import T, Trained, Training, Turns

# Result of a training; None where the run must train by itself.
Outcome = Trained | Exception | None


def in_turns(runs: Sequence[Turns[T]], train: Callable[[list[Training]], list[Outcome]]) -> list[T]:
    """Return the results of the runs.

    Args:
        runs: Generators that yield their trainings.
        train: Returns the result of each training that the unfinished runs have yielded, in order.
            An exception is raised where the run waits.

    Raises:
        BaseException: Exception of a run; the others are closed where they wait.
    """
    results: dict[int, T] = {}
    outcomes: dict[int, Outcome] = dict.fromkeys(range(len(runs)))
    try:
        while outcomes:
            asked: dict[int, Training] = {}
            for index, outcome in outcomes.items():
                try:
                    asked[index] = _resume(runs[index], outcome)
                except StopIteration as end:
                    results[index] = end.value
            outcomes = dict(zip(asked, train(list(asked.values())), strict=True))
    finally:
        for run in runs:
            run.close()
    return [results[index] for index in range(len(runs))]


def _resume(run: Turns[T], outcome: Outcome) -> Training:
    """Resume a run with the result of its last training; return its next training."""
    return run.throw(outcome) if isinstance(outcome, Exception) else run.send(outcome)
