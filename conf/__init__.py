"""Hydra configuration groups, one per slot; a package so that an installed copy finds them."""
