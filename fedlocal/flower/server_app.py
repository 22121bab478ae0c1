"""ServerApp: the same job, with its clients on Flower's nodes."""

import logging
from dataclasses import replace
from pathlib import Path
from time import strftime

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from omegaconf import DictConfig, open_dict

from fedlocal.cli.run import run_job
from fedlocal.config.build import build
from fedlocal.config.compose import about, compose
from fedlocal.flower.remote_population import population
from fedlocal.flower.runtime import FlowerEngine
from fedlocal.flower.transport import Machine
from fedlocal.report.tracking.stdout import Echo

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run every line of overrides, one after the other, each in its own folder."""
    _show_warnings()
    lines = str(context.run_config.get("overrides", "")).splitlines() or [""]
    folder = _folder(str(context.run_config.get("folder", "")))
    sweep = str(context.run_config.get("sweep", "")) or None
    print(f"run folder: {folder}", flush=True)
    met: tuple[Machine, ...] = ()
    for index, line in enumerate(lines):
        place = folder if len(lines) == 1 else folder / str(index)
        place.mkdir(parents=True, exist_ok=True)
        met = _run(grid, line, place, sweep, met)


def _run(
    grid: Grid, line: str, folder: Path, sweep: str | None, met: tuple[Machine, ...]
) -> tuple[Machine, ...]:
    """Compose and build a run, find its nodes, run it and write its folder; return the nodes."""
    composed = compose(line)
    job = build(composed.cfg)
    engine = job.engine if isinstance(job.engine, FlowerEngine) else FlowerEngine()
    nodes = population(
        job.simulation, line, grid, engine.patience_seconds, engine.timeout_seconds, met
    )
    examples = [machine.examples for machine in nodes.start.machines]
    if any(examples):
        job = build(_with_sizes(composed.cfg, examples))
    simulation = replace(job.simulation, population=nodes)
    job = replace(
        job,
        simulation=simulation,
        trackers=[*job.trackers, Echo(simulation.rounds, simulation.evaluate)],
        # Nodes keep two rounds only, so the server must keep every one.
        checkpoint=replace(job.checkpoint, every=1),
    )
    run_job(job, folder, about(composed), sweep)
    return nodes.start.machines


def _with_sizes(cfg: DictConfig, examples: list[int]) -> DictConfig:
    """Return the configuration with the number of examples on each node."""
    if len(examples) != cfg.K:
        raise ValueError(
            f"{len(examples)} SuperNodes hold data of their own, and each is a client; give"
            f" K={len(examples)} instead of K={cfg.K}"
        )
    with open_dict(cfg.dataset):
        cfg.dataset.sizes = examples
    return cfg


def _show_warnings() -> None:
    """Print warnings with a level, as Flower does, in a process without handlers."""
    ours = logging.getLogger("fedlocal")
    if not ours.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s :   %(message)s"))
        ours.addHandler(handler)


def _folder(given: str) -> Path:
    return Path(given or strftime("outputs/%Y-%m-%d/%H-%M-%S")).absolute()
