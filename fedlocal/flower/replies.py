"""Replies of nodes: reading them, and deciding which nodes are asked again."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from flwr.app import Array, RecordDict
from torch import Tensor

from fedlocal.flower.records import LOST, STALE, answer_array, array_bytes, read_refusal
from fedlocal.rounds.client import Upload
from fedlocal.rounds.payload import unpack_model, unpack_upload
from fedlocal.rounds.state import RoundPlan, Simulation
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import leaves

log = logging.getLogger(__name__)

# Attempts for a node that answers with something that cannot be used.
ATTEMPTS = 3


class Request(NamedTuple):
    """Request to one node.

    whole: Whether to send the anchor itself instead of a change.
    afresh: Whether its clients start from their initial states, since theirs are lost.
    attempts: Number of attempts so far.
    """

    plan: RoundPlan
    whole: bool
    afresh: bool = False
    attempts: int = 0


# Reader of one client's array in a reply; raises ValueError if it cannot be used.
Read = Callable[[int, Array], Any]


def upload_reader(sim: Simulation, plan: RoundPlan) -> Read:
    """Return the reader of the members' uploads."""
    form = sim.messages.upload

    def read(client: int, array: Array) -> Upload:
        data = array_bytes(array, form.nbytes, form.shortest)
        return unpack_upload(form, data, client, plan, sim.start)

    return read


def gradient_reader(sim: Simulation, plan: RoundPlan) -> Read:
    """Return the reader of the members' gradients."""
    form = sim.messages.model

    def read(client: int, array: Array) -> Tensor:
        data = array_bytes(array, form.nbytes)
        gradient = unpack_model(form, data, client, plan.round_index, sim.start)
        if not gradient.isfinite().all():
            raise ValueError("the gradient holds NaN or infinite values: the model diverged")
        return gradient

    return read


class Settled(NamedTuple):
    """Result of reading replies.

    values: Values by client. reached: Clients that hold the broadcast. again: Requests to repeat.
    """

    values: dict[int, Any]
    reached: IntArray
    again: dict[int, Request]


def settle(
    sim: Simulation,
    pending: dict[int, Request],
    replies: dict[int, RecordDict],
    read: Read,
    everyone: bool,
) -> Settled:
    """Read the replies by partition, and decide which nodes are asked again.

    Raises:
        RuntimeError: A node has lost a state that the method needs.
    """
    values: dict[int, Any] = {}
    reached, again = np.array([], dtype=np.int64), {}
    for partition, request in pending.items():
        outcome = _outcome(sim, request, replies.get(partition), read, everyone)
        values |= outcome.values
        if outcome.reached:
            reached = np.union1d(reached, request.plan.invited)
        if outcome.retry is not None:
            again[partition] = outcome.retry
    return Settled(values, reached, again)


class Outcome(NamedTuple):
    """values: What was read, by client. reached: It has the broadcast. retry: What to ask next."""

    values: dict[int, Any]
    reached: bool
    retry: Request | None


def _outcome(
    sim: Simulation, request: Request, content: RecordDict | None, read: Read, everyone: bool
) -> Outcome:
    if content is None:
        return Outcome({}, False, request if everyone else None)
    again = request._replace(attempts=request.attempts + 1) if everyone else None
    if (refused := read_refusal(content)) is not None:
        cause, text = refused
        log.warning("a machine cannot do round %d: %s", request.plan.round_index, text)
        if cause == STALE and not request.whole:
            again = request._replace(whole=True)
        elif cause == LOST and not request.afresh:
            again = _afresh(sim, request, text)
        return Outcome({}, False, again)
    values = _read_all(request.plan, content, read)
    complete = len(values) == len(request.plan.members)
    return Outcome(values, True, None if complete else again)


def _read_all(plan: RoundPlan, content: RecordDict, read: Read) -> dict[int, Any]:
    values = {}
    for client in map(int, plan.members):
        try:
            values[client] = read(client, answer_array(content, client))
        except ValueError as error:
            log.warning("client %d in round %d is refused: %s", client, plan.round_index, error)
    return values


def _afresh(sim: Simulation, request: Request, text: str) -> Request:
    """Return the request to start from initial states, where the method allows it.

    A lost residual or momentum buffer costs some progress; a drift, a control variate or a client's
    own model is one half of a pair whose other half is on the server.
    """
    kept = sim.fresh_client()
    if any(True for _ in leaves((kept.correction, kept.mixing, kept.own))):
        raise RuntimeError(
            f"the run cannot go on: {text}, and the method cannot do without it. Start SuperNodes"
            " with 'state=FOLDER' in --node-config: then it outlives them"
        )
    log.warning("its clients %s begin anew", request.plan.members.tolist())
    return request._replace(afresh=True)


def check_hope(again: dict[int, Request], late: bool) -> None:
    """Raise RuntimeError if those that have to be asked again will not answer."""
    tried = [partition for partition, request in again.items() if request.attempts >= ATTEMPTS]
    if tried or (late and again):
        raise RuntimeError(
            f"the machines of partitions {tried or sorted(again)} gave no answer that can be used,"
            " and every client is needed: the log above says why. Restart them, or take a method"
            " that allows clients to be missing (local_sgd, fedavg, slowmo)"
        )
