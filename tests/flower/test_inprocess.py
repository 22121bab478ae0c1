"""An app in one process sees what it would see on a SuperLink and its SuperNodes."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import DEFAULT_TTL, Array, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

import fedlocal.flower.inprocess_mailbox as mailbox
from fedlocal.flower.inprocess import InProcessGrid, run_in_process
from tests.flower.inprocess_counting import app_of, counted, counts, query, records

UNAVAILABLE, REPLY_UNAVAILABLE, RAISED, CRASHED = 3, 4, 2, 8


@pytest.fixture
def grid():
    grid = InProcessGrid(app_of(counted), 3)
    with grid.running():
        yield grid


def test_a_client_sees_its_partition_and_the_run_configuration():
    seen = []

    def note(message, context):
        seen.append((context.node_id, context.node_config, context.run_config, context.run_id))
        return Message(RecordDict(), reply_to=message)

    own = [{"file": "a"}, {"file": "b"}]
    grid = InProcessGrid(app_of(note), 2, {"lr": 0.5}, own)
    with grid.running():
        grid.send_and_receive([query(grid, 0), query(grid, 1)])
    for partition, (node_id, node_config, run_config, run_id) in enumerate(seen):
        assert node_id == grid.get_node_ids()[partition]
        name = own[partition]["file"]
        assert node_config == {"partition-id": partition, "num-partitions": 2, "file": name}
        assert run_config == {"lr": 0.5}
        assert run_id == grid.run.run_id
    assert InProcessGrid(app_of(note), 2).get_node_ids() == grid.get_node_ids()
    assert [node.node_id for node in grid.get_nodes()] == [node_id for node_id, *_ in seen]


def test_metadata_is_that_of_a_real_run():
    arrived = []

    def echo(message, context):
        arrived.append(message.metadata)
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app_of(echo), 2)
    with grid.running():
        message = query(grid, 1, group_id="7", ttl=100.0)
        (reply,) = grid.send_and_receive([message])
    (there,), back = arrived, reply.metadata
    assert there.message_id == message.metadata.message_id == message.object_id
    assert there.src_node_id == 1 and there.dst_node_id == grid.get_node_ids()[1]
    assert there.reply_to_message_id == "" and there.ttl == 100.0 and there.group_id == "7"
    assert (back.src_node_id, back.dst_node_id) == (there.dst_node_id, there.src_node_id)
    assert back.reply_to_message_id == there.message_id != back.message_id != ""
    assert back.run_id == there.run_id == grid.run.run_id
    assert back.message_type == "query" and back.group_id == "7"
    # A reply may not outlive the message that it answers.
    assert back.created_at + back.ttl == pytest.approx(there.created_at + 100.0)


def test_the_default_ttl_is_flowers():
    grid = InProcessGrid(app_of(counted))
    with grid.running():
        assert query(grid).metadata.ttl == DEFAULT_TTL
        assert grid.create_message(RecordDict(), "query", 5, "2").metadata.group_id == "2"


def test_state_lasts_per_node(grid):
    for expected in (1, 2, 3):
        assert counts(grid.send_and_receive([query(grid, 0)])) == [expected]
    assert counts(grid.send_and_receive([query(grid, 1), query(grid, 0)])) == [1, 4]


def test_another_run_starts_with_empty_states():
    server, seen = ServerApp(), []

    @server.main()
    def main(grid, context):
        seen.extend(counts(grid.send_and_receive([query(grid), query(grid)])))

    app = app_of(counted)
    run_in_process(server, app)
    run_in_process(server, app)
    assert seen == [1, 2, 1, 2]


def spoil(found):
    found["arrays"]["w"].numpy()[:] = -1
    found["arrays"]["w"].data = Array(np.zeros(3)).data
    found["arrays"]["v"] = Array(np.ones(1))
    found["metrics"]["list"].append(3)
    found["config"]["words"].clear()
    found["config"]["round"] = 9
    found["new"] = MetricRecord({"x": 1})


def intact(found):
    np.testing.assert_array_equal(found["arrays"]["w"].numpy(), np.arange(3.0))
    return found == records()


def test_neither_side_can_change_what_the_other_holds():
    kept = []

    def hold(message, context):
        assert intact(message.content)
        spoil(message.content)
        message.metadata.group_id = "spoilt"
        reply = Message(records(), reply_to=message)
        kept.append(reply)
        return reply

    grid = InProcessGrid(app_of(hold), 2)
    with grid.running():
        shared = records()
        messages = [query(grid, node, shared, group_id="1") for node in (0, 1)]
        ids = grid.push_messages(messages)
        assert intact(shared) and messages[0].metadata.group_id == "1"
        spoil(kept[0].content)
        messages[0].metadata.ttl = -1.0
        first, second = grid.pull_messages(ids)
        spoil(second.content)
    assert intact(first.content)
    assert intact(kept[1].content)


def test_a_state_that_was_kept_is_not_the_nodes():
    kept = []

    def hold(message, context):
        if kept:
            spoil(kept[0])
        if not context.state:
            for name, record in records().items():
                context.state[name] = record
            kept.append(context.state)
        assert intact(context.state)
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app_of(hold))
    with grid.running():
        # The second message, to another node, changes what the first one left behind.
        for reply in grid.send_and_receive([query(grid, node) for node in (0, 1, 0, 0)]):
            assert reply.has_content(), reply.error.reason
    assert "new" in kept[0]


def test_an_exception_is_an_error_reply_and_the_run_goes_on():
    def fail(message, context):
        reply = counted(message, context)
        if context.node_config["partition-id"] == 0:
            raise ZeroDivisionError("no way")
        return reply

    grid = InProcessGrid(app_of(fail), 2)
    with grid.running():
        failed, fine = grid.send_and_receive([query(grid, 0, group_id="3"), query(grid, 1)])
    assert counts([fine]) == [1]
    assert not failed.has_content()
    assert failed.error.code == RAISED
    assert failed.error.reason == "<class 'ZeroDivisionError'>:<'no way'>"
    assert [failed.metadata.src_node_id, fine.metadata.src_node_id] == grid.get_node_ids()
    assert failed.metadata.group_id == "3" and failed.metadata.message_id


def test_a_failing_client_keeps_its_state_and_a_crashing_one_loses_the_last():
    def fail(message, context):
        reply = counted(message, context)
        count = reply.content["seen"]["count"]
        if count == 2:
            raise ValueError
        if count == 3 and "stop" in message.content:
            sys.exit("out of memory")
        return reply

    grid = InProcessGrid(app_of(fail))
    with grid.running():
        stop = RecordDict({"stop": MetricRecord({})})
        steps = [query(grid), query(grid), query(grid, 0, stop), query(grid)]
        first, failed, crashed, last = grid.send_and_receive(steps)
    assert counts([first, last]) == [1, 3]
    assert failed.error.code == RAISED
    assert crashed.error.code == CRASHED
    assert crashed.error.reason == "ClientApp stopped responding."


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda message: None, "the ClientApp returned NoneType"),
        (
            lambda message: Message(
                RecordDict({"m": MetricRecord({"big": 2**80})}), reply_to=message
            ),
            "Value out of range",
        ),
    ],
)
def test_an_answer_that_cannot_be_sent_is_an_error_reply(answer, reason):
    grid = InProcessGrid(app_of(lambda message, context: answer(message)))
    with grid.running():
        (reply,) = grid.send_and_receive([query(grid)])
    assert reply.error.code == RAISED and reason in reply.error.reason


def test_what_is_no_reply_is_dropped():
    app = ClientApp()
    app.query()(lambda message, context: message)
    app.query("foreign")(lambda message, context: Message(RecordDict(), 1, "query"))
    grid = InProcessGrid(app)
    with grid.running():
        sent = [query(grid), query(grid, kind="query.foreign")]
        assert grid.send_and_receive(sent) == []


def test_named_actions_and_an_unknown_one():
    app = ClientApp()
    for category in (app.train, app.evaluate, app.query):
        category("special")(counted)
    grid = InProcessGrid(app)
    with grid.running():
        kinds = ("train.special", "evaluate.special", "query.special", "train")
        *fine, unknown = grid.send_and_receive([query(grid, kind=kind) for kind in kinds])
    assert counts(fine) == [1, 2, 3]
    assert unknown.error.code == RAISED
    assert "No train function registered with name 'default'" in unknown.error.reason


def test_mods_and_lifespans_surround_the_functions():
    order = []

    def mod(name):
        def around(message, context, call_next):
            order.append(f"{name} in")
            reply = call_next(message, context)
            order.append(f"{name} out")
            return reply

        return around

    client, server = ClientApp(mods=[mod("every")]), ServerApp()

    @client.lifespan()
    def client_lifespan(context):
        order.append(f"start {context.node_config['partition-id']}")
        yield
        order.append("stop")

    @client.train(mods=[mod("train only")])
    def train(message, context):
        order.append("train")
        return Message(RecordDict(), reply_to=message)

    @server.lifespan()
    def server_lifespan(context):
        order.append("open")
        yield
        order.append("close")

    @server.main()
    def main(grid, context):
        grid.send_and_receive([query(grid, 1, kind="train")])

    run_in_process(server, client)
    inside = ["every in", "train only in", "train", "train only out", "every out"]
    assert order == ["open", "start 1", *inside, "stop", "close"]


def test_the_servers_context_comes_back():
    server = ServerApp()

    @server.main()
    def main(grid, context):
        assert (context.node_id, context.node_config) == (1, {})
        context.state["done"] = MetricRecord({"lr": context.run_config["lr"]})

    context = run_in_process(server, app_of(counted), run_config={"lr": 0.25})
    assert context.state["done"]["lr"] == 0.25


def test_an_unknown_node_spoils_only_its_own_message(grid):
    ids = grid.push_messages([Message(RecordDict(), 12345, "query"), query(grid)])
    assert ids[0] == "" and counts(grid.pull_messages(ids[1:])) == [1]
    (unavailable,) = grid.pull_messages(ids[:1])
    assert unavailable.error.code == UNAVAILABLE


def test_a_reply_can_be_pulled_once(grid):
    ids = grid.push_messages([query(grid), query(grid, 1)])
    assert counts(grid.pull_messages([*ids, *ids])) == [1, 1]
    for answer, message_id in zip(grid.pull_messages(ids), ids, strict=True):
        assert answer.error.code == UNAVAILABLE
        assert answer.metadata.reply_to_message_id == message_id
        assert answer.metadata.src_node_id == answer.metadata.dst_node_id == 1


def test_nothing_sent_nothing_received(grid):
    assert grid.push_messages([]) == grid.pull_messages([]) == grid.send_and_receive([]) == []


def test_the_same_message_again_is_answered_once_until_its_reply_was_pulled(grid):
    message = query(grid)
    ids = grid.push_messages([message, message])
    assert grid.push_messages([message]) == ids[:1] == ids[1:]
    assert counts(grid.pull_messages(ids)) == [1]
    assert counts(grid.send_and_receive([message])) == [2]


def having(name, value):
    def changed(message):
        message.metadata.__dict__[f"_{name}"] = value
        return message

    return changed


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (having("ttl", -1.0), "ttl"),
        (having("created_at", 1.8e9 - 1e8), "expired"),
        (having("run_id", 10**6), "its run is 1000000"),
        (having("src_node_id", 5), "src_node_id"),
        (lambda message: Message(RecordDict(), reply_to=message), "reply|src_node_id"),
    ],
)
def test_a_malformed_message_is_refused_before_anything_is_sent(grid, change, complaint):
    with pytest.raises(ValueError, match=complaint):
        grid.push_messages([query(grid), change(query(grid))])
    assert counts(grid.send_and_receive([query(grid)])) == [1]


def test_messages_and_replies_expire(grid, monkeypatch):
    def hasty(message, context):
        return Message(RecordDict(), reply_to=message, ttl=50.0)

    grid = InProcessGrid(app_of(hasty))
    with grid.running():
        message = query(grid, ttl=100.0)
        for later, code in ((60, REPLY_UNAVAILABLE), (110, UNAVAILABLE)):
            ids = grid.push_messages([message])
            with monkeypatch.context() as patch:
                now = message.metadata.created_at + later
                patch.setattr(mailbox, "time", SimpleNamespace(time=lambda now=now: now))
                (answer,) = grid.pull_messages(ids)
            assert answer.error.code == code


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_supernodes": 0}, "num_supernodes must be >= 1, got 0"),
        ({"num_supernodes": 3, "node_configs": [{}]}, "1 node_configs for 3 nodes"),
        ({"run_config": {"a": {"lr": 1}}}, "Flower takes .*, got a=.*'lr': 1"),
        ({"node_configs": [{}, {"ids": [1]}]}, "got ids=.1."),
        ({"seed": -1}, "non-negative"),
    ],
)
def test_a_wrong_setting_is_refused(options, complaint):
    server = ServerApp()
    server.main()(lambda grid, context: None)
    with pytest.raises(ValueError, match=complaint):
        run_in_process(server, app_of(counted), **options)
