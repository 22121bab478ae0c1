"""Evaluation of a run: the consensus model, or every client's model where parts are personal."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fedlocal.objective.gradients import Own
from fedlocal.rounds.scoring import Examples, Score, score
from fedlocal.rounds.state import RunState, Simulation, client_models, consensus
from fedlocal.vectors.rng import Purpose, generator
from fedlocal.vectors.trees import take

Columns = dict[str, float | None]
NOTHING: Columns = {"train_loss": None, "test_loss": None, "test_accuracy": None}


def check_measured(sim: Simulation, away: bool) -> None:
    """Raise ValueError if the goal or an adaptive period reads a metric that is never measured.

    Args:
        sim: The run.
        away: Whether the clients run on other machines.
    """
    period, absent = sim.strategy.period, empty_columns(sim, away)
    parts = "the personal parts of the model" if sim.has_personal else "the training examples"
    why = f"is empty in every row, as {parts} stay on their machines"
    if sim.goal.is_set and sim.goal.metric in absent:
        raise ValueError(
            f"goal.metric={sim.goal.metric} {why}; use goal.metric=local_loss, the loss while"
            " clients train"
        )
    if period.column in absent:
        name = type(period).__name__
        raise ValueError(f"{name} with loss={period.column} {why}; use loss=local_loss")


def empty_columns(sim: Simulation, away: bool) -> tuple[str, ...]:
    """Return the columns that cannot be measured; `away` as in `check_measured`."""
    if sim.has_personal and away:
        return tuple(NOTHING)
    return ("train_loss",) if sim.train is None else ()


def evaluation(sim: Simulation, state: RunState) -> Columns:
    """Measure train loss, test loss and test accuracy after a round.

    They are those of the consensus model. Where parameters or buffers are personal, they are means
    over the clients' models: the train loss weighted by example count, each on the client's own
    examples; test loss and accuracy unweighted. None in rounds without an evaluation, and where
    personal parts are on other machines.
    """
    if not sim.evaluate.due(state.round_index, sim.rounds):
        return NOTHING
    if sim.has_personal:
        return _of_clients(sim, state)
    x, own = consensus(sim, state), Own((), state.server.buffers)
    return _columns(
        None if sim.train is None else _score(sim, x, own, sim.train).loss,
        None if sim.test is None else _score(sim, x, own, sim.test),
    )


def _of_clients(sim: Simulation, state: RunState) -> Columns:
    own = sim.population.own(sim, state)
    if own is None:
        return NOTHING
    models, test = client_models(sim, state), sim.test
    everyone = [(models[k], take(own, k)) for k in range(len(models))]
    counts = np.array(sim.clients.counts)
    train = [
        _score(sim, *model, part).loss for model, part in zip(everyone, _shares(sim), strict=True)
    ]
    scores = [] if test is None else [_score(sim, *model, test) for model in everyone]
    return _columns(float(np.dot(train, counts / counts.sum())), _mean(scores))


def _shares(sim: Simulation) -> Iterator[Examples]:
    """Yield the fixed random part of each client's examples that its train loss is measured on."""
    x, y, limit = sim.objective.x, sim.objective.y, sim.evaluate.train_examples
    held = [sim.clients.examples(k) for k in range(len(sim.clients))]
    share = min(1.0, limit / sum(map(len, held))) if limit else 1.0
    for client, rows in enumerate(held):
        rng = generator(sim.seed, Purpose.EVALUATION, client)
        count = max(1, round(share * len(rows)))
        ids = np.sort(rng.choice(rows, count, replace=False)) if count < len(rows) else rows
        chosen = torch.from_numpy(ids).to(x.device)
        yield Examples(x[chosen], y[chosen])


def _score(sim: Simulation, x: Tensor, own: Own, examples: Examples) -> Score:
    return score(sim.objective, x, own, examples, sim.evaluate.batch_size, sim.seed)


def _mean(scores: list[Score]) -> Score | None:
    if not scores:
        return None
    right = [s.accuracy for s in scores if s.accuracy is not None]
    return Score(float(np.mean([s.loss for s in scores])), float(np.mean(right)) if right else None)


def _columns(train_loss: float | None, test: Score | None) -> Columns:
    loss, accuracy = (None, None) if test is None else test
    return {"train_loss": train_loss, "test_loss": loss, "test_accuracy": accuracy}
