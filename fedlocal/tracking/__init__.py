"""Where metrics go. metrics.csv is always written; trackers come beside it."""

from fedlocal.tracking.csv import CsvTracker
from fedlocal.tracking.guarded import Guarded
from fedlocal.tracking.mlflow import MlflowTracker
from fedlocal.tracking.several import several
from fedlocal.tracking.tensorboard import TensorBoardTracker
from fedlocal.tracking.tracker import NoTracker, Service, Tracker
from fedlocal.tracking.wandb import WandbTracker

__all__ = [
    "CsvTracker",
    "Guarded",
    "MlflowTracker",
    "NoTracker",
    "Service",
    "TensorBoardTracker",
    "Tracker",
    "WandbTracker",
    "several",
]
