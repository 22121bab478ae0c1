"""Messages in transit of an in-process run and their replies, by the rules of a SuperLink."""

import time
from copy import copy
from logging import getLogger

from flwr.app import Message, Metadata

from fedlocal.flower.flower_internals import no_such_message, reply_too_late, validate_message

log = getLogger("flwr")


class Mailbox:
    """Pairs of instruction and reply; a pair is dropped once the reply has been pulled."""

    def __init__(self, run_id: int) -> None:
        self._run_id = run_id
        self._sent: dict[str, Metadata] = {}
        self._replies: dict[str, Message] = {}

    def check(self, message: Message) -> None:
        """Raise ValueError for an instruction that a SuperLink would refuse."""
        wrong = validate_message(message, is_reply_message=False)
        if message.metadata.run_id != self._run_id:
            wrong.append(f"its run is {message.metadata.run_id}, this one is {self._run_id}")
        if wrong:
            raise ValueError(f"cannot push {message.metadata}: {'; '.join(wrong)}")

    def send(self, message: Message) -> bool:
        """Record a sent message; return False if this message is in transit already."""
        message_id = message.metadata.message_id
        if message_id in self._sent:
            return False
        self._sent[message_id] = copy(message.metadata)
        return True

    def receive(self, reply: Message) -> None:
        """Keep a reply; a late, second or malformed one is logged and dropped."""
        answered = reply.metadata.reply_to_message_id
        wrong = validate_message(reply, is_reply_message=True)
        if answered not in self._sent:
            wrong.append("it answers no message under way")
        if answered in self._replies:
            wrong.append("the message has been answered")
        if wrong:
            log.error("Dropped the reply %s: %s", reply.metadata, "; ".join(wrong))
        else:
            self._replies[answered] = reply

    def pull(self, message_id: str) -> Message | None:
        """Return the reply to a message, an error if none can arrive any more, None if one may."""
        answer = self._answer(message_id)
        if answer is not None:
            self._sent.pop(message_id, None)
            self._replies.pop(message_id, None)
        return answer

    def _answer(self, message_id: str) -> Message | None:
        sent, reply = self._sent.get(message_id), self._replies.get(message_id)
        if sent is None or _expired(sent):
            return no_such_message(message_id, self._run_id)
        if reply is not None and _expired(reply.metadata):
            return reply_too_late(sent)
        return reply


def _expired(metadata: Metadata) -> bool:
    return metadata.created_at + metadata.ttl < time.time()
