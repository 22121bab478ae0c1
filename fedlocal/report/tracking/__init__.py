"""Trackers: destinations of metrics besides metrics.csv, which is always written."""

from fedlocal.report.tracking.csv import CsvTracker
from fedlocal.report.tracking.mlflow import MlflowTracker
from fedlocal.report.tracking.several import several
from fedlocal.report.tracking.tensorboard import TensorBoardTracker
from fedlocal.report.tracking.tracker import NoTracker, Service, Tracker
from fedlocal.report.tracking.tracker_group import TrackerGroup
from fedlocal.report.tracking.wandb import WandbTracker

__all__ = [
    "CsvTracker",
    "MlflowTracker",
    "NoTracker",
    "Service",
    "TensorBoardTracker",
    "Tracker",
    "TrackerGroup",
    "WandbTracker",
    "several",
]
