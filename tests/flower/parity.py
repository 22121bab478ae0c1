"""Jobs that every engine must run alike: the same parameters, and the same ledger to the byte."""

from functools import cache
from pathlib import Path

from safetensors.torch import load_file

from fedlocal.cli.run import run_job
from fedlocal.config.build import build
from fedlocal.config.compose import about, compose
from fedlocal.flower.app_bundle import write_app
from fedlocal.flower.runtime import CLIENT_APP, SERVER_APP
from fedlocal.report.runs import read_rows

RUN = "K=3 H=3 rounds=2 device=cpu evaluate.every=2"
COMMON = f"{RUN} partition=label_blocks"
# Without scikit-learn, which takes as long to import as torch.
QUICK = f"{RUN} dataset=synthetic"
MLP = "model.hidden=[8]"
# Averaged running statistics, dropout, a personal head that is trained first (FedRep), and a loss
# that is no mean.
OWN = (
    "model=own model._target_=tests.flower.own_model.Net model.personal=[head]"
    " model.personal_steps=1 model.l2=0.01 loss=cross_entropy loss.class_weights=balanced"
    " loss.label_smoothing=0.1"
)
STRATEGIES = (
    "strategy=vrl_sgd",
    "strategy=slowmo",
    "strategy=double_compression",
    # Nobody waits.
    "strategy=async_local_sgd",
    # Messages between neighbours, some of them a byte; and a round of two exchanges.
    "strategy=squarm_sgd strategy.threshold=100",
    "strategy=mime",
)
# Rounds among Flower's processes take seconds, so one job goes there by default: everything of a
# model beside plain parameters, with residuals at both ends. The next has clients with models of
# their own, in float32.
FEW = [f"{QUICK} {OWN} strategy=double_compression dtype=float64"]
JOBS = [
    *FEW,
    f"{QUICK} {MLP} strategy=easgd dtype=float32",
    *(f"{COMMON} {MLP} {each} dtype=float64" for each in STRATEGIES),
    f"{COMMON} {OWN} strategy=local_sgd dtype=float64",
]
COUNTED = ("uplink_bytes", "downlink_bytes", "local_steps", "sim_seconds", "answered")


@cache
def run_here(folder: Path, runtime: str, line: str) -> Path:
    composed = compose(f"{line} runtime={runtime}")
    place = folder / runtime / str(JOBS.index(line))
    place.mkdir(parents=True)
    run_job(build(composed.cfg), place, about(composed), None)
    return place


def here(folder: Path, runtime: str, jobs: list[str]) -> list[Path]:
    """The jobs in this process."""
    return [run_here(folder, runtime, line) for line in jobs]


def there(folder: Path, jobs: list[str]) -> list[Path]:
    """Return the folder in which a Flower run leaves the jobs."""
    return [folder] if len(jobs) == 1 else [folder / str(i) for i in range(len(jobs))]


def config_of(folder: Path, jobs: list[str], runtime: str) -> dict[str, str]:
    """Jobs as one Flower run, each with this runtime on the nodes."""
    lines = [f"{line} runtime={runtime}" for line in jobs]
    return {"overrides": "\n".join(lines), "folder": str(folder), "sweep": ""}


def app(folder: Path, jobs: list[str], client_app: str = CLIENT_APP) -> Path:
    # The loop has the least to import; nodes in this process are vectorised.
    config = config_of(folder, jobs, "loop")
    return write_app(folder / "app", "parity", SERVER_APP, client_app, config)


def assert_same(found: list[Path], expected: list[Path], jobs: list[str]) -> None:
    for ours, theirs, line in zip(found, expected, jobs, strict=True):
        weights, reference = (load_file(place / "model.safetensors") for place in (ours, theirs))
        for key, value in reference.items():
            difference = float((weights[key] - value).abs().max())
            assert difference <= (1e-12 if "float64" in line else 1e-6), (line, key, difference)
        rows, records = read_rows(ours), read_rows(theirs)
        counted = [[row[key] for key in COUNTED] for row in rows]
        assert counted == [[row[key] for key in COUNTED] for row in records], line
