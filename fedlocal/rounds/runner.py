"""What a runtime is given and what it gives back."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.objective.gradients import Batch, Everything, Gradients, Own
from fedlocal.rounds.client import Client, ClientState, Inbox, Local, Upload, Work
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import Tree

# Of each client, when a gradient over all of its data is wanted: bounds the memory.
EXAMPLES_AT_ONCE = 512


class Plan(NamedTuple):
    """The cohort's work, ragged as it is, decided before any runtime starts it.

    clients: Client ids, [S].
    steps: Local steps of each, [S].
    rates: Step sizes of each, [S, max steps]; those with fewer steps use the first few.
    indices: For each client its mini-batches, [steps_i, b_i].
    noise: The compressor's uniforms, [S, n], on the device.
    everything: All examples of each client, [n_i], where the strategy reads them; else empty.
    draws: What the augmentation does to each example, [steps_i, b_i, n]; empty without one.
    keys: Of the model's random numbers in each step, [S, max steps]; empty where it draws none.
    full_keys: The same of the gradient over `everything`, [S, 1].
    personal_steps: First steps of the round that train the personal parameters alone.
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


class Ahead(NamedTuple):
    """About how much a run has to do: local steps of a client, and clients of a cohort."""

    steps: int
    clients: int


class ClientParts(Protocol):
    """A client's round in its parts, on one client's tensors: `fedlocal.rounds.client.Client`."""

    @property
    def gradients(self) -> Gradients:
        """Of the objective."""
        ...

    def parts(self, state: Tree, inbox: Inbox) -> Own:
        """The other parts of the client's model at the start of a round."""
        ...

    def begin(self, state: Tree, inbox: Inbox, work: Work) -> tuple[Tree, Local]:
        """Pull, and get ready."""
        ...

    def step(self, local: Local, begun: Tree, batch: Batch, control: Tree, lr: Tensor) -> Local:
        """One local step."""
        ...

    def end(
        self, state: Tree, begun: Tree, local: Local, control: Tree, work: Work
    ) -> tuple[ClientState, Upload]:
        """The next state, and what is sent."""
        ...


class Runner(Protocol):
    """Runs cohorts of one run's clients, round after round."""

    @property
    def about(self) -> str:
        """How it runs them, in words; empty before the first cohort."""
        ...

    def run(self, states: ClientState, inbox: Inbox, plan: Plan) -> tuple[ClientState, Upload]:
        """The cohort's next states and uploads; every tensor of states, inbox and result [S, ...].

        No argument is changed.
        """
        ...

    def gradients(
        self, models: Tensor, own: Own, examples: list[IntArray], keys: IntArray
    ) -> Tensor:
        """Each client's gradient over its examples, [S, P].

        Args:
            models: Where it is taken, [S, P].
            own: The other parts of the models, every tensor [S, ...].
            examples: [n_i] of each client.
            keys: Of the models' random numbers, [S, 1]; empty where they draw none.
        """
        ...


class Runtime(Protocol):
    """A way to run the same round of one client for every member of a cohort."""

    def runner(self, client: Client, ahead: Ahead) -> Runner:
        """Who runs the cohorts of one run."""
        ...


def shared_steps(plan: Plan, steps: int, like: Tensor) -> Tensor:
    """Return a mask of the steps that train the shared parameters, [steps]."""
    return torch.arange(steps, device=like.device) >= plan.personal_steps


def everything(
    examples: list[IntArray], keys: IntArray, like: Tensor, pads: Callable[[], bool]
) -> Everything:
    """All examples of S clients, cut into parts that are looked at one after another.

    Args:
        examples: [n_i] of each client.
        keys: Of the models' random numbers, [S, 1]; empty where they draw none.
        like: Gives the device.
        pads: Whether batches may be cut and padded; else all that a client holds is one part, and
            all clients hold equally many examples.

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
