"""Where metrics go. metrics.csv is always written; a tracker comes beside it."""

from fedlocal.tracking.csv import CsvTracker
from fedlocal.tracking.tracker import NoTracker, Tracker
from fedlocal.tracking.wandb import WandbTracker

__all__ = ["CsvTracker", "NoTracker", "Tracker", "WandbTracker"]
