"""Training of the clients of several runs as one batch."""

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from fedlocal.objective import Objective
from fedlocal.rounds.runtime_interface import CohortWork, Runner, RunSize
from fedlocal.rounds.training_request import Trained, Training
from fedlocal.runtime.stacked.client import StackedClient
from fedlocal.runtime.stacked.runtime import BatchedRunner
from fedlocal.runtime.stacked.scheduling import Outcome
from fedlocal.runtime.stacked.varying_numbers import Path
from fedlocal.runtime.tracing.trace import shapes
from fedlocal.runtime.vmap_trial import NotBatchable
from fedlocal.vectors.trees import Tree, concatenate, take

log = logging.getLogger(__name__)

# Settings in which trainings of one batch agree, by name.
GroupKey = tuple[tuple[str, Hashable], ...]


@dataclass
class SweepBatcher:
    """Trainer of cohorts of runs that have a `BatchedRuntime`.

    Attributes:
        runners: Runner of each known group of runs; None where they train one by one.
        said: Messages logged so far.
    """

    runners: dict[Hashable, Runner | None] = field(default_factory=dict)
    said: set[Hashable] = field(default_factory=set)

    def train(self, trainings: list[Training]) -> list[Outcome]:
        """Return the result of each training; None where a run must train by itself."""
        groups: dict[GroupKey, list[int]] = {}
        for index, training in enumerate(trainings):
            groups.setdefault(group_key(training), []).append(index)
        outcomes: list[Outcome] = [None] * len(trainings)
        for key, rows in groups.items():
            members = [trainings[row] for row in rows]
            self._explain(key, groups.keys() - {key}, members)
            for row, outcome in zip(rows, self._train(key, members), strict=True):
                outcomes[row] = outcome
        return outcomes

    def _train(self, key: GroupKey, trainings: list[Training]) -> Sequence[Outcome]:
        nothing = [None] * len(trainings)
        if len(trainings) == 1:
            return nothing
        members = [runner_of(training) for training in trainings]
        each = [member.fields.varying for member in members]
        paths = tuple(path for path in each[0] if len({values[path] for values in each}) > 1)
        group = key, *members
        if group not in self.runners:
            self.runners[group] = self._runner(trainings, paths)
        runner = self.runners[group]
        if runner is None:
            return nothing
        values = [[varying[path] for path in paths] for varying in each]
        try:
            outcomes = _stacked(runner, trainings, values)
        except NotBatchable as error:
            self.runners[group] = None
            self._not_stacked(members, str(error))
            return nothing
        except Exception as error:
            # For every run to end with; runs of other groups go on.
            return [error] * len(trainings)
        for member in members:
            member.stacked = True
        return outcomes

    def _runner(self, trainings: list[Training], paths: tuple[Path, ...]) -> Runner | None:
        """Return the runner of a batch; None if the data differ after all."""
        first, *others = (training.sim.objective for training in trainings)
        members = [runner_of(training) for training in trainings]
        if not all(_same_data(first, other) for other in others):
            self._not_stacked(members, "examples or frozen parameters differ")
            return None
        steps = max(member.ahead.steps for member in members)
        ahead = RunSize(steps, sum(member.ahead.clients for member in members))
        return members[0].runtime.alone.runner(StackedClient(members[0].client, paths), ahead)

    def _explain(
        self, key: GroupKey, others: Iterable[GroupKey], trainings: list[Training]
    ) -> None:
        """Log in what a group differs from the most similar one."""
        situation = key, *(others := frozenset(others)), len(trainings) == 1
        if not others or situation in self.said:
            return
        self.said.add(situation)
        names = min((_differences(dict(key), dict(other)) for other in others), key=len)
        reason = (
            f"jobs that differ in {', '.join(names)} do not share a batch; a component's"
            " batched_fields names the numbers that may differ"
        )
        if len(trainings) == 1:
            self._not_stacked([runner_of(trainings[0])], reason)
        else:
            self._say(reason)

    def _not_stacked(self, members: list[BatchedRunner], reason: str) -> None:
        for member in members:
            if reason not in member.reasons:
                member.reasons.append(reason)
        self._say(f"jobs are run one by one: {reason}")

    def _say(self, words: str) -> None:
        if words not in self.said:
            self.said.add(words)
            log.warning(words)


def runner_of(training: Training) -> BatchedRunner:
    """Return the runner of the run."""
    runner = training.sim.cohort
    assert isinstance(runner, BatchedRunner)
    return runner


def group_key(training: Training) -> GroupKey:
    """Return the settings in which trainings of one batch agree."""
    one = take((training.states, training.inbox, training.work.noise), 0)
    return (
        *runner_of(training).group_key.items(),
        ("the layout of client states", shapes(one)),
        ("correction.reads_all_data", bool(training.work.everything)),
        ("augment", bool(training.work.draws)),
    )


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs, without those nested in another difference."""
    both = [*one, *(name for name in other if name not in one)]
    differ = [name for name in both if name not in one or one[name] != other.get(name)]
    return [name for name in differ if not any(name.startswith(f"{o}.") for o in differ)]


def _same_data(a: Objective, b: Objective) -> bool:
    """Return whether both have the same examples, and models with the same fixed tensors.

    Frozen parameters of a random initialisation differ between seeds.
    """
    if a.constants.keys() != b.constants.keys():
        return False
    pairs = [(a.x, b.x), (a.y, b.y), *((t, b.constants[name]) for name, t in a.constants.items())]
    return all(x is y or torch.equal(x, y) for x, y in pairs)


def _stacked(runner: Runner, trainings: list[Training], values: list[list[float]]) -> list[Trained]:
    """Run the cohorts as one; `values` holds the varying numbers of each."""
    counts = [len(training.work.clients) for training in trainings]
    like = trainings[0].inbox.model
    rows = torch.tensor(values, dtype=like.dtype).to(like.device)
    rows = rows.repeat_interleave(torch.tensor(counts, device=like.device), 0)
    states: Tree = (tuple(rows.unbind(1)), concatenate([each.states for each in trainings]))
    inbox = concatenate([each.inbox for each in trainings])
    outcome = runner.run(states, inbox, _plan([each.work for each in trainings]))
    ends = np.cumsum(counts)
    return [
        take(outcome, slice(int(end) - count, int(end)))
        for end, count in zip(ends, counts, strict=True)
    ]


def _plan(plans: list[CohortWork]) -> CohortWork:
    longest = max(plan.rates.shape[1] for plan in plans)
    return CohortWork(
        clients=np.concatenate([plan.clients for plan in plans]),
        steps=np.concatenate([plan.steps for plan in plans]),
        rates=np.concatenate([_as_long(plan.rates, longest) for plan in plans]),
        indices=[own for plan in plans for own in plan.indices],
        noise=torch.cat([plan.noise for plan in plans]),
        everything=[own for plan in plans for own in plan.everything],
        draws=[own for plan in plans for own in plan.draws],
        keys=np.concatenate([_as_long(plan.keys, longest) for plan in plans]),
        full_keys=np.concatenate([plan.full_keys for plan in plans]),
        personal_steps=plans[0].personal_steps,
    )


def _as_long(rows: np.ndarray, length: int) -> np.ndarray:
    """Pad step sizes or keys [S, h] with unused columns; none stay none."""
    return np.pad(rows, ((0, 0), (0, length - rows.shape[1]))) if rows.size else rows
