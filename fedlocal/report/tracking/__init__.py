"""Destinations of metrics. metrics.csv is always written; trackers come beside it."""

from fedlocal.report.tracking.csv import CsvTracker
from fedlocal.report.tracking.guarded import Guarded
from fedlocal.report.tracking.mlflow import MlflowTracker
from fedlocal.report.tracking.several import several
from fedlocal.report.tracking.tensorboard import TensorBoardTracker
from fedlocal.report.tracking.tracker import NoTracker, Service, Tracker
from fedlocal.report.tracking.wandb import WandbTracker

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
