"""What a runtime is given and what it gives back."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.client import ClientState, Inbox, Upload, Work
from fedlocal.clients import IntArray

# `client_round` with its strategy and gradient filled in.
OneClient = Callable[[ClientState, Inbox, Work], tuple[ClientState, Upload]]


class Plan(NamedTuple):
    """The cohort's work, ragged as it is, decided before any runtime starts it.

    clients: Client ids, [S].
    steps: Local steps of each, [S].
    rates: Step sizes of the longest client, [max steps]; shorter ones use the first few.
    indices: For each client its mini-batches, [steps_i, b_i].
    noise: The compressor's uniforms, [S, n], on the device.
    """

    clients: IntArray
    steps: IntArray
    rates: NDArray[np.float64]
    indices: list[IntArray]
    noise: Tensor


class Runtime(Protocol):
    """A way to run the same round of one client for every member of a cohort."""

    def run(
        self, one_client: OneClient, states: ClientState, inbox: Inbox, plan: Plan
    ) -> tuple[ClientState, Upload]:
        """The cohort's next states and uploads, every tensor [S, ...].

        `inbox.model` is [S, P]; its controls are shared by all. No argument is changed.
        """
        ...
