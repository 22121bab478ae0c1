"""Selection of several trackers for one run."""

from fedlocal.report.tracking.mlflow import MlflowTracker
from fedlocal.report.tracking.tensorboard import TensorBoardTracker
from fedlocal.report.tracking.tracker import Service
from fedlocal.report.tracking.wandb import WandbTracker


def several(
    use: list[str], wandb: WandbTracker, tensorboard: TensorBoardTracker, mlflow: MlflowTracker
) -> list[Service]:
    """Return the trackers that are named, each once.

    Raises:
        ValueError: A name is unknown.
    """
    known: dict[str, Service] = {"wandb": wandb, "tensorboard": tensorboard, "mlflow": mlflow}
    unknown = [name for name in use if name not in known]
    if unknown:
        raise ValueError(
            f"tracking.use names {unknown[0]!r}; it must be a list of {', '.join(known)}, for"
            " example 'tracking.use=[wandb,tensorboard]'"
        )
    return [known[name] for name in dict.fromkeys(use)]
