"""Jobs of a sweep that train their clients together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fedlocal.config.build import Job
from fedlocal.rounds.training_request import T, Turns
from fedlocal.runtime import Vmapped
from fedlocal.runtime.stacked.batcher import SweepBatcher
from fedlocal.runtime.stacked.runtime import BatchedRuntime
from fedlocal.runtime.stacked.scheduling import in_turns

# Runs of one batch agree in these; in everything else they may differ.
SAME = (
    "model", "loss", "dataset", "augment", "precision", "clip_norm", "dtype", "device", "runtime",
)  # fmt: skip


def join_stack(job: Job, config: Mapping[str, Any]) -> Job:
    """Return the job as part of a stack if it can be; `config` is its own."""
    runtime = job.simulation.runtime
    if job.engine is not None or not isinstance(runtime, Vmapped):
        return job
    key = {name: json.dumps(config.get(name), sort_keys=True, default=str) for name in SAME}
    simulation = replace(job.simulation, runtime=BatchedRuntime(runtime, key), batched=True)
    return replace(job, simulation=simulation)


def train_stacked(jobs: Sequence[Turns[T]]) -> list[T]:
    """Train the jobs together; return their results."""
    return in_turns(jobs, SweepBatcher().train)
