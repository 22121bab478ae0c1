"""Reports on finished runs, and trackers of running ones."""
