"""One run in its folder, from the first round or from its checkpoint."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from fedlocal.api import finish
from fedlocal.cli.interrupt import Interrupted
from fedlocal.cli.provenance import Origin, check_same, load_origin, origin_of, save_origin
from fedlocal.cli.run_files import SUMMARY, write_outcome
from fedlocal.config.build import Job
from fedlocal.config.compose import name_choices
from fedlocal.config.errors import ConfigError
from fedlocal.config.first_line import headline
from fedlocal.report.progress import ProgressBar
from fedlocal.report.runs import read_rows
from fedlocal.report.tracking import CsvTracker, TrackerGroup
from fedlocal.rounds.checkpoint import (
    Checkpoint,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from fedlocal.rounds.fingerprint import run_digest
from fedlocal.rounds.metrics import Row
from fedlocal.rounds.run_loop import Progress, initial_progress, is_finished, run_turns
from fedlocal.rounds.training_request import Turns, complete
from fedlocal.utils.atomic import write_atomically
from partitions.storage import save_npz

CHECKPOINT = "checkpoint"


class Sink(Protocol):
    """Receiver of finished rounds."""

    def log(self, row: Row) -> None:
        """Write one row."""
        ...


def run_job(
    job: Job, folder: Path, about: dict[str, Any], sweep: str | None, held: Sequence[int] = ()
) -> list[Row]:
    """Run a job that trains by itself. See `running_job`."""
    return complete(running_job(job, folder, about, sweep, held))


def running_job(
    job: Job, folder: Path, about: dict[str, Any], sweep: str | None, held: Sequence[int] = ()
) -> Turns[list[Row]]:
    """Run the job and fill its folder; the rows of its metrics.

    The folder of a finished run stays as it is; one with a checkpoint is resumed from it, with the
    same bits as an uninterrupted run.

    Args:
        job: The job; its trackers receive every new row and the summary, besides the files.
        folder: Existing folder; receives origin.json, metrics.csv, partition.npz, ledger.npz,
            model.safetensors, curves.png and summary.json.
        about: Name, overrides, choices and config, copied into the summary.
        sweep: Name of the sweep that the job belongs to, if any.
        held: Deferred signals; the run ends after the round in which it finds one.

    Raises:
        ConfigError: The folder holds another run.
        Interrupted: A signal arrived; the run has a checkpoint or is finished.
    """
    origin = origin_of(about["overrides"], about["config"])
    progress = resumable_progress(folder, job, origin)
    if progress is None:
        return read_rows(folder)
    if sweep is None:
        print(headline(job, about["choices"]), flush=True)
    save_origin(folder, origin)
    write_atomically(
        folder / "partition.npz", lambda path: save_npz(path, job.partition, job.labels)
    )
    resumed, tracker = len(progress.history), TrackerGroup(job.trackers)
    tracker.start(folder, name_choices(about), about["name"], sweep, resumed)
    try:
        progress = yield from _run(job, tracker, folder, about["name"], progress, held)
        result = finish(job.simulation, progress)
        summary = write_outcome(job, result, origin, about, folder)
    except BaseException:
        tracker.finish(None)
        raise
    tracker.finish(summary)
    if not job.checkpoint.keep:
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    if held:
        # The signal arrived after the last round; the sweep must still end.
        raise Interrupted("after its last round", folder, held[0])
    return progress.history


def resumable_progress(folder: Path, job: Job, origin: Origin) -> Progress | None:
    """Return the progress of the run in this folder; None if it is finished.

    Raises:
        ConfigError: It holds another run, or a finished one that cannot be extended.
    """
    finished = (folder / SUMMARY).exists()
    if not finished and not has_checkpoint(folder / CHECKPOINT):
        return initial_progress(job.simulation)
    # Checked first: other code may be unable to read the checkpoint.
    check_same(folder, load_origin(folder), origin, job.checkpoint.strict)
    try:
        saved = load_checkpoint(folder / CHECKPOINT, job.simulation.start.device)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    rows = read_rows(folder) if finished else []
    # Judged by the rows: a kept checkpoint may be older than the last round.
    if finished and is_finished(job.simulation, rows):
        return None
    if saved is None:
        raise ConfigError(
            f"{folder} holds this run, finished after {len(rows)} rounds, and no checkpoint to go"
            " on from; checkpoint.keep=true would have kept it"
        )
    if saved.digest != run_digest(job.simulation):
        raise ConfigError(
            f"{folder} holds another run: settings and code are the same, but not the model that"
            " they make; a file that they name has changed"
        )
    return saved.progress


def _run(
    job: Job, tracker: Sink, folder: Path, name: str, progress: Progress, held: Sequence[int]
) -> Turns[Progress]:
    sim, digest = job.simulation, run_digest(job.simulation)
    with CsvTracker(folder / "metrics.csv") as table, ProgressBar(name, sim.rounds) as bar:

        def after_round(progress: Progress) -> None:
            done = progress.state.round_index
            # Logged before it is saved: a kill in between repeats a round in trackers.
            _log((table, tracker, bar), progress.history[-1])
            if held or job.checkpoint.due(done):
                save_checkpoint(folder / CHECKPOINT, Checkpoint(digest, progress))
            if held:
                raise Interrupted(f"after round {done} of {sim.rounds}", folder, held[0])

        for row in progress.history:
            _log((table, bar), row)
        return (yield from run_turns(sim, progress, after_round))


def _log(sinks: Iterable[Sink], row: Row) -> None:
    for sink in sinks:
        sink.log(row)
