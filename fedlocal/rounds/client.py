"""A client's round, written for a single client; the vmapped runtime batches it over many."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.objective.gradients import NO_PARTS, Batch, Gradients, Own, StepGradient
from fedlocal.slots import InnerOptimiser, View
from fedlocal.slots.strategy import Strategy
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.trees import Tree, select, take


class OwnState(NamedTuple):
    """Parts of a model that stay with their client; a field is () where there are none.

    personal: Personal parameters, [Q]. inner: State of their inner optimiser. buffers: Buffers that
    `forward` changes, [B].
    """

    personal: Tree = ()
    inner: Tree = ()
    buffers: Tree = ()

    @property
    def parts(self) -> Own:
        """Return the personal parameters and buffers, without the optimiser's state."""
        return Own(self.personal, self.buffers)


class ClientState(NamedTuple):
    """State of one client between rounds, one field per slot that keeps any."""

    inner: Tree
    correction: Tree
    uplink: Tree
    mixing: Tree
    own: OwnState = OwnState()


class Inbox(NamedTuple):
    """Broadcast of the server: the anchor (or the client's row of it) [P], and the controls.

    buffers: Averaged buffers of the model, [B]; () where none are averaged.
    """

    model: Tensor
    inner: Tree
    correction: Tree
    buffers: Tree = ()


class PaddedWork(NamedTuple):
    """Work of a client in a round; everything random or scheduled is decided beforehand.

    indices: Examples of each local step, [H, B].
    mask: Real examples where batches are padded to one B, [B]; () where none are.
    active: Real steps where clients are padded to one H, [H]; () where none are.
    rates: Step sizes, [H].
    noise: Uniforms of the compressor, [n].
    everything: All of the client's examples, where the correction reads them; else ().
    draws: Augmentation of each example of each step, [H, B, n]; () without one.
    keys: Keys of the model's random numbers, [H]; () where it draws none.
    shared: Steps that train the shared parameters, [H]; the others train the personal ones. ()
        where every step trains both.
    """

    indices: Tensor
    mask: Tree
    active: Tree
    rates: Tensor
    noise: Tensor
    everything: Tree = ()
    draws: Tree = ()
    keys: Tree = ()
    shared: Tree = ()


class Upload(NamedTuple):
    """Message of a client: the encoded model, the slots' reports, and its mean loss [].

    buffers: Buffers of the model after the round, [B]; () where none are averaged.
    """

    message: Tree
    inner: Tree
    correction: Tree
    loss: Tensor
    buffers: Tree = ()


class RoundStart(NamedTuple):
    """Constants of a round's local steps: the start [P], the belief [P], the correction's state."""

    start: Tensor
    belief: Tensor
    correction: Tree


class Local(NamedTuple):
    """Variables of the local steps."""

    x: Tensor
    inner: Tree
    loss_sum: Tensor
    step_sum: Tensor
    own: OwnState = OwnState()


@dataclass(frozen=True, eq=False)
class Client:
    """A client's round: begin, H local steps, end. Shapes are those of one client.

    Attributes:
        strategy: Strategy, bound to the model's layers.
        gradients: Gradient functions of the objective.
        personal: Layout of the personal parameters; None if the model has none.
        personal_steps: First steps of a round, which train the personal parameters only; the steps
            after them train the shared ones only. 0 trains both in every step.
    """

    strategy: Strategy
    gradients: Gradients
    personal: ParamSpec | None = None
    personal_steps: int = 0

    def round(
        self, state: ClientState, inbox: Inbox, work: PaddedWork
    ) -> tuple[ClientState, Upload]:
        """Receive the broadcast, take H local steps, and encode the upload."""
        at_start, local = self.begin(state, inbox, work)
        for h in range(work.indices.shape[0]):
            local = self.step(local, at_start, batch(work, h), inbox.correction, work.rates[h])
        return self.end(state, at_start, local, inbox.correction, work)

    def begin(self, state: ClientState, inbox: Inbox, work: PaddedWork) -> tuple[RoundStart, Local]:
        """Receive the broadcast and prepare the local steps."""
        strategy = self.strategy
        start, belief = strategy.mixing.begin(state.mixing, inbox.model)
        own = self._begin_own(state.own, inbox, start)
        full = full_gradient(self.gradients, start, own.parts, work.everything)
        correction = strategy.correction.begin(state.correction, start, inbox.correction, full)
        zero = start.new_zeros(())
        local = Local(start, strategy.inner.begin(state.inner, inbox.inner), zero, zero, own)
        return RoundStart(start, belief, correction), local

    def step(
        self, local: Local, at_start: RoundStart, batch: Batch, control: Tree, lr: Tensor
    ) -> Local:
        """Take one local step of size `lr` []; `control` is the correction's broadcast."""

        def gradient(point: Tensor) -> Tensor:
            # The same augmentation and dropout masks at every point.
            return self.gradients.step(point, local.own.parts, batch).shared

        view = View(at_start.start, control, gradient)
        grad = self.gradients.step(local.x, local.own.parts, batch)
        direction = self.strategy.correction.correct(
            grad.shared, local.x, at_start.correction, view
        )
        x, buffers = self.strategy.inner.step(local.x, direction, local.inner, lr)
        own = self._step_own(local.own, grad, lr)
        after = Local(x, buffers, local.loss_sum + grad.loss, local.step_sum + lr, own)
        if batch.shared != ():
            after = _one_part(batch.shared, local, after)
        # The state of a client that has finished its steps stays the same.
        return after if batch.active == () else select(batch.active, after, local)

    def end(
        self,
        state: ClientState,
        at_start: RoundStart,
        local: Local,
        control: Tree,
        work: PaddedWork,
    ) -> tuple[ClientState, Upload]:
        """Encode the upload, and return the state for the next round."""
        strategy, noise, (start, belief, correction) = self.strategy, work.noise, at_start
        steps, first = _steps(work, start), self.personal_steps
        link = strategy.uplink.observe(state.uplink, steps - first, local.step_sum)
        vector = strategy.mixing.transmitted_model(start, local.x) - belief
        message, uplink = strategy.uplink.encode(vector, link, noise)
        belief = belief + strategy.uplink.decode(message, noise, vector.shape[0])
        effective = strategy.inner.effective(work.rates[first:])
        reach = _reach(effective, take(work.active, slice(first, None)))
        ended, report = strategy.correction.end(correction, start, belief, reach, control)

        memory = strategy.mixing.end(state.mixing, local.x, belief)
        # Buffers travel if the server averages them; otherwise they stay.
        kept = state.own.buffers != ()
        upload = Upload(
            message=message,
            inner=strategy.inner.report(local.inner),
            correction=report,
            loss=local.loss_sum / steps,
            buffers=() if kept else local.own.buffers,
        )
        own = local.own if kept else local.own._replace(buffers=())
        return ClientState(local.inner, ended, uplink, memory, own), upload

    def parts(self, state: ClientState, inbox: Inbox) -> Own:
        """Return the other parts of the client's model at the start of a round."""
        own = state.own.parts
        return own if inbox.buffers == () else own._replace(buffers=inbox.buffers)

    def _begin_own(self, own: OwnState, inbox: Inbox, start: Tensor) -> OwnState:
        """Return the client's own parts at the start of a round."""
        inner = self.strategy.inner
        # Averaged buffers of the optimiser have no counterpart for personal parameters.
        if self.personal is not None and inner.control(start) == ():
            own = own._replace(inner=inner.begin(own.inner, ()))
        return own if inbox.buffers == () else own._replace(buffers=inbox.buffers)

    def _step_own(self, own: OwnState, grad: StepGradient, lr: Tensor) -> OwnState:
        """Take the same step for personal parameters, without a correction; keep new buffers."""
        if self.personal is None:
            return own._replace(buffers=grad.buffers)
        inner: InnerOptimiser = self.strategy.inner.bind(self.personal)
        personal, state = inner.step(own.personal, grad.personal, own.inner, lr)
        return OwnState(personal, state, grad.buffers)


def init_client(
    strategy: Strategy, x: Tensor, own: Own = NO_PARTS, kept: bool = False
) -> ClientState:
    """Return the initial state of a client.

    Args:
        strategy: Its slots define what a client keeps.
        x: Initial shared parameters, [P].
        own: Initial personal parameters and buffers.
        kept: Whether the buffers stay with the client.
    """
    return ClientState(
        inner=strategy.inner.init(x),
        correction=strategy.correction.init(x),
        uplink=strategy.uplink.init(x),
        mixing=strategy.mixing.memory(x),
        own=_init_own(strategy, own, kept),
    )


def _init_own(strategy: Strategy, own: Own, kept: bool) -> OwnState:
    inner = () if own.personal == () else strategy.inner.init(own.personal)
    return OwnState(own.personal, inner, own.buffers if kept else ())


def batch(work: PaddedWork, h: int) -> Batch:
    """Return the work of step h."""
    rest = take((work.active, work.draws, work.keys, work.shared), h)
    return Batch(work.indices[h], work.mask, *rest)


def _one_part(shared: Tensor, before: Local, after: Local) -> Local:
    """Return a step that moves the shared parameters if `shared` [], else the personal ones."""
    still = before.own._replace(buffers=after.own.buffers)
    return select(
        shared,
        after._replace(own=still),
        before._replace(loss_sum=after.loss_sum, own=after.own),
    )


def full_gradient(gradients: Gradients, x: Tensor, own: Own, everything: Tree) -> Tree:
    """Compute the gradient at x over all of a client's examples, [P]; () where none are given."""
    if everything == ():
        return ()
    indices, real, key = everything

    def at(part: int) -> Tensor:
        keyed = key if key == () else key + part
        mask = real if real == () else real[part]
        return gradients.plain(x, own, Batch(indices[part], mask, key=keyed)).shared

    if real == ():
        # One part, or parts of equal length: their mean.
        return sum((at(part) for part in range(1, len(indices))), at(0)) / len(indices)
    counts = real.sum(1).to(x.dtype)
    total = torch.zeros_like(x)
    for part in range(len(counts)):
        # A part that consists of padding has no mean.
        total = total + torch.where(counts[part] > 0, counts[part] * at(part), 0.0)
    return total / counts.sum()


def _reach(effective: Tensor, active: Tree) -> Tensor:
    """Return the sum of a client's effective step sizes, [], added in the order of the steps."""
    taken = effective if active == () else torch.where(active, effective, 0.0)
    return torch.cumsum(taken, 0)[-1]


def _steps(work: PaddedWork, like: Tensor) -> Tensor:
    """Return the number of local steps of this client, []."""
    if work.active == ():
        return like.new_tensor(work.indices.shape[0])
    return work.active.sum().to(like.dtype)


def broadcast_rows(anchor: Tensor, clients: Tensor) -> Tensor:
    """Return the anchor row of each client, [S, P], from [1, P] (shared) or [K, P] (own rows)."""
    shared = anchor.shape[0] == 1
    return anchor.expand(len(clients), -1) if shared else torch.index_select(anchor, 0, clients)
