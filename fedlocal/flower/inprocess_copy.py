"""Copies of Flower's messages and contexts that share nothing mutable with the original.

A real run serialises everything that crosses from one side to the other. Here the immutable bytes
of arrays are shared, so a copy takes microseconds for models of any size.
"""

from copy import copy, deepcopy

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from fedlocal.flower.flower_internals import make_message

AnyRecord = ArrayRecord | ConfigRecord | MetricRecord


def copied_message(message: Message) -> Message:
    """Return a copy of the message with its own metadata, content and error."""
    return make_message(
        copy(message.metadata),
        copied_records(message.content) if message.has_content() else None,
        copy(message.error) if message.has_error() else None,
    )


def copied_context(context: Context) -> Context:
    """Return a copy of the context with its own state and configurations."""
    return Context(
        context.run_id,
        context.node_id,
        dict(context.node_config),
        copied_records(context.state),
        dict(context.run_config),
        context.series_id,
    )


def copied_records(records: RecordDict) -> RecordDict:
    """Return copies of the records, in their order."""
    return RecordDict({key: _copied(record) for key, record in records.items()})


def _copied(record: AnyRecord) -> AnyRecord:
    # An ArrayRecord made from a dict holds new Arrays around the same bytes.
    return ArrayRecord(dict(record)) if isinstance(record, ArrayRecord) else deepcopy(record)
