"""Functions that run in turns in one thread, each until it asks for something.

What they ask is answered together. Greenlets and not threads: every function keeps its stack, one
runs at a time, and where it stops is where it says so.
"""

from collections.abc import Callable, Sequence
from typing import Any

from greenlet import getcurrent, greenlet

Answer = Callable[[list[Any]], list[Any]]


def ask(question: Any) -> Any:
    """Wait, in a function that runs in turns, until the question is answered."""
    hub = getcurrent().parent
    if hub is None:
        raise RuntimeError("nobody answers: ask() is for functions that in_turns() runs")
    return hub.switch(question)


def in_turns(
    functions: Sequence[Callable[[], Any]],
    answer: Answer,
    enter: Callable[[int], None] = lambda index: None,
    leave: Callable[[int], None] = lambda index: None,
) -> list[Any]:
    """Results of the functions.

    Args:
        functions: Each runs until it asks; then the next does.
        answer: Given the questions of all that still run, in order, gives their answers.
        enter: Called with a function's index before each of its turns.
        leave: And after it.

    Raises:
        BaseException: What a function raises; the others are then ended where they wait.
    """
    # A greenlet of its own: what asks looks for the hub as its parent.
    runs = [greenlet(function) for function in functions]
    said: list[Any] = [None] * len(runs)

    def turn(index: int, *given: Any) -> None:
        enter(index)
        said[index] = runs[index].switch(*given)
        leave(index)

    try:
        for index in range(len(runs)):
            turn(index)
        while waiting := [index for index, run in enumerate(runs) if not run.dead]:
            answers = answer([said[index] for index in waiting])
            for index, given in zip(waiting, answers, strict=True):
                turn(index, given)
    finally:
        for run in runs:
            if not run.dead:
                run.throw()
    return said
