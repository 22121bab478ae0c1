"""Fingerprints: of a parameter vector, and of all that two ends of a run must agree on."""

import hashlib
from importlib.metadata import version

from torch import Tensor

from fedlocal.simulation import Simulation


def params_sha256(params: Tensor) -> str:
    """Fingerprint of a parameter vector, in little-endian bytes of its own dtype."""
    values = params.detach().cpu().numpy()
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()


def run_digest(sim: Simulation) -> str:
    """Fingerprint of what a client's round depends on besides its data and the messages.

    Two ends of a Flower run, and a run that goes on from a checkpoint, must have the same: method,
    model, batches, and what local steps do to pictures, precision and gradients.
    """
    agreed = (
        version("fedlocal"),
        sim.strategy,
        sim.objective.spec,
        params_sha256(sim.start),
        str(sim.start.dtype),
        len(sim.clients),
        sim.batch_size,
        sim.seed,
        sim.clients.pixels,
        sim.objective.augment,
        sim.objective.precision,
        sim.objective.clip_norm,
    )
    return hashlib.sha256(repr(agreed).encode()).hexdigest()
