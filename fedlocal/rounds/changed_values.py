"""Detection of Python values in user code that change during a run.

A change invalidates traces and the checks before the first round. User code can change values only
in `on_round`, so nothing is compared without it.
"""

import warnings

import torch
from torch import Tensor, nn

from fedlocal.objective import Loss
from fedlocal.objective.gradients import Batch
from fedlocal.objective.python_values import PythonValues
from fedlocal.objective.rowwise_check import agree
from fedlocal.rounds.state import Simulation
from fedlocal.vectors.trees import leaves

# Number of examples of the probe, standard deviation of its perturbation, and its key.
PROBED = 8
MOVED = 0.1
KEY = 20_261_130


class Changes:
    """Looks whether model, loss or strategy have changed after each call of a user's code.

    The values that they read by name are compared, and the gradient at one fixed point, which
    depends on everything else they read: the time, a file, a context.
    """

    def __init__(self, sim: Simulation, model: nn.Module, loss: Loss) -> None:
        """Keep the present values.

        Args:
            sim: The run.
            model: The user's model, of which the run has a copy.
            loss: The user's loss.
        """
        self._sim = sim
        self._of_model = PythonValues(model=model)
        self._of_loss = PythonValues(loss, sim.strategy)
        self._followed = self._warned = False
        self._probed = self._probe()

    def check(self) -> None:
        """Compare the values: a change stops tracing and padding.

        A changed attribute of the model warns, since the run trains a copy.

        Raises:
            RuntimeError: The loss is a module and has changed; the run computes with a copy of it.
        """
        for values, of_loss in ((self._of_loss, True), (self._of_model, False)):
            found = values.changed()
            if found is None:
                continue
            name, copied = found
            if copied and of_loss:
                raise RuntimeError(
                    f"{name} of the loss has changed during the run, which computes with a copy of"
                    " a module; to change a loss between rounds, pass a function or an object that"
                    " is no module"
                )
            if not copied:
                self._follow(f"{name} has changed")
            else:
                self._warn(name)
        if not self._followed and not all(map(agree, self._probe(), self._probed)):
            self._follow("the loss has changed")

    def _follow(self, reason: str) -> None:
        if not self._followed:
            self._followed = True
            self._sim.cohort.stop_tracing(reason)

    def _warn(self, name: str) -> None:
        if self._warned:
            return
        self._warned = True
        # A model may also keep what it last computed, when the caller evaluates it.
        warnings.warn(
            f"{name} of the model has changed during the run, which trains a copy that does not"
            " follow; let forward read a value that is not the model's own, such as a global",
            stacklevel=4,
        )

    @torch.no_grad()
    def _probe(self) -> list[Tensor]:
        sim = self._sim
        generator = torch.Generator().manual_seed(KEY)
        moved = torch.randn(sim.start.shape, generator=generator).to(sim.start)
        rows = torch.arange(min(len(sim.objective.x), PROBED), device=sim.start.device)
        key = torch.tensor(KEY, device=sim.start.device) if any(sim.objective.random) else ()
        found = sim.objective.gradient(sim.start + MOVED * moved, sim.own, Batch(rows, key=key))
        return [*leaves(tuple(found))]
