import pytest

from fedlocal.runtime.stacked.turns import ask, in_turns


def test_questions_of_all_that_still_run_are_answered_together():
    asked = []

    def counts(name, times):
        def run():
            return [ask((name, turn)) for turn in range(times)]

        return run

    def answer(questions):
        asked.append(questions)
        return [f"{name}{turn}" for name, turn in questions]

    results = in_turns([counts("a", 3), counts("b", 0), counts("c", 2)], answer)
    assert results == [["a0", "a1", "a2"], [], ["c0", "c1"]]
    assert asked == [[("a", 0), ("c", 0)], [("a", 1), ("c", 1)], [("a", 2)]]


def test_turns_are_announced():
    said = []
    functions = [lambda: ask("q"), lambda: 1]
    in_turns(functions, lambda qs: qs, lambda i: said.append(i), lambda i: said.append(-i - 1))
    assert said == [0, -1, 1, -2, 0, -1]


def test_an_error_ends_all_and_the_others_clean_up():
    cleaned = []

    def waits():
        try:
            ask("q")
            ask("q")
        finally:
            cleaned.append(1)

    def fails():
        ask("q")
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        in_turns([waits, fails], lambda qs: qs)
    assert cleaned == [1]


def test_outside_of_turns_nobody_answers():
    with pytest.raises(RuntimeError, match="nobody answers"):
        ask("q")
