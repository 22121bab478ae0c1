"""Lost, doubled and delayed messages."""

from flwr.app import Message, RecordDict

from fedlocal.flower.inprocess import InProcessGrid
from tests.flower.inprocess_counting import app_of, counted, counts, query, records

UNAVAILABLE = 3


def faulty(carry):
    return InProcessGrid(app_of(counted), 2, carry=carry)


def is_reply(message):
    return message.metadata.reply_to_message_id != ""


def delaying(which):
    """Hold back every such message until the next one leaves."""
    held = []

    def carry(message):
        if not which(message):
            return [message]
        held.append(message)
        return [held.pop(0)] if len(held) > 1 else []

    return carry


def test_a_lost_reply_leaves_the_client_a_step_ahead():
    lost = iter([False, True, False, False])
    grid = faulty(lambda m: [] if is_reply(m) and next(lost) else [m])
    with grid.running():
        assert counts(grid.send_and_receive([query(grid, 0), query(grid, 1)], timeout=1)) == [1]
        assert counts(grid.send_and_receive([query(grid, 0), query(grid, 1)])) == [2, 2]


def test_a_lost_instruction_leaves_the_client_behind():
    lost = iter([False, True, False, False])
    grid = faulty(lambda m: [m] if is_reply(m) or not next(lost) else [])
    with grid.running():
        assert counts(grid.send_and_receive([query(grid, 0), query(grid, 1)])) == [1]
        assert counts(grid.send_and_receive([query(grid, 0), query(grid, 1)])) == [2, 1]


def test_a_second_reply_is_dropped():
    grid = faulty(lambda m: [m, m] if is_reply(m) else [m])
    with grid.running():
        assert counts(grid.send_and_receive([query(grid)])) == [1]
        assert counts(grid.send_and_receive([query(grid)])) == [2]


def test_an_instruction_that_arrives_twice_is_worked_on_twice():
    def spoiling(message, context):
        assert len(message.content.pop("metrics")["list"]) == 2
        return counted(message, context)

    grid = InProcessGrid(app_of(spoiling), carry=lambda m: [m] if is_reply(m) else [m, m])
    with grid.running():
        assert counts(grid.send_and_receive([query(grid, 0, records())])) == [1]
        assert counts(grid.send_and_receive([query(grid, 0, records())])) == [3]


def test_a_delayed_reply_can_be_pulled_when_it_has_come():
    grid = faulty(delaying(is_reply))
    with grid.running():
        early = query(grid)
        assert grid.send_and_receive([early]) == []
        assert grid.send_and_receive([query(grid, 1)]) == []
        assert counts(grid.pull_messages([early.metadata.message_id])) == [1]
        # Once its message has been given up, a reply is too late.
        assert grid.pull_messages([early.metadata.message_id])[0].error.code == UNAVAILABLE


def test_a_delayed_message_is_as_it_was_when_it_was_sent():
    found = []

    def note(message, context):
        found.append(message.content["config"]["round"])
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app_of(note), carry=delaying(lambda m: not is_reply(m)))
    with grid.running():
        shared = records()
        grid.push_messages([query(grid, 0, shared)])
        shared["config"]["round"] = 2
        grid.push_messages([query(grid, 0, shared)])
    assert found == [1]
