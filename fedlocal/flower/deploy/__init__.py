"""Running on real machines through Flower: keys, certificates, commands, checks before a run."""
