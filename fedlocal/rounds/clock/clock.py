"""Simulated seconds of clients and rounds, and laws of compute times.

A round ends when its slowest member has received the model, computed, and sent its upload.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fedlocal.rounds.ledger import RoundRecord
from fedlocal.utils.arrays import FloatArray, IntArray
from fedlocal.utils.checks import check_number
from fedlocal.vectors.rng import Purpose, client_keys, generator


@dataclass(frozen=True)
class Law(ABC):
    """Law of the durations of a client's consecutive local steps, in units of their mean.

    The first n durations do not depend on the number requested.
    """

    @abstractmethod
    def steps(self, count: int, client: int, round_index: int, seed: int) -> FloatArray:
        """Return the length of each of a round's first `count` steps, [count]."""

    def totals(
        self, counts: IntArray, clients: IntArray, round_index: int, seed: int
    ) -> FloatArray:
        """Return the total length of each client's first `counts` [S] steps, [S]."""
        each = zip(counts.tolist(), clients.tolist(), strict=True)
        return np.array([self.steps(n, c, round_index, seed).sum() for n, c in each])


@dataclass(frozen=True)
class Constant(Law):
    """Equal durations."""

    def steps(self, count: int, client: int, round_index: int, seed: int) -> FloatArray:
        return np.ones(count)

    def totals(
        self, counts: IntArray, clients: IntArray, round_index: int, seed: int
    ) -> FloatArray:
        return counts.astype(np.float64)


@dataclass(frozen=True)
class ShiftedExponential(Law):
    """Shifted exponential law: `shift` plus an exponential of mean 1 - shift, per step.

    The usual model of stragglers (Lee et al. 2018. https://arxiv.org/abs/1512.02673); with shift 0
    that of the analysis of AdaComm (Wang, Joshi. 2019. https://arxiv.org/abs/1810.08313).
    """

    shift: float = 0.5

    def __post_init__(self) -> None:
        """Raise ValueError unless the shift is in [0, 1]."""
        if not 0 <= self.shift <= 1:
            raise ValueError(
                f"clock.law.shift must be in [0, 1], got {self.shift}; it is the share of the mean"
                " that every step takes at least"
            )

    def steps(self, count: int, client: int, round_index: int, seed: int) -> FloatArray:
        rng = generator(seed, Purpose.COMPUTE, client, round_index)
        return self.shift + (1 - self.shift) * rng.exponential(size=count)


@dataclass(frozen=True)
class Pareto(Law):
    """Heavy-tailed law: P(duration > t x shortest duration) = t^-shape."""

    shape: float = 2.5

    def __post_init__(self) -> None:
        """Raise ValueError for a law without a mean."""
        advice = ": at 1 and below a step's mean is infinite; below 2 its variance is"
        check_number("clock.law.shape", self.shape, advice, above=1)

    def steps(self, count: int, client: int, round_index: int, seed: int) -> FloatArray:
        rng = generator(seed, Purpose.COMPUTE, client, round_index)
        return (1 - 1 / self.shape) * (1 + rng.pareto(self.shape, size=count))


NAMED = {"constant": Constant(), "exponential": ShiftedExponential(0.0)}


@dataclass(frozen=True)
class Clock:
    """Compute time per local step, and travel time per message.

    A list in place of a number gives values per client: client i takes entry i modulo its length,
    so a short list makes equally large classes of clients.

    Attributes:
        law: Law of compute times: an object, or the name of one without parameters.
        seconds_per_step: Mean seconds of one local step; factor of a `Trace`.
        latency_seconds: Seconds before the first byte of a message arrives, each way.
        bandwidth_bytes: Bytes per second of a client's link, each way.
        spread: Spread of client speeds: steps of a client take exp(spread z) times as long, with a
            standard normal z drawn once per client and run.

    >>> clock = Clock(seconds_per_step=[0.01, 0.05], bandwidth_bytes=1e6)
    >>> clock.compute_seconds(np.arange(3), np.full(3, 10), round_index=0, seed=0).round(6)
    array([0.1, 0.5, 0.1])
    >>> clock.travel_seconds(np.arange(2), np.array([0, 1_000_000]))
    array([0.05, 1.05])
    """

    law: str | Law = "constant"
    seconds_per_step: float | Sequence[float] = 0.01
    latency_seconds: float | Sequence[float] = 0.05
    bandwidth_bytes: float | Sequence[float] = 1.25e6
    spread: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown law or negative times."""
        if not isinstance(self.law, Law) and self.law not in NAMED:
            raise ValueError(
                f"clock.law must be {' or '.join(NAMED)}, got {self.law!r}; clock=pareto,"
                " clock=shifted_exponential and clock=trace bring laws with numbers of their own"
            )
        steps, latency, bandwidth = (
            self.seconds_per_step,
            self.latency_seconds,
            self.bandwidth_bytes,
        )
        if not all(_all(times, lambda s: (s >= 0) & (s < inf)) for times in (steps, latency)):
            raise ValueError(
                "clock.seconds_per_step and clock.latency_seconds must be >= 0 and finite, got"
                f" {steps} and {latency}"
            )
        if not _all(bandwidth, lambda b: b > 0):
            raise ValueError(
                f"clock.bandwidth_bytes must be positive, got {bandwidth}; inf"
                " (.inf in a yaml file) is a link that costs nothing"
            )
        check_number("clock.spread", self.spread, "; 0 makes all clients equally fast", least=0)

    def seconds(self, record: RoundRecord, seed: int) -> float:
        """Return the length of one round in simulated seconds."""
        least, most = record.lasts
        slowest = self.client_seconds(record, seed).max(initial=least)
        return float(min(slowest, most))

    def client_seconds(self, record: RoundRecord, seed: int) -> FloatArray:
        """Return the seconds each member of a round takes to receive, compute and send, [S]."""
        down = self.travel_seconds(record.clients, record.downlink_bytes)
        up = self.travel_seconds(record.clients, record.uplink_bytes)
        # A member that does not answer only receives.
        travel = down + np.where(record.uplink_bytes > 0, up, 0.0)
        compute = self.compute_seconds(record.clients, record.steps, record.round_index, seed)
        return together(travel, compute, record.overlapped)

    def compute_seconds(
        self, clients: IntArray, steps: IntArray, round_index: int, seed: int
    ) -> FloatArray:
        """Return the seconds of each client's local steps in a round, [S].

        Args:
            clients: Client ids, [S].
            steps: Local steps of each, [S].
            round_index: Index of the round, or of the client's own exchange.
            seed: Seed of the run.
        """
        return self._means(clients, seed) * self._law.totals(steps, clients, round_index, seed)

    def steps_within(
        self, seconds: FloatArray, clients: IntArray, most: IntArray, round_index: int, seed: int
    ) -> IntArray:
        """Return how many of its `most` [S] steps each client completes in `seconds` [S]."""
        times = self._steps(clients, most, round_index, seed)
        means = self._means(clients, seed)
        # The small allowance keeps ten steps of 0.01 within 0.1.
        done = [
            np.searchsorted(mean * each.cumsum(), limit * (1 + 1e-9), side="right")
            for each, mean, limit in zip(times, means, seconds, strict=True)
        ]
        return np.array(done, dtype=np.int64)

    def travel_seconds(self, clients: IntArray, nbytes: IntArray) -> FloatArray:
        """Return the seconds that a message of `nbytes` [S] takes to or from each client, [S]."""
        latency, bandwidth = self.latency_seconds, self.bandwidth_bytes
        return _of(latency, clients) + nbytes / _of(bandwidth, clients)

    @property
    def _law(self) -> Law:
        return self.law if isinstance(self.law, Law) else NAMED[self.law]

    def _steps(
        self, clients: IntArray, counts: IntArray, round_index: int, seed: int
    ) -> list[FloatArray]:
        """Return the length of each client's steps in units of its mean, a list of [count]."""
        return [
            self._law.steps(int(count), int(client), round_index, seed)
            for client, count in zip(clients, counts, strict=True)
        ]

    def _means(self, clients: IntArray, seed: int) -> FloatArray:
        """Return the mean seconds of a step of each client, [S]."""
        if self.spread == 0:
            return _of(self.seconds_per_step, clients)
        # Keys that no generator of a round uses.
        keys = client_keys(seed, Purpose.COMPUTE, clients, 0)
        uniforms = ((keys >> np.uint64(12)) + 0.5) / 2.0**52
        normals = np.array([NormalDist().inv_cdf(uniform) for uniform in uniforms.tolist()])
        return _of(self.seconds_per_step, clients) * np.exp(self.spread * normals)


def together(travel: FloatArray, compute: FloatArray, overlapped: bool) -> FloatArray:
    """Return travel plus compute time, or their maximum where they overlap."""
    return np.maximum(travel, compute) if overlapped else travel + compute


def _of(values: float | Sequence[float], clients: IntArray) -> FloatArray:
    each = np.atleast_1d(np.asarray(values, dtype=np.float64))
    return each[clients.astype(np.int64) % len(each)]


def _all(values: float | Sequence[float], holds: Callable[[FloatArray], NDArray[np.bool_]]) -> bool:
    each = np.atleast_1d(np.asarray(values, dtype=np.float64))
    return len(each) > 0 and bool(holds(each).all())
