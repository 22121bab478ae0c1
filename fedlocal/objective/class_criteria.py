"""Losses of class indices, with settings; see `fedlocal.objective.criteria`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlocal.objective.criteria import Criterion

# Default ignore_index of torch; no valid target is negative.
NOTHING = -100


class Classes(Criterion):
    """Loss of class scores against the index of the right class.

    The loss of a batch is the mean over its targets that are not ignored, weighted as in torch if
    there are weights. If all targets are ignored it is 0, where torch has NaN.

    Args:
        ignore_index: Ignored target; None ignores none.
        class_dim: Dimension of the classes in the output: -1 as in the framework's models, 1 as in
            torch; None finds it from the shapes.
    """

    def __init__(self, ignore_index: int | None = None, class_dim: int | None = None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        if class_dim not in (None, 1, -1):
            raise ValueError(f"class_dim must be 1, -1 or null (None), got {class_dim}")
        self.class_dim = class_dim

    def settings(self) -> dict[str, Any]:
        return {"ignore_index": self.ignore_index, "class_dim": self.class_dim}

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute each target's loss [batch, ...], 0 if left out; output is [batch, C, ...]."""
        raise NotImplementedError

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the mean over the batch, [].

        Args:
            output: Scores, [batch, C], [batch, ..., C] or [batch, C, ...].
            target: Class indices, int64 [batch] or [batch, ...].

        Raises:
            ValueError: Targets that are no indices, or shapes that do not fit.
        """
        each = self.each(output.movedim(self.dim(output, target), 1), target)
        weights = self.weight_of(target)
        if weights is None:
            return each.sum() / each.numel()
        total = weights.to(each.dtype).sum()
        return each.sum() / torch.where(total > 0, total, 1.0)

    def weight_of(self, target: Tensor) -> Tensor | None:
        """Return the weight of every target [batch, ...], 0 if left out; None if all weigh 1."""
        return None if self.ignore_index is None else target != self.ignore_index

    def dim(self, output: Tensor, target: Tensor) -> int:
        """Return the dimension of the classes in the output."""
        shape, wanted = output.shape, target.shape
        fits = {-1: shape[:-1] == wanted, 1: (*shape[:1], *shape[2:]) == tuple(wanted)}
        found = [dim for dim in fits if fits[dim] and self.class_dim in (None, dim)]
        if target.is_floating_point() or output.dim() < 2 or not found:
            raise self.refusal(
                f"needs class indices of the output's shape without its classes, got output"
                f" {list(shape)} and target {target.dtype} {list(wanted)};"
                f" {_fix(output, target)}use loss=mse or loss=bce for targets that are numbers"
            )
        if len(found) > 1 and output.dim() > 2:
            raise self.refusal(
                f"cannot tell which dimension of output {list(shape)} has the classes; say"
                " class_dim=-1 (the last) or class_dim=1"
            )
        return found[0]

    def fit(self, output: Tensor, targets: Tensor) -> None:
        """Raise ValueError for indices that are no class."""
        classes = output.shape[self.dim(output, targets[: len(output)])]
        if classes < 2:
            raise self.refusal(
                "needs a score for each of two or more classes, and the model has one output; use"
                " loss=bce, which takes one logit"
            )
        counted = targets[targets != self.ignore_index]
        if len(counted) and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
            low, high = int(counted.min()), int(counted.max())
            from_one = (low, high) == (1, classes)
            fix = "subtract 1" if from_one else "give the model more outputs, or ignore_index"
            if low < 0:
                fix = f"leave out those below 0, or skip them with ignore_index={low}"
            raise self.refusal(
                f"has targets {low} to {high}, and the model's {classes} outputs are for 0 to"
                f" {classes - 1}; {fix}"
            )


class CrossEntropy(Classes):
    """Cross-entropy of logits: `torch.nn.functional.cross_entropy`.

    With class weights the mean is weighted as in torch: the sum is divided by the weights of the
    batch. A rare class therefore weighs more only within its batch.

    Args:
        class_weights: Weight of each class, [C]; "balanced" is n / (C' n_c) for the n_c training
            labels of class c, where C' classes have labels; None is 1.
        label_smoothing: Share of a target that is spread evenly over all classes, in [0, 1).
        ignore_index: See `Classes`.
        class_dim: See `Classes`.

    >>> loss = CrossEntropy(class_weights=[1.0, 3.0])
    >>> loss(torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([1, 0])).round(decimals=3)
    tensor(0.5200)
    """

    weights: Tensor | None

    def __init__(
        self,
        class_weights: Sequence[float] | str | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        class_dim: int | None = None,
    ) -> None:
        super().__init__(ignore_index, class_dim)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        self.class_weights = class_weights
        self.label_smoothing = float(label_smoothing)
        self.register_buffer("weights", _weights(class_weights))

    def settings(self) -> dict[str, Any]:
        weights = self.class_weights
        return {
            "class_weights": weights if weights is None or isinstance(weights, str) else [*weights],
            "label_smoothing": self.label_smoothing,
        } | super().settings()

    def weight_of(self, target: Tensor) -> Tensor | None:
        counted = super().weight_of(target)
        if self.weights is None:
            return counted
        if counted is None:
            return self.weights[target]
        return torch.where(counted, self.weights[torch.where(counted, target, 0)], 0.0)

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        if self.class_weights == "balanced" and self.weights is None:
            raise self.refusal(
                "has balanced class_weights and no training labels yet; call fit(output, targets)"
            )
        return F.cross_entropy(
            output,
            target,
            None if self.weights is None else self.weights.to(output.dtype),
            ignore_index=NOTHING if self.ignore_index is None else self.ignore_index,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )

    def fit(self, output: Tensor, targets: Tensor) -> None:
        """Check indices and the number of weights; compute balanced weights."""
        super().fit(output, targets)
        classes = output.shape[self.dim(output, targets[: len(output)])]
        if self.class_weights == "balanced":
            counted = targets[targets != self.ignore_index].reshape(-1)
            self.weights = _balanced(counted, classes).to(output.device, output.dtype)
        if self.weights is not None and len(self.weights) != classes:
            raise self.refusal(
                f"has {len(self.weights)} class_weights, and the model has {classes} outputs; give"
                " one for each, or balanced"
            )


class NLL(Classes):
    """Negative log-likelihood of log-probabilities: `torch.nn.functional.nll_loss`."""

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        ignored = NOTHING if self.ignore_index is None else self.ignore_index
        return F.nll_loss(output, target, ignore_index=ignored, reduction="none")

    def fit(self, output: Tensor, targets: Tensor) -> None:
        """Raise ValueError for indices of no class, or outputs that are no log-probabilities."""
        super().fit(output, targets)
        total = output.logsumexp(self.dim(output, targets[: len(output)])).abs().max()
        if not total < 1e-2:
            raise self.refusal(
                "needs log-probabilities, and the exponentials of the model's outputs do not sum"
                " to 1; end the model with log_softmax, or use loss=cross_entropy for logits"
            )


def _fix(output: Tensor, target: Tensor) -> str:
    """Return a hint for targets that look like classes; "" if the shapes are inconclusive."""
    shape, wanted = output.shape, target.shape
    if wanted == shape:
        return "of one-hot rows pass the index: y.argmax(-1); "
    indices = wanted in (shape[:-1], (*shape[:1], *shape[2:]))
    return "for classes pass y.long(); " if indices and target.is_floating_point() else ""


def _weights(given: Sequence[float] | str | None) -> Tensor | None:
    if given is None or given == "balanced":
        return None
    if isinstance(given, str):
        raise ValueError(f"class_weights must be a list, balanced or null (None), got {given!r}")
    weights = torch.tensor([*given], dtype=torch.float64)
    if not bool(((weights >= 0) & weights.isfinite()).all()) or not bool(weights.any()):
        raise ValueError(
            f"class_weights must be finite, not negative and not all 0, got {list(given)}"
        )
    return weights


def _balanced(labels: Tensor, classes: int) -> Tensor:
    """Return weights [C] that give every class that occurs the same sum; 1 for other classes."""
    counts = torch.bincount(labels, minlength=classes).to(torch.float64)
    present = int((counts > 0).sum())
    return torch.where(counts > 0, len(labels) / (max(present, 1) * counts), 1.0)
