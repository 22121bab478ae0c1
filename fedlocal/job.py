"""One run with its folder: metrics as they come, then summary, partition, model and curves."""

import json
import platform
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from fedlocal.build import Job
from fedlocal.fingerprint import params_sha256
from fedlocal.progress import Progress
from fedlocal.report.curves import draw
from fedlocal.report.runs import FinishedRun
from fedlocal.round import Row
from fedlocal.simulate import Result, finish, run
from fedlocal.simulation import initial_state
from fedlocal.tracking import CsvTracker


def run_job(job: Job, folder: Path, about: dict[str, Any], sweep: str | None) -> list[Row]:
    """Run the job and fill its folder; the rows of its metrics.

    Args:
        job: What to run; its tracker gets every row and the summary, besides the files.
        folder: Exists; gets metrics.csv, summary.json, partition.npz, model.safetensors and
            curves.png.
        about: Goes into the summary as it is: name, overrides, choices, config.
        sweep: Name of the sweep that the job belongs to, if any.
    """
    job.tracker.start(folder, about["config"], about["name"], sweep)
    try:
        result = _run(job, folder, about)
        summary = _finite(_summary(job, result)) | about
        _write(result, summary, folder)
    except BaseException:
        job.tracker.finish(None)
        raise
    job.tracker.finish(summary)
    return result.history


def _run(job: Job, folder: Path, about: dict[str, Any]) -> Result:
    job.partition.save(str(folder / "partition.npz"), job.labels)
    sim, name = job.simulation, about["name"]
    with CsvTracker(folder / "metrics.csv") as table, Progress(name, sim.rounds) as progress:

        def on_round(row: Row) -> None:
            for sink in (table, job.tracker, progress):
                sink.log(row)

        return finish(sim, *run(sim, initial_state(sim), on_round))


def _write(result: Result, summary: dict[str, Any], folder: Path) -> None:
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    tensors = {key: t.contiguous() for key, t in result.model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    draw([FinishedRun(folder, summary["name"], result.history, summary)], folder / "curves.png")


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
