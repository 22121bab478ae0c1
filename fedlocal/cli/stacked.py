"""Batched sweeps: jobs whose cohorts are trained together."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fedlocal.config.build import Job
from fedlocal.runtime import Vmapped
from fedlocal.runtime.stacked.meeting import MEETING, Meeting, Together
from fedlocal.runtime.stacked.turns import in_turns

# Runs that meet agree in these; in everything else they may differ.
SAME = (
    "model", "loss", "dataset", "augment", "precision", "clip_norm", "dtype", "device", "runtime",
)  # fmt: skip


def joined(job: Job, config: Mapping[str, Any]) -> Job:
    """The job as one of a stack, if there is one and it can be one of it; `config` is its own."""
    meeting, runtime = MEETING.get(), job.simulation.runtime
    if meeting is None or job.engine is not None or not isinstance(runtime, Vmapped):
        return job
    kind = json.dumps({key: config.get(key) for key in SAME}, sort_keys=True, default=str)
    together = Together(runtime, job.simulation.objective, kind)
    return replace(job, simulation=replace(job.simulation, runtime=together))


def stacked(
    jobs: Sequence[Callable[[], Any]],
    enter: Callable[[int], None],
    leave: Callable[[int], None],
) -> list[Any]:
    """Results of the jobs, whose cohorts meet.

    Arguments: `fedlocal.runtime.stacked.turns.in_turns`.
    """
    meeting = Meeting()

    def at(job: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            MEETING.set(meeting)
            return job()

        return run

    return in_turns([at(job) for job in jobs], meeting.answer, enter, leave)
