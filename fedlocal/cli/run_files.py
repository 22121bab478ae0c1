"""Files of a finished run: model, ledger, curves and summary."""

import json
import logging
from collections.abc import Mapping
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fedlocal.api import Result
from fedlocal.cli.provenance import Origin, code_sha256
from fedlocal.config.build import Job
from fedlocal.report.curves import draw
from fedlocal.report.runs import FinishedRun, Group
from fedlocal.rounds.client_table import ClientTable
from fedlocal.rounds.fingerprint import params_sha256
from fedlocal.rounds.ledger import save_ledger
from fedlocal.rounds.metrics import Row
from fedlocal.rounds.retimed import clock_decided
from fedlocal.utils.atomic import write_atomically
from partitions.statistics import credit
from partitions.storage import digest

log = logging.getLogger(__name__)

SUMMARY = "summary.json"


def write_outcome(
    job: Job, result: Result, origin: Origin, about: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Write the files and return the summary.

    The summary is written last and atomically: a folder that has one holds a finished run.
    """
    _save(result.model.state_dict(), folder / "model.safetensors")
    # The engine is no criterion: a deployed run may have none.
    if isinstance(result.clients, ClientTable) and job.simulation.has_personal:
        _save(result.personal_tensors(), folder / "personal.safetensors")
    write_atomically(folder / "ledger.npz", partial(save_ledger, result.ledger))
    summary = _finite(_summary(job, result, origin)) | about
    run = FinishedRun(folder, summary["name"], result.history, summary)
    write_atomically(folder / "curves.png", partial(draw, [Group(run.label, {}, (run,))]))
    write_atomically(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors by name, tied ones under each of theirs, and complex128 as complex64."""
    kept, places = dict[str, Tensor](), set[int]()
    for name, tensor in tensors.items():
        values = tensor.detach()
        if values.dtype == torch.complex128:
            # safetensors has no complex128.
            values = values.to(torch.complex64)
            if not torch.equal(values.to(tensor), tensor):
                log.warning("%s: %s is complex128 and is saved as complex64", path.name, name)
        # safetensors refuses two names for the same memory.
        kept[name] = values.clone() if values.data_ptr() in places else values.contiguous()
        places.add(values.data_ptr())
    write_atomically(path, partial(save_file, kept))


def last(history: list[Row], key: str) -> Any:
    """Return the last defined value of a column, None if there is none."""
    return next((row[key] for row in reversed(history) if row[key] is not None), None)


def _summary(job: Job, result: Result, origin: Origin) -> dict[str, Any]:
    return {
        **_final(result.history),
        **job.simulation.goal.summary(result.history),
        "seed": job.simulation.seed,
        "num_parameters": len(result.params),
        "params_sha256": params_sha256(result.params),
        "partition_sha256": digest(job.partition),
        # Nonzero where several clients hold an example; weights count each example once.
        "redundant_examples": job.copies,
        # Reason why the run cannot be retimed under another clock; "" if it can.
        "clock_decided": clock_decided(job.simulation),
        "client_weights": np.round(credit(job.partition), 6).tolist(),
        "device": str(result.params.device),
        "executor": result.executor,
        "code_sha256": code_sha256(origin),
        "versions": origin.versions,
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinite values by None, which JSON can hold."""
    lost = [
        key for key, value in values.items() if isinstance(value, float) and not isfinite(value)
    ]
    return values | dict.fromkeys(lost) | {"diverged": bool(lost)}


def _final(history: list[Row]) -> Row:
    """Return the last row, with metrics that it lacks from the last row that has them."""
    return {key: last(history, key) for key in history[-1]}
