"""Interface of a runtime: its input and its output."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.objective.gradients import Batch, Everything, Gradients, Own
from fedlocal.rounds.client import Client, ClientState, Inbox, Local, PaddedWork, Upload
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import Tree

# Examples of each client per part of a full gradient; bounds the memory.
EXAMPLES_AT_ONCE = 512


class CohortWork(NamedTuple):
    """Work of a cohort; clients may differ in batch size and number of steps.

    clients: Client ids, [S].
    steps: Local steps of each, [S].
    rates: Step sizes of each, [S, max steps]; clients with fewer steps use the first ones.
    indices: Mini-batches of each client, [steps_i, b_i].
    noise: Uniforms of the compressor, [S, n], on the device.
    everything: All examples of each client, [n_i], where the strategy reads them; else empty.
    draws: Augmentation of each example, [steps_i, b_i, n]; empty without one.
    keys: Keys of the model's random numbers, [S, max steps]; empty where it draws none.
    full_keys: Keys of the gradient over `everything`, [S, 1].
    personal_steps: First steps of the round, which train the personal parameters only.
    """

    clients: IntArray
    steps: IntArray
    rates: NDArray[np.float64]
    indices: list[IntArray]
    noise: Tensor
    everything: list[IntArray]
    draws: list[IntArray]
    keys: IntArray
    full_keys: IntArray
    personal_steps: int = 0


class RunSize(NamedTuple):
    """Approximate size of a run: local steps of a client, and clients of a cohort."""

    steps: int
    clients: int


class ClientParts(Protocol):
    """Parts of a client's round, for one client's tensors: `fedlocal.rounds.client.Client`."""

    @property
    def gradients(self) -> Gradients:
        """Gradient functions of the objective."""
        ...

    def parts(self, state: Tree, inbox: Inbox) -> Own:
        """Return the other parts of the client's model at the start of a round."""
        ...

    def begin(self, state: Tree, inbox: Inbox, work: PaddedWork) -> tuple[Tree, Local]:
        """Receive the broadcast and prepare the local steps."""
        ...

    def step(self, local: Local, at_start: Tree, batch: Batch, control: Tree, lr: Tensor) -> Local:
        """Take one local step."""
        ...

    def end(
        self, state: Tree, at_start: Tree, local: Local, control: Tree, work: PaddedWork
    ) -> tuple[ClientState, Upload]:
        """Return the next state and the upload."""
        ...


class Runner(Protocol):
    """Runner of the cohorts of one run, round after round."""

    @property
    def about(self) -> str:
        """Description of the execution; empty before the first cohort."""
        ...

    def stop_tracing(self, reason: str) -> None:
        """Call the user's code in every step from now on, since a value that it reads has changed.

        Args:
            reason: What has changed, for `about`.
        """
        ...

    def run(
        self, states: ClientState, inbox: Inbox, plan: CohortWork
    ) -> tuple[ClientState, Upload]:
        """Return the cohort's next states and uploads; all tensors are [S, ...].

        No argument is changed.
        """
        ...

    def gradients(
        self, models: Tensor, own: Own, examples: list[IntArray], keys: IntArray
    ) -> Tensor:
        """Return each client's gradient over its examples, [S, P].

        Args:
            models: Points of the gradients, [S, P].
            own: Other parts of the models, every tensor [S, ...].
            examples: Examples of each client, [n_i].
            keys: Keys of the models' random numbers, [S, 1]; empty where they draw none.
        """
        ...


class Runtime(Protocol):
    """A way to run the same client round for every member of a cohort."""

    def runner(self, client: Client, ahead: RunSize) -> Runner:
        """Return the runner of one run's cohorts."""
        ...


def shared_steps(plan: CohortWork, steps: int, like: Tensor) -> Tensor:
    """Return a mask of the steps that train the shared parameters, [steps]."""
    return torch.arange(steps, device=like.device) >= plan.personal_steps


def everything(
    examples: list[IntArray], keys: IntArray, like: Tensor, pads: Callable[[], bool]
) -> Everything:
    """Return all examples of S clients, cut into parts that are evaluated one after another.

    Args:
        examples: Examples of each client, [n_i].
        keys: Keys of the models' random numbers, [S, 1]; empty where they draw none.
        like: Tensor on the device.
        pads: Whether batches may be cut and padded; otherwise a client's examples are one part, and
            all clients hold equally many.

    Returns:
        Tensors [S, C, B], [S, C, B] and [S].
    """
    longest = max(map(len, examples))
    parts = -(-longest // EXAMPLES_AT_ONCE)
    if parts > 1 and not pads():
        parts = 1
    width = -(-longest // parts)
    indices = np.zeros((len(examples), parts * width), dtype=np.int64)
    for row, own in zip(indices, examples, strict=True):
        row[: len(own)] = own
    counts = np.array([len(own) for own in examples])
    key = torch.from_numpy(keys[:, 0].copy()).to(like.device) if keys.size else ()
    shaped = torch.from_numpy(indices.reshape(-1, parts, width)).to(like.device)
    if (counts == parts * width).all():
        return Everything(shaped, (), key)
    real = np.arange(parts * width) < counts[:, None]
    mask = torch.from_numpy(real.reshape(-1, parts, width)).to(like.device)
    return Everything(shaped, mask, key)
