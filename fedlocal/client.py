"""One client's round. Written for one client; the vmapped runtime runs it for many at once."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fedlocal.pieces import View
from fedlocal.strategy import Strategy
from fedlocal.trees import Tree, select, take

# (x [P], indices [B], mask [B] or ()) -> (gradient [P], loss []), on those examples.
Gradient = Callable[[Tensor, Tensor, Tree], tuple[Tensor, Tensor]]


class Gradients(NamedTuple):
    """step: Of a local step, given its draws [B, n] or () too. plain: Of examples as they are."""

    step: Callable[[Tensor, Tensor, Tree, Tree], tuple[Tensor, Tensor]]
    plain: Gradient


# The point [P] -> (gradient [P], loss []).
At = Callable[[Tensor], tuple[Tensor, Tensor]]


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


class Local(NamedTuple):
    """What changes from one local step to the next."""

    x: Tensor
    inner: Tree
    loss_sum: Tensor
    step_sum: Tensor


def init_client(strategy: Strategy, x: Tensor) -> ClientState:
    """State of a client that has not taken part yet."""
    return ClientState(
        inner=strategy.inner.init(x),
        correction=strategy.correction.init(x),
        uplink=strategy.uplink.init(x),
        mixing=strategy.mixing.memory(x),
    )


def client_round(
    strategy: Strategy, gradients: Gradients, state: ClientState, inbox: Inbox, work: Work
) -> tuple[ClientState, Upload]:
    """Pull, take H local steps, encode what the server does not know yet.

    Shapes are those of one client: vectors [P], batches [B].
    """
    start, belief = strategy.mixing.begin(state.mixing, inbox.model)
    full = full_gradient(gradients.plain, start, work.everything)
    correction = strategy.correction.begin(state.correction, start, inbox.correction, full)
    inner = strategy.inner.begin(state.inner, inbox.inner)
    local = _local_steps(strategy, gradients, start, inner, correction, inbox, work)

    steps = _steps(work, start)
    link = strategy.uplink.observe(state.uplink, steps, local.step_sum)
    vector = strategy.mixing.told(start, local.x) - belief
    message, uplink = strategy.uplink.encode(vector, link, work.noise)
    belief = belief + strategy.uplink.decode(message, work.noise, vector.shape[0])
    correction, report = strategy.correction.end(
        correction, start, belief, local.step_sum, inbox.correction
    )

    memory = strategy.mixing.end(state.mixing, local.x, belief)
    upload = Upload(message, strategy.inner.report(local.inner), report, local.loss_sum / steps)
    return ClientState(local.inner, correction, uplink, memory), upload


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


def _local_steps(
    strategy: Strategy,
    gradients: Gradients,
    start: Tensor,
    inner: Tree,
    correction: Tree,
    inbox: Inbox,
    work: Work,
) -> Local:
    zero = start.new_zeros(())
    local = Local(start, inner, zero, zero)
    for h in range(work.indices.shape[0]):
        at = _on_batch(gradients, work, h)
        view = View(start, inbox.correction, _gradient_of(at))
        grad, loss = at(local.x)
        direction = strategy.correction.correct(grad, local.x, correction, view)
        lr = work.rates[h]
        x, buffers = strategy.inner.step(local.x, direction, local.inner, lr)
        after = Local(x, buffers, local.loss_sum + loss, local.step_sum + lr)
        # A client that is done waits for the others of its batch with nothing changing.
        local = after if work.active == () else select(work.active[h], after, local)
    return local


def _on_batch(gradients: Gradients, work: Work, h: int) -> At:
    """Gradient and loss on the mini-batch of step h, the same pictures wherever the point is."""
    indices, draws = work.indices[h], take(work.draws, h)
    return lambda point: gradients.step(point, indices, work.mask, draws)


def _gradient_of(at: At) -> Callable[[Tensor], Tensor]:
    return lambda point: at(point)[0]


def broadcast_rows(anchor: Tensor, clients: Tensor) -> Tensor:
    """The anchor row of each client, [S, P], from [1, P] (shared) or [K, P] (own rows)."""
    shared = anchor.shape[0] == 1
    return anchor.expand(len(clients), -1) if shared else torch.index_select(anchor, 0, clients)
