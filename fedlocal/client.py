"""One client's round. Written for one client; the vmapped runtime runs it for many at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.pieces import View
from fedlocal.precision import Precision
from fedlocal.strategy import Strategy
from fedlocal.trees import Tree, select, take

# (x [P], indices [B], mask [B] or ()) -> (gradient [P], loss []), on those examples.
Gradient = Callable[[Tensor, Tensor, Tree], tuple[Tensor, Tensor]]


class Gradients(NamedTuple):
    """Of the objective.

    step: Of a local step, given its draws [B, n] or () too. plain: Of examples as they are.
    precision: In which products are to be computed.
    """

    step: Callable[[Tensor, Tensor, Tree, Tree], tuple[Tensor, Tensor]]
    plain: Gradient
    precision: Precision = "full"


class ClientState(NamedTuple):
    """What one client keeps between rounds, one field per slot that keeps anything."""

    inner: Tree
    correction: Tree
    uplink: Tree
    mixing: Tree


class Inbox(NamedTuple):
    """What the server broadcast: the anchor (or this client's row) [P] and the controls."""

    model: Tensor
    inner: Tree
    correction: Tree


class Work(NamedTuple):
    """What a client does in a round: everything random or scheduled, decided beforehand.

    indices: Examples of each local step, [H, B].
    mask: Which of the B are real where clients are padded to one B, [B]; () when all are.
    active: Which of the H steps are real where clients are padded to one H, [H]; () when all are.
    rates: Step sizes, [H].
    noise: The compressor's uniforms, [n].
    everything: All of the client's examples, where the correction reads them; else ().
    draws: What the augmentation does to each example of each step, [H, B, n]; () without one.
    """

    indices: Tensor
    mask: Tree
    active: Tree
    rates: Tensor
    noise: Tensor
    everything: Tree = ()
    draws: Tree = ()


class Everything(NamedTuple):
    """All examples of a client: indices, [C, B], and which of them are no padding, [C, B]."""

    indices: Tensor
    real: Tensor


class Upload(NamedTuple):
    """What a client sends: the encoded message, the pieces' reports, and its mean loss []."""

    message: Tree
    inner: Tree
    correction: Tree
    loss: Tensor


class Begun(NamedTuple):
    """What local steps look at and leave as it is: where they start, and two pieces' states."""

    start: Tensor
    belief: Tensor
    correction: Tree


class Local(NamedTuple):
    """What changes from one local step to the next."""

    x: Tensor
    inner: Tree
    loss_sum: Tensor
    step_sum: Tensor


class Batch(NamedTuple):
    """What one local step is given of a client's work: a row of its indices, and so on."""

    indices: Tensor
    mask: Tree
    active: Tree
    draws: Tree


@dataclass(frozen=True, eq=False)
class Client:
    """A client's round: its begin, H steps, and its end. Shapes are those of one client.

    Attributes:
        strategy: Bound to the model's layers.
        gradients: Of the objective, at vectors [P].
    """

    strategy: Strategy
    gradients: Gradients

    def round(self, state: ClientState, inbox: Inbox, work: Work) -> tuple[ClientState, Upload]:
        """Pull, take H local steps, encode what the server does not know yet."""
        begun, local = self.begin(state, inbox, work)
        for h in range(work.indices.shape[0]):
            local = self.step(local, begun, batch(work, h), inbox.correction, work.rates[h])
        return self.end(state, begun, local, inbox.correction, work)

    def begin(self, state: ClientState, inbox: Inbox, work: Work) -> tuple[Begun, Local]:
        """Pull, and get ready for the local steps."""
        strategy = self.strategy
        start, belief = strategy.mixing.begin(state.mixing, inbox.model)
        full = full_gradient(self.gradients.plain, start, work.everything)
        correction = strategy.correction.begin(state.correction, start, inbox.correction, full)
        zero = start.new_zeros(())
        local = Local(start, strategy.inner.begin(state.inner, inbox.inner), zero, zero)
        return Begun(start, belief, correction), local

    def step(self, local: Local, begun: Begun, batch: Batch, control: Tree, lr: Tensor) -> Local:
        """One local step with the step size `lr` []; `control` is the correction's broadcast."""

        def at(point: Tensor) -> tuple[Tensor, Tensor]:
            # The same pictures wherever the point is.
            return self.gradients.step(point, batch.indices, batch.mask, batch.draws)

        def gradient(point: Tensor) -> Tensor:
            return at(point)[0]

        view = View(begun.start, control, gradient)
        grad, loss = at(local.x)
        direction = self.strategy.correction.correct(grad, local.x, begun.correction, view)
        x, buffers = self.strategy.inner.step(local.x, direction, local.inner, lr)
        after = Local(x, buffers, local.loss_sum + loss, local.step_sum + lr)
        # A client that is done waits for the others of its batch with nothing changing.
        return after if batch.active == () else select(batch.active, after, local)

    def end(
        self, state: ClientState, begun: Begun, local: Local, control: Tree, work: Work
    ) -> tuple[ClientState, Upload]:
        """Encode what the server does not know yet, and keep what the next round needs."""
        strategy, noise, (start, belief, correction) = self.strategy, work.noise, begun
        steps = _steps(work, start)
        link = strategy.uplink.observe(state.uplink, steps, local.step_sum)
        vector = strategy.mixing.told(start, local.x) - belief
        message, uplink = strategy.uplink.encode(vector, link, noise)
        belief = belief + strategy.uplink.decode(message, noise, vector.shape[0])
        ended, report = strategy.correction.end(correction, start, belief, local.step_sum, control)

        memory = strategy.mixing.end(state.mixing, local.x, belief)
        upload = Upload(message, strategy.inner.report(local.inner), report, local.loss_sum / steps)
        return ClientState(local.inner, ended, uplink, memory), upload


def init_client(strategy: Strategy, x: Tensor) -> ClientState:
    """State of a client that has not taken part yet."""
    return ClientState(
        inner=strategy.inner.init(x),
        correction=strategy.correction.init(x),
        uplink=strategy.uplink.init(x),
        mixing=strategy.mixing.memory(x),
    )


def batch(work: Work, h: int) -> Batch:
    """The work of step h."""
    return Batch(work.indices[h], work.mask, take(work.active, h), take(work.draws, h))


def full_gradient(gradient: Gradient, x: Tensor, everything: Tree) -> Tree:
    """Gradient at x over all of a client's examples, [P]; () where they are not given."""
    if everything == ():
        return ()
    counts = everything.real.sum(1).to(x.dtype)
    total = torch.zeros_like(x)
    for part in range(len(counts)):
        grad = gradient(x, everything.indices[part], everything.real[part])[0]
        # A part that is all padding has no mean.
        total = total + torch.where(counts[part] > 0, counts[part] * grad, 0.0)
    return total / counts.sum()


def _steps(work: Work, like: Tensor) -> Tensor:
    """How many local steps this client takes, []."""
    if work.active == ():
        return like.new_tensor(work.indices.shape[0])
    return work.active.sum().to(like.dtype)


def broadcast_rows(anchor: Tensor, clients: Tensor) -> Tensor:
    """The anchor row of each client, [S, P], from [1, P] (shared) or [K, P] (own rows)."""
    shared = anchor.shape[0] == 1
    return anchor.expand(len(clients), -1) if shared else torch.index_select(anchor, 0, clients)
