"""The ServerApp: the same job as everywhere, its clients on Flower's nodes."""

from dataclasses import replace
from pathlib import Path
from time import strftime

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedlocal.build import build
from fedlocal.compose import about, compose
from fedlocal.job import run_job
from fedlocal.runtime.flower_nodes import population
from fedlocal.runtime.flower_settings import FlowerEngine
from fedlocal.tracking.echo import Echo

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Compose, build, wait for the nodes, run, write the folder."""
    composed = compose(str(context.run_config.get("overrides", "")))
    job = build(composed.cfg)
    engine = job.engine if isinstance(job.engine, FlowerEngine) else FlowerEngine()
    nodes = population(job.simulation, grid, engine.patience_seconds, engine.timeout_seconds)
    simulation = replace(job.simulation, population=nodes)
    job = replace(job, simulation=simulation, tracker=Echo(job.tracker, simulation.rounds))
    folder = _folder(str(context.run_config.get("folder", "")))
    sweep = str(context.run_config.get("sweep", "")) or None
    print(f"run folder: {folder}", flush=True)
    run_job(job, folder, about(composed), sweep)


def _folder(given: str) -> Path:
    folder = Path(given or strftime("outputs/%Y-%m-%d/%H-%M-%S")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
