"""Deployment on real machines through Flower: keys, certificates, commands, checks."""
