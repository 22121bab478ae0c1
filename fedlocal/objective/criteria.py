"""Losses with settings: modules (output, target) -> mean over the batch.

Values are those of `torch.nn.functional`. Branches look at shapes only, so nested `torch.vmap`
takes them.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal.utils.checks import check_number


class Criterion(nn.Module):
    """Loss that can be checked against the data before a run."""

    def __init__(self) -> None:
        # nn.Module.__init__ takes any keywords, so a misspelt one would not be noticed.
        super().__init__()

    def fit(self, output: Tensor, targets: Tensor) -> None:
        """Check the targets, and compute settings that depend on all of them.

        Args:
            output: Output of the untrained model on the first b examples, [b, ...].
            targets: All targets, [n, ...].

        Raises:
            ValueError: The targets do not suit this loss.
        """

    def refusal(self, why: str) -> ValueError:
        """Return the error that says in one line why data do not suit this loss."""
        return ValueError(f"loss {type(self).__name__} {why}")

    def extra_repr(self) -> str:
        """Return the settings as text, for messages and fingerprints."""
        return ", ".join(f"{key}={value!r}" for key, value in self.settings().items())

    def settings(self) -> dict[str, Any]:
        """Return the settings by name, as they were given."""
        return {}


class Elementwise(Criterion):
    """Mean over all elements of two tensors of one shape."""

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of every element, in the shape of `output`."""
        raise NotImplementedError

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the mean [] over all elements of `output` and `target`, both [batch, ...].

        Raises:
            ValueError: Shapes differ; [n, 1] against [n] would broadcast to a square.
        """
        if output.shape != target.shape:
            raise self.refusal(
                f"needs equal shapes, got output {list(output.shape)} and target"
                f" {list(target.shape)}{equal_shapes(output, target)}"
            )
        return self.each(output, target).mean()

    def fit(self, output: Tensor, targets: Tensor) -> None:
        """Raise ValueError for class indices, whose distance from an output means nothing."""
        if not targets.is_floating_point():
            raise self.refusal(
                f"needs numbers as targets, got class indices ({targets.dtype}); use"
                " loss=cross_entropy, or give the targets as floating-point numbers"
            )


class MSE(Elementwise):
    """Squared error, averaged over all elements: `torch.nn.functional.mse_loss`."""

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output, target, reduction="none")


class MAE(Elementwise):
    """Absolute error, averaged over all elements: `torch.nn.functional.l1_loss`."""

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(output, target, reduction="none")


class Huber(Elementwise):
    """Half the squared error up to `delta`, linear beyond: `torch.nn.functional.huber_loss`.

    Huber. Robust Estimation of a Location Parameter. 1964. https://doi.org/10.1214/aoms/1177703732
    """

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        check_number("delta", delta, above=0)
        self.delta = float(delta)

    def settings(self) -> dict[str, Any]:
        return {"delta": self.delta}

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(output, target, reduction="none", delta=self.delta)


class BinaryCrossEntropy(Elementwise):
    """Logistic loss of logits: `torch.nn.functional.binary_cross_entropy_with_logits`.

    Targets are in [0, 1] and of the logits' shape, one column for each of several labels; or class
    indices 0 and 1, [n], for logits [n, 1].

    Args:
        pos_weight: Factor of the loss of positive targets: a number, or one per column; None is 1.
    """

    pos_weight: Tensor | None

    def __init__(self, pos_weight: float | Sequence[float] | None = None) -> None:
        super().__init__()
        weights = None if pos_weight is None else torch.tensor(pos_weight, dtype=torch.float64)
        if weights is not None and not bool(((weights >= 0) & weights.isfinite()).all()):
            raise ValueError(f"pos_weight must be finite and not negative, got {pos_weight}")
        self.given = weights if weights is None else weights.tolist()
        self.register_buffer("pos_weight", weights)

    def settings(self) -> dict[str, Any]:
        return {"pos_weight": self.given}

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the mean over all elements, []."""
        if not target.is_floating_point():
            wanted = output.shape[:-1] if output.shape[-1] == 1 else output.shape
            target = (target.unsqueeze(-1) if target.shape == wanted else target).to(output.dtype)
        return super().forward(output, target)

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        weight = None if self.pos_weight is None else self.pos_weight.to(output.dtype)
        return F.binary_cross_entropy_with_logits(
            output, target, reduction="none", pos_weight=weight
        )

    def fit(self, output: Tensor, targets: Tensor) -> None:
        """Raise ValueError for targets outside [0, 1], or weights for another number of columns."""
        if not 0 <= float(targets.min()) <= float(targets.max()) <= 1:
            raise self.refusal(
                f"needs targets in [0, 1], got {targets.min():g} to {targets.max():g}; use"
                " loss=cross_entropy for several classes, loss=mse for numbers"
            )
        if self.pos_weight is not None and self.pos_weight.numel() not in (1, output.shape[-1]):
            raise self.refusal(
                f"has {self.pos_weight.numel()} pos_weight for {output.shape[-1]} columns; give a"
                " number, or one for each"
            )


def equal_shapes(output: Tensor, target: Tensor) -> str:
    """Return the likely fix of shapes that differ, perhaps by a last dimension of 1."""
    if output.shape == (*target.shape, 1):
        return "; give the target a last dimension of 1: y.unsqueeze(-1)"
    if target.shape == (*output.shape, 1):
        return "; give both one shape: output.unsqueeze(-1) or y.squeeze(-1)"
    return "; the model must give a number for each of the target's"


def place_loss(loss: Any, like: Tensor) -> Any:
    """Return the loss, or a copy of a module on the device and in the dtype of `like`.

    Raises:
        ValueError: The loss is no function, or has parameters.
    """
    if isinstance(loss, type):
        raise ValueError(
            f"loss is the class {loss.__name__}, which has not been made yet; write"
            f" {loss.__name__}(...)"
        )
    if not callable(loss):
        raise ValueError(
            f"loss must be a function (output, target) -> mean over the batch, got {loss!r}; for"
            " example fedlocal.objective.losses.MSE()"
        )
    if isinstance(loss, nn.Module) and any(p.requires_grad for p in loss.parameters()):
        raise ValueError(
            f"the loss {type(loss).__name__} has parameters, which a run would not train; make them"
            " buffers, or parts of the model"
        )
    return deepcopy(loss).to(like.device, like.dtype) if isinstance(loss, nn.Module) else loss
