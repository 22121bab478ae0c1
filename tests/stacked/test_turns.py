import pytest

from fedlocal.rounds.training_request import complete
from fedlocal.runtime.stacked.scheduling import in_turns


def asks(name, times):
    answers = []
    for turn in range(times):
        answers.append((yield name, turn))
    return answers


def echo(questions):
    return [f"{name}{turn}" for name, turn in questions]


def test_questions_of_all_that_still_run_are_answered_together():
    asked = []

    def answer(questions):
        asked.append(questions)
        return echo(questions)

    results = in_turns([asks("a", 3), asks("b", 0), asks("c", 2)], answer)
    assert results == [["a0", "a1", "a2"], [], ["c0", "c1"]]
    assert asked[:3] == [[("a", 0), ("c", 0)], [("a", 1), ("c", 1)], [("a", 2)]]


def test_an_error_ends_all_and_the_others_clean_up():
    cleaned = []

    def waits():
        try:
            yield from asks("w", 2)
        finally:
            cleaned.append(1)

    def fails():
        yield "f", 0
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        in_turns([waits(), fails()], echo)
    assert cleaned == [1]


def test_an_answer_that_is_an_error_is_raised_where_its_question_was_asked():
    def heeds():
        try:
            yield from asks("h", 2)
        except ValueError as error:
            return str(error)

    def answer(questions):
        return [ValueError("no") if name == "h" else "yes" for name, _ in questions]

    assert in_turns([heeds(), asks("a", 1)], answer) == ["no", ["yes"]]


def test_outside_of_turns_nobody_answers():
    assert complete(asks("a", 0)) == []
    with pytest.raises(RuntimeError, match="part of a batched sweep"):
        complete(asks("a", 1))
