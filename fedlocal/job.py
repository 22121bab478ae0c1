"""One run with its folder: metrics as they come, then summary, partition, model and curves."""

import json
import platform
from collections.abc import Iterable
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors.torch import save_file

from fedlocal.build import Job
from fedlocal.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fedlocal.fingerprint import params_sha256, run_digest
from fedlocal.ledger import Ledger
from fedlocal.ledger_file import save_ledger
from fedlocal.progress import Progress
from fedlocal.replay import clock_decided
from fedlocal.report.curves import draw
from fedlocal.report.groups import groups_of
from fedlocal.report.runs import FinishedRun
from fedlocal.rounds.barrier import Row
from fedlocal.simulate import Result, finish, rounds_of
from fedlocal.simulation import initial_state
from fedlocal.tracking import CsvTracker


class Sink(Protocol):
    """Takes finished rounds."""

    def log(self, row: Row) -> None:
        """One of them."""
        ...


def run_job(
    job: Job, folder: Path, about: dict[str, Any], sweep: str | None, resumable: bool = False
) -> list[Row]:
    """Run the job and fill its folder; the rows of its metrics.

    Args:
        job: What to run; its tracker gets every row and the summary, besides the files.
        folder: Exists; gets metrics.csv, summary.json, partition.npz, ledger.npz,
            model.safetensors and curves.png.
        about: Goes into the summary as it is: name, overrides, choices, config.
        sweep: Name of the sweep that the job belongs to, if any.
        resumable: Leave a checkpoint after every round, and go on from the one that is there.
    """
    job.tracker.start(folder, about["config"], about["name"], sweep)
    try:
        result = _run(job, folder, about["name"], resumable)
        summary = _finite(_summary(job, result)) | about
        _write(result, summary, folder)
    except BaseException:
        job.tracker.finish(None)
        raise
    job.tracker.finish(summary)
    return result.history


def _run(job: Job, folder: Path, name: str, resumable: bool) -> Result:
    job.partition.save(str(folder / "partition.npz"), job.labels)
    sim, place = job.simulation, folder / "checkpoint"
    digest = run_digest(sim)
    saved = load_checkpoint(place, digest) if resumable else None
    _, state, history, records = saved or Checkpoint(digest, initial_state(sim), [], [])
    with CsvTracker(folder / "metrics.csv") as table, Progress(name, sim.rounds) as progress:
        sinks = (table, job.tracker, progress)
        for row in history:
            _log(sinks, row)
        for after, row, record in rounds_of(sim, state):
            state = after
            history.append(row)
            records.append(record)
            if resumable:
                save_checkpoint(place, Checkpoint(digest, state, history, records))
            _log(sinks, row)
        return finish(sim, state, history, Ledger(tuple(records)))


def _log(sinks: Iterable[Sink], row: Row) -> None:
    for sink in sinks:
        sink.log(row)


def _write(result: Result, summary: dict[str, Any], folder: Path) -> None:
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    tensors = {key: t.contiguous() for key, t in result.model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    save_ledger(result.ledger, folder / "ledger.npz")
    run = FinishedRun(folder, summary["name"], result.history, summary)
    draw(groups_of([run]), folder / "curves.png")


def _summary(job: Job, result: Result) -> dict[str, Any]:
    packages = ("fedlocal", "torch", "numpy", "hydra-core")
    return {
        **_final(result.history),
        "seed": job.simulation.seed,
        "num_parameters": len(result.params),
        "params_sha256": params_sha256(result.params),
        "partition_sha256": job.partition.digest(),
        # Not zero only where examples are held by several clients; weights count each once.
        "redundant_examples": job.copies,
        # Why the run's seconds cannot be had again under another clock; "" if they can.
        "clock_decided": clock_decided(job.simulation),
        "client_weights": np.round(job.partition.credit(), 6).tolist(),
        "device": str(result.params.device),
        "versions": {name: version(name) for name in packages}
        | {"python": platform.python_version()},
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """The values with null for what JSON has no number for: a run that diverged."""
    lost = [
        key for key, value in values.items() if isinstance(value, float) and not isfinite(value)
    ]
    return values | dict.fromkeys(lost) | {"diverged": bool(lost)}


def _final(history: list[Row]) -> Row:
    """The last row; what was not evaluated in it, from the last row in which it was."""
    final = dict(history[-1])
    for row in history:
        final |= {key: value for key, value in row.items() if value is not None}
    return final
