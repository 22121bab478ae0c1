"""Replies of a node. Runs in the short-lived ClientApp process or in the node's worker."""

from functools import lru_cache
from pathlib import Path
from time import perf_counter

from flwr.app import ConfigRecord, ConfigRecordValues, RecordDict
from omegaconf import open_dict
from torch import Tensor

from fedlocal.config.build import build
from fedlocal.config.compose import compose
from fedlocal.config.errors import ConfigError
from fedlocal.flower.node import LostError, Node, NodeState, StaleError, clients_of
from fedlocal.flower.node_file import load_records, save_records
from fedlocal.flower.node_request import NodeRequest
from fedlocal.flower.records import (
    BROKEN,
    DIFFERENT,
    LOST,
    STALE,
    TrainRequest,
    read_run_spec,
    read_state,
    read_train_request,
    write_answer,
    write_refusal,
    write_state,
)
from fedlocal.rounds.fingerprint import run_digest
from fedlocal.rounds.message_bytes import Header
from fedlocal.rounds.payload import pack_model, pack_upload
from fedlocal.rounds.state import Simulation
from fedlocal.vectors.trees import take


def answer(node_request: NodeRequest) -> tuple[RecordDict, RecordDict]:
    """Return the content of the reply, and the records to keep. A refusal changes nothing."""
    try:
        overrides = read_run_spec(node_request.content).overrides
        node, digest = _node(
            overrides,
            node_request.partition,
            node_request.num_partitions,
            node_request.data,
            node_request.classes,
        )
    except (KeyError, ValueError, ConfigError) as error:
        return write_refusal(
            DIFFERENT, f"this machine cannot build the run: {error}"
        ), node_request.kept
    return answer_as(node, digest, node_request)


def answer_as(node: Node, digest: str, node_request: NodeRequest) -> tuple[RecordDict, RecordDict]:
    """Return the reply of a given node; see `answer`."""
    kept = node_request.kept
    if (refusal := _mismatch(digest, read_run_spec(node_request.content).digest)) is not None:
        return refusal, kept
    if node_request.kind == "query":
        return _introduction(node, node_request), kept
    try:
        train_request = read_train_request(node_request.content, node.sim.messages)
        file = Path(node_request.state) / f"{train_request.run}.npz" if node_request.state else None
        state = read_state(load_records(file) if file else kept, train_request.run, node.init())
        if node_request.kind == "evaluate":
            return _vectors(node, train_request, node.models(state, train_request.delivery)), kept
        if train_request.delivery.plan.survey:
            return _vectors(
                node, train_request, node.gradients(state, train_request.delivery)
            ), kept
        reply, after = _trained(node, state, train_request)
    except StaleError as error:
        return write_refusal(STALE, str(error)), kept
    except LostError as error:
        return write_refusal(LOST, str(error)), kept
    except (KeyError, ValueError) as error:
        return write_refusal(BROKEN, f"the message cannot be read: {error}"), kept
    records = write_state(train_request.run, after)
    if file is None:
        return reply, records
    save_records(records, file)
    return reply, kept


@lru_cache(maxsize=4)
def _simulation(overrides: str, partition: int, data: str, classes: str) -> Simulation:
    cfg = compose(overrides).cfg
    held_here = "own" in cfg.dataset
    if held_here != bool(data):
        raise ValueError(
            f"it was started with data={data!r}; dataset=on_nodes needs that of every SuperNode,"
            " any other dataset of none"
        )
    if held_here:
        with open_dict(cfg.dataset):
            cfg.dataset.update(
                own=data, own_client=partition, own_classes=classes or None, test=None
            )
        with open_dict(cfg.goal):
            # A server-side warning, for example about its test set.
            cfg.goal.update(target=None, patience=None)
    return build(cfg).simulation


@lru_cache(maxsize=64)
def _node(
    overrides: str, partition: int, num_partitions: int, data: str, classes: str
) -> tuple[Node, str]:
    # Nodes in one process share the data set, except data of their own.
    sim = _simulation(overrides, partition if data else 0, data, classes)
    clients = clients_of(len(sim.clients), partition, num_partitions)
    return Node(sim, clients), run_digest(sim)


def _mismatch(own: str, other: str) -> RecordDict | None:
    if own == other:
        return None
    return write_refusal(
        DIFFERENT,
        f"this machine's run has the digest {own[:12]}, the server's {other[:12]}; both need the"
        " same fedlocal, the same overrides and the same torch",
    )


def _introduction(node: Node, node_request: NodeRequest) -> RecordDict:
    counts = node.sim.clients.counts
    machine: dict[str, ConfigRecordValues] = {
        "partition-id": node_request.partition,
        "num-partitions": node_request.num_partitions,
        "examples": int(counts[node_request.partition]) if node_request.data else 0,
    }
    return RecordDict({"machine": ConfigRecord(machine)})


def _trained(
    node: Node, state: NodeState, train_request: TrainRequest
) -> tuple[RecordDict, NodeState]:
    began = perf_counter()
    after, uploads = node.train(state, train_request.delivery)
    plan, dtype = train_request.delivery.plan, node.sim.start.dtype
    payloads = []
    for row, (client, steps) in enumerate(zip(plan.members, plan.steps, strict=True)):
        examples = sum(len(chunk) for chunk in node.sim.clients.chunks[client])
        header = Header(int(client), plan.round_index, examples, int(steps))
        payloads.append(pack_upload(node.sim.messages.upload, take(uploads, row), header, dtype))
    return write_answer(plan.members, payloads, perf_counter() - began), after


def _vectors(node: Node, train_request: TrainRequest, vectors: Tensor) -> RecordDict:
    plan = train_request.delivery.plan
    payloads = [
        pack_model(node.sim.messages.model, vector, int(client), plan.round_index)
        for client, vector in zip(plan.members, vectors, strict=True)
    ]
    return write_answer(plan.members, payloads, 0.0)
