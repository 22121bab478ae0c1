"""`fedlocal.simulate`: train one model over K clients in this process."""

from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fedlocal.data.arrays import place_like
from fedlocal.data.clients import Clients
from fedlocal.data.examples import check_alike, check_single, examples
from fedlocal.objective import Loss, Start, StepOptions, check_test, objective_of
from fedlocal.objective.augment import Augment, NoAugment
from fedlocal.objective.losses import cross_entropy
from fedlocal.objective.options import Buffers, ModelOptions
from fedlocal.objective.precision import Precision
from fedlocal.rounds.changed_values import Changes
from fedlocal.rounds.clock import Clock
from fedlocal.rounds.deadline import Deadline
from fedlocal.rounds.definition import Environment, Method, Observation, Problem
from fedlocal.rounds.diagnostics import names_of
from fedlocal.rounds.faults import DropOut
from fedlocal.rounds.goal import Goal
from fedlocal.rounds.ledger import Ledger
from fedlocal.rounds.metrics import Row
from fedlocal.rounds.population import InProcess
from fedlocal.rounds.result import Result
from fedlocal.rounds.run_loop import Progress, initial_progress, run
from fedlocal.rounds.runtime_interface import Runtime
from fedlocal.rounds.scoring import Evaluate, Examples
from fedlocal.rounds.state import (
    Simulation,
    check_buffers,
    client_models,
    consensus,
    local_steps,
)
from fedlocal.runtime import runtime_of
from fedlocal.slots.message_check import check_links
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.device import pick_device
from fedlocal.vectors.flat import assign


def simulate(
    model: nn.Module,
    clients: Iterable[Any] | Clients,
    strategy: Strategy,
    rounds: int = 50,
    batch_size: int | None = 32,
    loss: Loss = cross_entropy,
    test: Any = None,
    participation: float = 1.0,
    seed: int = 0,
    runtime: str | Runtime = "vmapped",
    device: str = "auto",
    dtype: torch.dtype | None = None,
    clock: Clock | None = None,
    faults: DropOut | None = None,
    evaluate: Evaluate | None = None,
    on_round: Callable[[Row], None] | None = None,
    deadline: Deadline | None = None,
    diagnostics: bool | Sequence[str] = (),
    goal: Goal | None = None,
    augment: Augment | None = None,
    precision: Precision = "full",
    clip_norm: float | None = None,
    spill: str | None = None,
    frozen: Sequence[str] = (),
    personal: Sequence[str] = (),
    buffers: Buffers = "average",
    l2: float = 0.0,
    personal_steps: int = 0,
) -> Result:
    """Train `model` over `clients` with `strategy`.

    Args:
        model: Initial model, which is not changed. Local steps run it in train mode, evaluations in
            eval mode. Parameters without `requires_grad` keep their values.
        clients: One pair (x [n_i, ...], y [n_i, ...]) of tensors or numpy arrays, or one map-style
            Dataset of items (x, y), per client; or prepared `Clients`.
        strategy: Result of a function of `strategies`.
        rounds: Number of synchronisations. A strategy with an end of its own (one_shot) ends
            earlier.
        batch_size: Examples in a local step; None or 0 takes all of the client's. Clients that hold
            fewer use all of theirs.
        loss: (output, target) -> scalar, any function of a whole batch; a module
            (`fedlocal.objective.losses`, `torch.nn`) is copied to the run's device and dtype.
        test: A pair (x, y) to evaluate on, or a Dataset, as for a client.
        participation: Share of the clients in each round, in (0, 1].
        seed: Seed of batches, cohorts, compressor noise, faults and the clock.
        runtime: "vmapped" or "loop", or a runtime with settings of its own.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: Dtype of parameters and inputs; None keeps the model's.
        clock: Law of the simulated seconds.
        faults: Failures of cohort members.
        evaluate: Schedule and size of evaluations.
        on_round: Function called with each row of metrics.
        deadline: Maximum length of a round, and treatment of late members.
        diagnostics: Names of further columns (`fedlocal.rounds.diagnostics`), or True for all.
        goal: Target value of a metric, and early stopping.
        augment: Augmentation of the pictures of local steps (`fedlocal.objective.augment`).
        precision: Precision of forward and backward passes: "full", "tf32" for matrix products on a
            GPU, or "bf16" for autocast to bfloat16.
        clip_norm: Largest norm of a client's mini-batch gradient; None does not clip.
        spill: Folder for client states that do not fit into memory.
        frozen: Names or patterns of parameters that are neither trained nor sent.
        personal: Names or patterns of parameters that stay with their client, are trained there
            and never sent.
        buffers: Treatment of buffers that `forward` changes, such as running statistics: "average",
            "personal" (they stay with their client) or "frozen".
        l2: Local steps minimise loss + l2 / 2 |parameters|^2; the losses of the history are
            without that term.
        personal_steps: First local steps of each round, which train the personal parameters only;
            the steps after them train the shared ones only, as in FedRep. 0 trains both in every
            step, as in FedPer.

    Raises:
        ValueError: An argument is invalid; the message states the fix.

    >>> from strategies import local_sgd
    >>> clients = [(torch.randn(20, 2), torch.randint(0, 3, (20,))) for _ in range(4)]
    >>> model = nn.Linear(2, 3)
    >>> result = simulate(model, clients, local_sgd(lr=0.1, period=5), rounds=2, device="cpu")
    >>> result.history[-1]["local_steps"], result.params.shape, result.ledger.uplink_bytes
    (10, torch.Size([9]), 544)
    """
    _check_callback(on_round)
    options = ModelOptions(frozen, personal, buffers, l2, personal_steps)
    steps = StepOptions(augment or NoAugment(), precision, clip_norm)
    sim = prepare(
        Problem(model, clients, loss, test, options),
        Method(strategy, rounds, batch_size, participation, seed, steps),
        Environment(runtime, device, dtype, clock, faults, deadline, spill),
        Observation(evaluate, diagnostics, goal),
    )

    changes = Changes(sim, model, loss) if on_round is not None else None

    def after_round(progress: Progress) -> None:
        if on_round is not None and changes is not None:
            on_round(progress.history[-1])
            changes.check()

    return finish(sim, run(sim, initial_progress(sim), after_round))


def prepare(
    problem: Problem, method: Method, environment: Environment, observation: Observation
) -> Simulation:
    """Check that the groups of a run fit together, and put the run on its device.

    Raises:
        ValueError: They do not fit; the message says what and how to mend it.
    """
    given, options, strategy = problem.clients, problem.options, method.strategy
    pool = given if isinstance(given, Clients) else Clients.of(given)
    built = objective_of(
        problem.model,
        problem.loss,
        pool,
        method.batch_size or None,
        options,
        method.steps,
        pick_device(environment.device),
        environment.dtype,
    )
    objective, start, own = built
    # Some mixings refuse some numbers of clients; they look at the number, not at the model.
    strategy.mixing.init(start[:1], len(pool))
    faults, deadline = environment.faults or DropOut(), environment.deadline or Deadline()
    strategy.check_participation(faults.share(len(pool)))
    deadline.check(strategy, start[:1])
    strategy = strategy.bind(objective.spec)
    check_links(strategy, start)
    x, y, test = objective.x, objective.y, problem.test
    evaluate, goal = observation.evaluate or Evaluate(), observation.goal or Goal()
    goal.check(classes=not y.is_floating_point(), tested=test is not None)
    sim = Simulation(
        objective=objective,
        clients=pool,
        strategy=strategy,
        start=start,
        rounds=min(method.rounds, strategy.rounds or method.rounds),
        batch_size=method.batch_size or None,
        participation=method.participation,
        seed=method.seed,
        runtime=runtime_of(environment.runtime),
        population=InProcess(_folder(environment.spill)),
        clock=environment.clock or Clock(),
        faults=faults,
        deadline=deadline,
        evaluate=evaluate,
        train=evaluate.subset(x, y, pool.held, method.seed),
        test=None if test is None else _test(test, pool, built),
        diagnostics=names_of(observation.diagnostics),
        goal=goal,
        own=own,
        buffers=options.buffers,
        personal_steps=options.personal_steps,
    )
    check_buffers(sim)
    local_steps(sim, strategy.period.init(), 0, np.arange(len(pool)))
    return sim


def finish(sim: Simulation, progress: Progress) -> Result:
    """Return the result of a run after its last round."""
    state, objective = progress.state, sim.objective
    params, model = consensus(sim, state), objective.evaluated
    assign(model, params, objective.spec)
    if sim.averaged_buffers != ():
        assign(model, state.server.buffers, objective.layout.buffers)
    return Result(
        history=progress.history,
        model=model,
        params=params,
        client_params=client_models(sim, state),
        server_state=state.server,
        clients=state.clients,
        ledger=Ledger(tuple(progress.records)),
        layout=objective.layout,
        executor=sim.cohort.about,
    )


def _check_callback(on_round: Any) -> None:
    """Raise ValueError unless it is None or can be called with a row."""
    if on_round is None:
        return
    name = getattr(on_round, "__qualname__", repr(on_round))
    try:
        signature(on_round).bind({})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"on_round must be a function of one row of metrics, got {name}: {error}"
        ) from error


def _folder(spill: str | None) -> str | None:
    """Create the folder if needed; return its absolute path, as a resumed run changes its own."""
    if spill is None:
        return None
    if not isinstance(spill, str | Path):
        raise ValueError(f"spill must be the path of a folder or None, got {spill!r}")
    try:
        Path(spill).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"spill={str(spill)!r} cannot be a folder: {error.strerror}") from error
    return str(Path(spill).absolute())


def _test(given: Any, pool: Clients, built: Start) -> Examples:
    x, y = built.objective.x, built.objective.y
    check_single(given, x)
    pair = examples(given, "test", pool.pixels)
    inputs, targets = place_like(pair[0], x, "test: x"), place_like(pair[1], y, "test: y")
    check_alike([(x, y), (inputs, targets)], ["clients", "test"])
    check_test(built, inputs, targets)
    return Examples(inputs, targets)
