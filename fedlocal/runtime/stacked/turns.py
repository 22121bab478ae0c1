"""Runs that take turns: each goes on until its clients train, and all clients train at once."""

from collections.abc import Callable, Sequence

from fedlocal.rounds.training import T, Trained, Training, Turns

# What came of a training; None where the run is to train by itself.
Outcome = Trained | Exception | None


def in_turns(runs: Sequence[Turns[T]], train: Callable[[list[Training]], list[Outcome]]) -> list[T]:
    """Results of the runs.

    Args:
        runs: Each goes on until it yields a training; then the next does.
        train: Given what the runs that are not over have yielded, in order, gives what comes of
            each. An exception is raised where the run waits.

    Raises:
        BaseException: What a run raises; the others are closed where they wait.
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
    """The run's next training, after what came of the last."""
    return run.throw(outcome) if isinstance(outcome, Exception) else run.send(outcome)
