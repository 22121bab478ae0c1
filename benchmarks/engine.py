"""A round in Flower's simulation engine, as a Flower user writes it.

FedAvg and a ClientApp of plain PyTorch, one SuperNode per client, every one in every round. The
engine is a process of its own with Ray's processes below it. It waits for a word before each round,
so that its rounds take turns with those of the other rows; start-up is not counted, and neither is
the wait. It starts and ends with `engine()`.
"""

import os
from ast import literal_eval
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from benchmarks.problems import Cell, problem
from benchmarks.rows import placed, train

NAME = "Flower's simulation engine"
# How many clients share a GPU.
PER_GPU = 8


class Engine:
    """A running engine, asked round by round."""

    def __init__(self, pipe: Connection, log: Path) -> None:
        self._pipe, self._log = pipe, log
        self._late = False

    def seconds(self, steps: int, limit: float) -> float:
        """Measure the seconds of one more round with this number of local steps.

        Raises:
            TimeoutError: It takes longer than the limit, or an earlier one did: that one is still
                going on.
            RuntimeError: The engine has died; shows the end of its log.
        """
        if self._late:
            raise TimeoutError("a round with fewer steps took too long")
        try:
            self._pipe.send(steps)
            if not self._pipe.poll(limit):
                self._late = True
                raise TimeoutError(f"a round takes more than {limit:.0f} s")
            return self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise RuntimeError(f"the engine died:\n{self._log.read_text()[-2000:]}") from error


class AllOrNothing(FedAvg):
    """Flower's FedAvg; only that a round without some of the clients is none."""

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        for reply in replies:
            if reply.has_error():
                raise RuntimeError(reply.error.reason)
        return super().aggregate_train(server_round, replies)


@contextmanager
def engine(cell: Cell) -> Iterator[Engine]:
    """Yield an engine with the cell's clients; its files are removed at the end."""
    with TemporaryDirectory(prefix="engine") as folder:
        here, there = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=_serve, args=(cell, there, folder))
        process.start()
        # So that its end is heard here.
        there.close()
        try:
            yield Engine(here, Path(folder) / "log")
        finally:
            here.close()
            process.join(60)
            process.terminate()
            process.join()


def _serve(cell: Cell, pipe: Connection, folder: str) -> None:
    # Flower and Ray talk much, from several processes.
    log = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ |= {
        "FLWR_HOME": folder,
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    from flwr.simulation import run_simulation

    gpus = 1 / PER_GPU if cell.device.startswith("cuda") else 0.0
    run_simulation(
        server_app(cell, pipe),
        client_app,
        cell.clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": gpus}},
    )


def server_app(cell: Cell, pipe: Connection) -> ServerApp:
    """Run a round of FedAvg each time the pipe asks for one."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = AllOrNothing(fraction_evaluate=0.0, min_available_nodes=cell.clients)
        arrays = ArrayRecord(problem(cell).model.state_dict())
        while steps := _asked(pipe):
            config = ConfigRecord({"cell": repr(tuple(cell)), "steps": steps})
            began = perf_counter()
            result = strategy.start(grid, arrays, num_rounds=1, train_config=config)
            pipe.send(perf_counter() - began)
            arrays = result.arrays

    return app


def _asked(pipe: Connection) -> int:
    """Return the number of local steps of the next round; 0 if there is none."""
    try:
        return pipe.recv()
    except EOFError:
        return 0


client_app = ClientApp()


@client_app.train()
def train_message(message: Message, context: Context) -> Message:
    """Take H local steps on this node's share."""
    config = message.content["config"]
    given, model, x, y = _placed_once(Cell(*literal_eval(config["cell"])))
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    (chunk,) = given.clients.chunks[int(context.node_config["partition-id"])]
    loss = train(model, x, y, torch.from_numpy(chunk).to(x.device), config["steps"])
    metrics = MetricRecord({"train_loss": loss.item(), "num-examples": len(chunk)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


# Once in each of Ray's processes, and not with every message.
_placed_once = cache(placed)
