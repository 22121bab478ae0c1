"""Where the rounds of several runs meet, and are computed as one batch."""

import logging
from collections.abc import Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.objective import Objective
from fedlocal.objective.gradients import Own
from fedlocal.rounds.client import Client, ClientState, Inbox, Upload
from fedlocal.rounds.runner import Ahead, Plan, Runner
from fedlocal.runtime import Vmapped
from fedlocal.runtime.stacked.client import StackedClient
from fedlocal.runtime.stacked.numbers import Path, numbers, rest
from fedlocal.runtime.stacked.turns import ask
from fedlocal.runtime.tracing.trace import shapes
from fedlocal.utils.arrays import IntArray
from fedlocal.vectors.trees import Tree, concatenate, take

log = logging.getLogger(__name__)

Answered = tuple[ClientState, Upload]


@dataclass(frozen=True, eq=False)
class Together:
    """A runtime that brings each cohort to where those of other runs are.

    Attributes:
        alone: What runs a cohort that meets no other of its kind.
        objective: The run's.
        kind: Equal for runs with the same model, data and options.
    """

    alone: Vmapped
    objective: Objective
    kind: Hashable

    def runner(self, client: Client, ahead: Ahead) -> "TogetherRunner":
        """See `Runtime.runner`."""
        return TogetherRunner(self, client, ahead, self.alone.runner(client, ahead))


@dataclass(frozen=True, eq=False)
class TogetherRunner:
    """See `Together`."""

    runtime: Together
    client: Client
    ahead: Ahead
    alone: Runner

    @property
    def about(self) -> str:
        """See `Runner.about`."""
        return f"stacked with other jobs; {self.alone.about}".rstrip("; ")

    @cached_property
    def numbers(self) -> dict[Path, float]:
        """The numbers of the run's strategy."""
        return numbers(self.client.strategy)

    @cached_property
    def rest(self) -> Hashable:
        """The rest of it."""
        return rest(self.client.strategy)

    def run(self, states: ClientState, inbox: Inbox, plan: Plan) -> Answered:
        """See `Runner.run`."""
        return ask(Cohort(self, states, inbox, plan))

    def gradients(
        self, models: Tensor, own: Own, examples: list[IntArray], keys: IntArray
    ) -> Tensor:
        """See `Runner.gradients`."""
        return self.alone.gradients(models, own, examples, keys)


class Cohort(NamedTuple):
    """One run's cohort that is to be run."""

    runner: TogetherRunner
    states: ClientState
    inbox: Inbox
    plan: Plan

    @property
    def kind(self) -> Hashable:
        """Equal for cohorts that can be one batch."""
        one = take((self.states, self.inbox, self.plan.noise), 0)
        of_plan = bool(self.plan.everything), bool(self.plan.draws)
        runner = self.runner
        return runner.runtime.kind, runner.rest, shapes(one), of_plan

    def run(self) -> Answered:
        """Run it by itself."""
        return self.runner.alone.run(self.states, self.inbox, self.plan)


@dataclass
class Meeting:
    """Runs what comes together. Keeps a runner for every company that came before."""

    runners: dict[Hashable, Runner | None] = field(default_factory=dict)

    def answer(self, cohorts: list[Cohort]) -> list[Answered]:
        """The next states and uploads of each."""
        kinds: dict[Hashable, list[int]] = {}
        for index, cohort in enumerate(cohorts):
            kinds.setdefault(cohort.kind, []).append(index)
        answers: list[Any] = [None] * len(cohorts)
        for kind, company in kinds.items():
            outcomes = self._run(kind, [cohorts[index] for index in company])
            for index, outcome in zip(company, outcomes, strict=True):
                answers[index] = outcome
        return answers

    def _run(self, kind: Hashable, cohorts: list[Cohort]) -> list[Answered]:
        if len(cohorts) == 1:
            return [cohorts[0].run()]
        each = [cohort.runner.numbers for cohort in cohorts]
        paths = tuple(path for path in each[0] if len({values[path] for values in each}) > 1)
        company = kind, paths, tuple(cohort.runner for cohort in cohorts)
        if company not in self.runners:
            self.runners[company] = _runner(cohorts, paths)
        runner = self.runners[company]
        if runner is None:
            return [cohort.run() for cohort in cohorts]
        values = [[numbers_of[path] for path in paths] for numbers_of in each]
        try:
            return _stacked(runner, cohorts, values)
        except (RuntimeError, TypeError) as error:
            # A piece that looks at its number with `if` or float() cannot have many at once.
            log.warning("jobs that differ in %s are run one by one: %s", paths, error)
            self.runners[company] = None
            return [cohort.run() for cohort in cohorts]


MEETING: ContextVar[Meeting | None] = ContextVar("meeting", default=None)


def _runner(cohorts: list[Cohort], paths: tuple[Any, ...]) -> Runner | None:
    """What runs them as one; None if their data are not the same after all."""
    first, *others = (cohort.runner for cohort in cohorts)
    if not all(_same_data(first, other) for other in others):
        return None
    steps = max(cohort.runner.ahead.steps for cohort in cohorts)
    ahead = Ahead(steps, sum(cohort.runner.ahead.clients for cohort in cohorts))
    return first.runtime.alone.runner(StackedClient(first.client, paths), ahead)


def _same_data(one: TogetherRunner, other: TogetherRunner) -> bool:
    """Return whether both have the same examples, and models with the same fixed tensors.

    Frozen parameters of a random initialisation differ between seeds.
    """
    a, b = one.runtime.objective, other.runtime.objective
    if a.constants.keys() != b.constants.keys():
        return False
    pairs = [(a.x, b.x), (a.y, b.y), *((t, b.constants[name]) for name, t in a.constants.items())]
    return all(x is y or torch.equal(x, y) for x, y in pairs)


def _stacked(runner: Runner, cohorts: list[Cohort], values: list[list[float]]) -> list[Answered]:
    """Run the cohorts as one; `values` are the numbers of each."""
    counts = [len(cohort.plan.clients) for cohort in cohorts]
    like = cohorts[0].inbox.model
    rows = torch.tensor(values, dtype=like.dtype).to(like.device)
    rows = rows.repeat_interleave(torch.tensor(counts, device=like.device), 0)
    states: Tree = (tuple(rows.unbind(1)), concatenate([cohort.states for cohort in cohorts]))
    inbox = concatenate([cohort.inbox for cohort in cohorts])
    outcome = runner.run(states, inbox, _plan([cohort.plan for cohort in cohorts]))
    ends = np.cumsum(counts)
    return [
        take(outcome, slice(int(end) - count, int(end)))
        for end, count in zip(ends, counts, strict=True)
    ]


def _plan(plans: list[Plan]) -> Plan:
    longest = max(plan.rates.shape[1] for plan in plans)
    return Plan(
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
    """Step sizes or keys [S, h] with more columns, which no step looks at; none stay none."""
    return np.pad(rows, ((0, 0), (0, length - rows.shape[1]))) if rows.size else rows
