"""The clock: simulated seconds from the ledger's records, under a law.

A round ends when its slowest member has received the model, computed, and sent its answer.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedlocal.ledger import RoundRecord
from fedlocal.rng import Purpose, generator


@dataclass(frozen=True)
class Clock:
    """Compute time per local step, and what a message costs on a client's link.

    Attributes:
        law: "constant": every step takes `seconds_per_step`; "exponential": each step takes an
            exponential time of that mean, independently, as in the analysis of AdaComm
            (Wang, Joshi. 2019. https://arxiv.org/abs/1810.08313).
        seconds_per_step: Mean seconds of one local step.
        latency_seconds: Before the first byte of a message arrives, each way.
        bandwidth_bytes: Bytes per second of a client's link, each way.
    """

    law: Literal["constant", "exponential"] = "constant"
    seconds_per_step: float = 0.01
    latency_seconds: float = 0.05
    bandwidth_bytes: float = 1.25e6

    def __post_init__(self) -> None:
        """Refuse negative times."""
        if self.law not in ("constant", "exponential"):
            raise ValueError(f"clock.law must be constant or exponential, got {self.law!r}")
        if self.seconds_per_step < 0 or self.latency_seconds < 0:
            raise ValueError(
                "clock.seconds_per_step and clock.latency_seconds must be >= 0, got"
                f" {self.seconds_per_step} and {self.latency_seconds}"
            )
        if not self.bandwidth_bytes > 0:
            raise ValueError(
                f"clock.bandwidth_bytes must be positive, got {self.bandwidth_bytes};"
                " use .inf for a link that costs nothing"
            )

    def seconds(self, record: RoundRecord, seed: int) -> float:
        """Length of one round in simulated seconds."""
        down = self.latency_seconds + record.downlink_bytes / self.bandwidth_bytes
        answered = record.uplink_bytes > 0
        up = answered * self.latency_seconds + record.uplink_bytes / self.bandwidth_bytes
        travel, compute = down + up, self._compute(record, seed)
        # Overlapped, whichever takes longer hides the other.
        each = np.maximum(travel, compute) if record.overlapped else travel + compute
        return float(each.max(initial=0.0))

    def _compute(self, record: RoundRecord, seed: int) -> np.ndarray:
        if self.law == "constant":
            return self.seconds_per_step * record.steps
        totals = [
            # A sum of n exponentials is one gamma variable of shape n.
            generator(seed, Purpose.COMPUTE, client, record.round_index).gamma(steps)
            for client, steps in zip(record.clients, record.steps, strict=True)
        ]
        return self.seconds_per_step * np.array(totals)
