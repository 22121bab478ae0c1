"""Parts of Flower that are not documented, in one place (docs/decisions/0012-private-apis.md).

Everything else in this folder uses `flwr.app`, `flwr.clientapp`, `flwr.serverapp` and Flower's
commands.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from flwr.app import Message, Metadata
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.server.utils import validate_message
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "SUPERLINK_NODE_ID",
    "ErrorCode",
    "Run",
    "make_message",
    "name_by_content",
    "no_such_message",
    "reply_too_late",
    "server_identity",
    "validate_message",
]

# Flower has one identity per process, so a run in another thread waits for its turn.
_ONE_RUN = RLock()
_IDENTITY = ("run_id", "task_id", "node_id")


@contextmanager
def server_identity(run_id: int) -> Iterator[None]:
    """Construct messages as in the ServerApp of this run; may be nested.

    Replies take their identity from the message they answer, so a ClientApp needs none.
    """
    with _ONE_RUN:
        before = [_identity(name) for name in _IDENTITY]
        try:
            _identify(run_id, 1, SUPERLINK_NODE_ID)
            yield
        finally:
            _identify(*before)


def _identity(name: str) -> int | None:
    try:
        return getattr(TaskIdentity, name)
    except RuntimeError:
        # It was never set.
        return None


def _identify(*identity: int | None) -> None:
    for name, value in zip(_IDENTITY, identity, strict=True):
        setattr(TaskIdentity, name, value)


def name_by_content(message: Message) -> Message:
    """Set the message's id to the hash of its content, as a deployment does; returns it."""
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


# Flower's module of these errors takes seconds to import its databases, and few runs need it.


def no_such_message(message_id: str, run_id: int) -> Message:
    """Return the SuperLink's answer to who asks for a message that it does not know."""
    from flwr.server.superlink.linkstate.utils import create_message_error_unavailable_ins_message

    return create_message_error_unavailable_ins_message(message_id, run_id)


def reply_too_late(sent: Metadata) -> Message:
    """Return the SuperLink's answer to who asks for a reply that came too late."""
    from flwr.server.superlink.linkstate.utils import create_message_error_unavailable_res_message

    return create_message_error_unavailable_res_message(sent, "msg_unavail")
