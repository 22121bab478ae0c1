"""A ClientApp that counts its messages, and what the tests of the in-process grid ask it."""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp


def counted(message, context):
    """Whether this is its node's first message, second, ...: the state remembers."""
    count = 1 + (context.state["seen"]["count"] if "seen" in context.state else 0)
    context.state["seen"] = MetricRecord({"count": count})
    return Message(RecordDict({"seen": context.state["seen"]}), reply_to=message)


def app_of(function):
    app = ClientApp()
    app.query()(function)
    return app


def query(grid, node=0, records=None, kind="query", **options):
    """A message to the node of a partition."""
    return Message(records or RecordDict(), list(grid.get_node_ids())[node], kind, **options)


def counts(replies):
    return [reply.content["seen"]["count"] for reply in replies]


def records():
    return RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(np.arange(3.0))}),
            "metrics": MetricRecord({"list": [1, 2]}),
            "config": ConfigRecord({"words": ["a", "b"], "round": 1}),
        }
    )
