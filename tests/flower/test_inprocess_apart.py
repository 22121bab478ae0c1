"""What separate processes would keep apart: task identities and random numbers."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp import ServerApp
from flwr.supercore.task_identity import TaskIdentity

from fedlocal.flower.inprocess import InProcessGrid, run_in_process
from tests.flower.inprocess_counting import app_of, counted, counts, query


@pytest.mark.parametrize("before", [None, 77])
def test_the_task_identity_is_what_it_was(monkeypatch, before):
    monkeypatch.setattr(TaskIdentity, "_run_id", before)
    server, seen = ServerApp(), []

    @server.main()
    def main(grid, context):
        seen.append(query(grid).metadata.run_id == grid.run.run_id)
        if len(seen) == 1:
            run_in_process(server, app_of(counted))
            seen.append(query(grid).metadata.run_id == grid.run.run_id)
            raise RuntimeError("the server fails")

    with pytest.raises(RuntimeError, match="the server fails"):
        run_in_process(server, app_of(counted))
    assert seen == [True, True, True]
    assert vars(TaskIdentity)["_run_id"] == before


def test_runs_in_threads_take_turns():
    server, runs = ServerApp(), set()

    @server.main()
    def main(grid, context):
        for expected in range(1, 6):
            assert counts(grid.send_and_receive([query(grid)])) == [expected]
        runs.add(context.run_id)

    with ThreadPoolExecutor(4) as pool:
        for run in [pool.submit(run_in_process, server, app_of(counted)) for _ in range(8)]:
            run.result()
    assert len(runs) == 8


def test_a_server_may_push_from_threads():
    grid = InProcessGrid(app_of(counted), 3)
    with grid.running(), ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(grid.send_and_receive, [query(grid, i % 3)]) for i in range(30)]
        answers = [reply for one in sent for reply in one.result()]
    assert sorted(counts(answers)) == sorted(list(range(1, 11)) * 3)


def draws():
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def drawn(client, seed=0):
    """What the server draws around three exchanges, and what came back."""
    server, found = ServerApp(), []

    @server.main()
    def main(grid, context):
        for node in (0, 1, 0):
            (reply,) = grid.send_and_receive([query(grid, node)])
            found.append((draws(), reply.content["drawn"]["values"]))

    run_in_process(server, app_of(client), seed=seed)
    return found


def draw(message, context):
    return Message(RecordDict({"drawn": MetricRecord({"values": draws()})}), reply_to=message)


def seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_and_draw(message, context):
    seed_all(0)
    return draw(message, context)


def test_randomness_is_each_sides_own_and_repeatable():
    first = drawn(draw)
    assert first == drawn(draw)
    of_server, of_clients = zip(*first, strict=True)
    everything = [value for side in (of_server, of_clients) for one in side for value in one]
    assert len(set(everything)) == len(everything)
    assert [server for server, _ in drawn(seed_and_draw)] == list(of_server)
    assert all(a != b for a, b in zip(first, drawn(draw, seed=1), strict=True))


def test_the_callers_random_numbers_are_left_alone():
    seed_all(3)
    expected = draws()
    seed_all(3)
    drawn(seed_and_draw)
    assert draws() == expected
