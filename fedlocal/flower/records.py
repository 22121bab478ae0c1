"""Conversion between Flower records and messages. Content that does not fit is refused unread."""

from typing import NamedTuple

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from fedlocal.flower.node import Delivery, NodeState
from fedlocal.rounds.message_formats import MessageFormats
from fedlocal.rounds.state import RoundPlan
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import leaves, tree_map

VERSION = 1
STYPE = "fedlocal.payload"


# Causes of refusals.
STALE, LOST, DIFFERENT, BROKEN = "stale", "lost", "different", "broken"


class RunSpec(NamedTuple):
    """Specification of a run. overrides: Overrides both ends build the run from.

    digest: Its digest.
    """

    overrides: str
    digest: str


class TrainRequest(NamedTuple):
    """Request to a node. run: Token of the run; states of other runs are never mixed with it."""

    run: str
    run_spec: RunSpec
    delivery: Delivery


def write_run_spec(run_spec: RunSpec) -> ConfigRecord:
    """Return the record of the run specification, part of every message to a node."""
    return ConfigRecord({"version": VERSION, **run_spec._asdict()})


def read_run_spec(content: RecordDict) -> RunSpec:
    """Read a record written by `write_run_spec`.

    Raises:
        ValueError: Another version.
    """
    record = content.config_records["pact"]
    if record["version"] != VERSION:
        raise ValueError(
            f"the message is of version {record['version']}, this machine reads {VERSION};"
            " install the same fedlocal on both ends"
        )
    return RunSpec(str(record["overrides"]), str(record["digest"]))


def write_train_request(train_request: TrainRequest) -> RecordDict:
    """Return the content of a message to a node."""
    plan, delivery = train_request.delivery.plan, train_request.delivery
    head = ConfigRecord(
        {
            "run": train_request.run,
            "round": plan.round_index,
            "first-step": plan.first_step,
            "whole": delivery.whole,
            "survey": plan.survey,
            "invited": plan.invited.tolist(),
            "members": plan.members.tolist(),
            "steps": plan.steps.tolist(),
            "counted": delivery.counted.tolist(),
            "rows": delivery.rows.tolist(),
        }
    )
    arrays = {
        f"row-{row}": bytes_array(p)
        for row, p in zip(delivery.rows, delivery.payloads, strict=True)
    }
    run_spec = write_run_spec(train_request.run_spec)
    return RecordDict({"pact": run_spec, "order": head, "broadcast": ArrayRecord(arrays)})


def read_train_request(content: RecordDict, form: MessageFormats) -> TrainRequest:
    """Read content written by `write_train_request`.

    Raises:
        ValueError: Arrays that the run does not send.
    """
    head, arrays = content.config_records["order"], content.array_records["broadcast"]
    ints = {key: np.array(head[key], dtype=np.int64) for key in ("invited", "members", "steps")}
    plan = RoundPlan(
        round_index=int(head["round"]),  # type: ignore[arg-type]
        first_step=int(head["first-step"]),  # type: ignore[arg-type]
        current=np.full(len(ints["invited"]), not head["whole"]),
        survey=bool(head["survey"]),
        invited=ints["invited"],
        members=ints["members"],
        steps=ints["steps"],
    )
    rows = np.array(head["rows"], dtype=np.int64)
    broadcast = form.whole if head["whole"] else form.change
    size = (form.model if plan.survey else broadcast).nbytes
    payloads = tuple(array_bytes(arrays[f"row-{row}"], size) for row in rows)
    counted = np.array(head["counted"], dtype=np.int64)
    delivery = Delivery(plan, counted, rows, bool(head["whole"]), payloads)
    return TrainRequest(str(head["run"]), read_run_spec(content), delivery)


def write_answer(clients: IntArray, payloads: list[bytes], seconds: float) -> RecordDict:
    """Return the content of a node's reply: a payload for each client that worked."""
    arrays = {f"client-{c}": bytes_array(p) for c, p in zip(clients, payloads, strict=True)}
    about = MetricRecord({"version": VERSION, "seconds": seconds})
    return RecordDict({"uploads": ArrayRecord(arrays), "about": about})


def write_refusal(cause: str, text: str) -> RecordDict:
    """Return the content of a reply that refuses a request, with the reason."""
    return RecordDict({"refused": ConfigRecord({"cause": cause, "text": text})})


def read_refusal(content: RecordDict) -> tuple[str, str] | None:
    """Return cause and text if the reply is a refusal."""
    refused = content.config_records.get("refused")
    return None if refused is None else (str(refused["cause"]), str(refused["text"]))


def answer_array(content: RecordDict, client: int) -> Array:
    """Return the array that a reply holds for a client.

    Raises:
        ValueError: There is none, or it has another version.
    """
    version = content.metric_records.get("about", {}).get("version")
    if version != VERSION:
        raise ValueError(f"a reply of version {VERSION} was expected, got {version}")
    arrays = content.array_records.get("uploads", {})
    if f"client-{client}" not in arrays:
        raise ValueError(f"the reply holds {sorted(arrays)}, nothing of client {client}")
    return arrays[f"client-{client}"]


def bytes_array(data: bytes) -> Array:
    """Return bytes as an array with a name, without a copy."""
    return Array(dtype="uint8", shape=(len(data),), stype=STYPE, data=data)


def array_bytes(array: Array, size: int, shortest: int | None = None) -> bytes:
    """Return the bytes of such an array, `size` of them, or `shortest` to `size`.

    Raises:
        ValueError: Another kind, dtype, shape or length. Nothing of its declared size is allocated.
    """
    length = len(array.data)
    wanted = min(max(length, size if shortest is None else shortest), size)
    declared = array.stype, array.dtype, tuple(array.shape)
    if declared != (STYPE, "uint8", (wanted,)):
        raise ValueError(f"an array {(STYPE, 'uint8', (wanted,))} was expected, got {declared}")
    if length != wanted:
        raise ValueError(f"an array of {wanted} bytes was declared, it holds {length}")
    return array.data


def write_state(run: str, state: NodeState) -> RecordDict:
    """Return a node's state as records, for Flower's Context or a file."""
    kept = {f"{i:03}": _array(leaf) for i, leaf in enumerate(leaves((state.states, state.anchor)))}
    rounds = {
        "run": run,
        "older": state.rounds[0].tolist(),
        "newer": state.rounds[1].tolist(),
        "anchor": state.anchor_rounds.tolist(),
    }
    return RecordDict({"kept": ArrayRecord(kept), "rounds": ConfigRecord(rounds)})


def read_state(records: RecordDict, run: str, like: NodeState) -> NodeState:
    """Read a state written by `write_state`; return `like`, an initial state, if there is none."""
    rounds = records.config_records.get("rounds")
    if rounds is None or rounds["run"] != run:
        return like
    arrays = records.array_records["kept"]
    device = next((leaf.device for leaf in leaves(like.states)), None)
    tensors = (torch.from_numpy(arrays[key].numpy().copy()).to(device) for key in sorted(arrays))
    states, anchor = tree_map(lambda _: next(tensors), (like.states, like.anchor))
    return NodeState(
        rounds=np.array([rounds["older"], rounds["newer"]], dtype=np.int64),
        states=states,
        anchor=anchor,
        anchor_rounds=np.array(rounds["anchor"], dtype=np.int64),
    )


def _array(leaf: Tensor) -> Array:
    return Array(leaf.detach().cpu().numpy())
