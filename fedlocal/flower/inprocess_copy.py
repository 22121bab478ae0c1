"""Copies of Flower's messages and contexts that share nothing mutable with the original.

A real run serialises whatever crosses from one side to the other. Here the bytes of arrays, which
nobody can change in place, are shared, so that a copy costs microseconds for a model of any size.
"""

from copy import copy, deepcopy

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from fedlocal.flower.private import make_message

AnyRecord = ArrayRecord | ConfigRecord | MetricRecord


def copied_message(message: Message) -> Message:
    """The message with metadata, content and error of its own."""
    return make_message(
        copy(message.metadata),
        copied_records(message.content) if message.has_content() else None,
        copy(message.error) if message.has_error() else None,
    )


def copied_context(context: Context) -> Context:
    """The context with state and configurations of its own."""
    return Context(
        context.run_id,
        context.node_id,
        dict(context.node_config),
        copied_records(context.state),
        dict(context.run_config),
        context.series_id,
    )


def copied_records(records: RecordDict) -> RecordDict:
    """The records, in their order."""
    return RecordDict({key: _copied(record) for key, record in records.items()})


def _copied(record: AnyRecord) -> AnyRecord:
    # An ArrayRecord made of a dict has Arrays of its own around the same bytes.
    return ArrayRecord(dict(record)) if isinstance(record, ArrayRecord) else deepcopy(record)
