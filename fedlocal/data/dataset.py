"""Type that every loader returns: a whole dataset in memory, checked when it is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlocal.data.arrays import as_tensor, check_finite, short
from fedlocal.data.pixels import Pixels

# What an object of a user's own must have, and may have.
_NEEDED = ("x_train", "y_train", "x_test", "y_test", "num_classes")
_OPTIONAL = ("client_ids", "optimum", "here", "num_tokens", "pixels")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A train set and, where there is one, a test set.

    Arrays may be given as tensors or as numpy arrays. float16 becomes float32, and labels and
    tokens of any integer type become int64.

    Attributes:
        name: What messages call it; the loader's name.
        x_train: Inputs, float [n, ...]; images are [n, C, H, W]. Token indices (of characters,
            of words) are int64 [n, length].
        y_train: Class indices, int64 [n]; or regression targets, float [n, d].
        x_test: Test inputs, [m, ...], or None. An empty set becomes None.
        y_test: Test targets, as `y_train`, or None.
        num_classes: Number of classes; None for regression.
        client_ids: Natural owner of each training example, int64 [n], or None. A tensor or any
            integer sequence is converted to a numpy array.
        optimum: Exact minimiser, flat [P], where it is known; else None.
        here: Owners whose training examples are in this process, by `client_ids`; the examples of
            all others are placeholders. None where all examples are here.
        num_tokens: Inputs are token indices 0..num_tokens-1; None where they are numbers.
        pixels: What the bytes of the inputs mean; None where inputs are numbers.

    Raises:
        ValueError: NaN or inf, lengths or shapes that do not fit, a label or token out of range,
            an empty train set.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor | None
    y_test: Tensor | None
    num_classes: int | None
    client_ids: NDArray[np.int64] | None = None
    optimum: Tensor | None = None
    here: Sequence[int] | None = None
    num_tokens: int | None = None
    pixels: Pixels | None = None

    def __post_init__(self) -> None:
        if (self.x_test is None) != (self.y_test is None):
            raise ValueError(f"dataset {self.name}: give both of x_test and y_test, or neither")
        for part in _NEEDED[:4]:
            if getattr(self, part) is not None:
                object.__setattr__(self, part, self._tensor(part))
        if self.x_test is not None and len(self.x_test) == 0:
            object.__setattr__(self, "x_test", None)
            object.__setattr__(self, "y_test", None)
        if self.client_ids is not None:
            object.__setattr__(self, "client_ids", _as_ids(self.name, self.client_ids))
        self.validate()

    def _tensor(self, part: str) -> Tensor:
        values = as_tensor(getattr(self, part), f"dataset {self.name}: {part}")
        indices = self.num_tokens if part.startswith("x") else self.num_classes
        floating = values.is_floating_point()
        return values if floating or indices is None or self.pixels is not None else values.long()

    def validate(self) -> None:
        """Refuse data that would fail, or silently mislead, later.

        Raises:
            ValueError: One line that names the dataset, the array and the first bad row.
        """
        if len(self.x_train) == 0:
            raise ValueError(f"dataset {self.name}: the train set is empty")
        if self.num_classes is not None and self.num_classes < 2:
            raise ValueError(f"dataset {self.name}: {self.num_classes} class; at least 2 needed")
        self._check("train", self.x_train, self.y_train)
        if self.x_test is not None and self.y_test is not None:
            self._check("test", self.x_test, self.y_test)
            if self.x_test.shape[1:] != self.x_train.shape[1:]:
                raise ValueError(
                    f"dataset {self.name}: an example is {list(self.x_train.shape[1:])} in x_train "
                    f"but {list(self.x_test.shape[1:])} in x_test"
                )
        if self.client_ids is not None and len(self.client_ids) != len(self.x_train):
            raise ValueError(
                f"dataset {self.name}: {len(self.client_ids)} client_ids for "
                f"{len(self.x_train)} training examples; one per example needed"
            )
        if self.here is not None and self.client_ids is None:
            raise ValueError(
                f"dataset {self.name}: here={list(self.here)} names owners of examples, and there"
                " are no client_ids; give one per example"
            )

    def _check(self, part: str, x: Tensor, y: Tensor) -> None:
        if len(x) != len(y):
            raise ValueError(
                f"dataset {self.name}: x_{part} has {len(x)} examples but y_{part} has {len(y)}"
            )
        if x.dim() < 2:
            raise ValueError(f"dataset {self.name}: x_{part} must be [n, ...], got {list(x.shape)}")
        self._check_inputs(part, x)
        if self.num_classes is None:
            self._check_targets(part, y)
        else:
            self._check_labels(part, y, self.num_classes)

    def _check_inputs(self, part: str, x: Tensor) -> None:
        if self.pixels is not None:
            self.pixels.check(x)
            return
        if (self.num_tokens is None) != x.is_floating_point():
            raise ValueError(f"dataset {self.name}: x_{part} is {short(x.dtype)}{self._kind(x)}")
        check_finite(x, f"dataset {self.name}: x_{part}")
        if self.num_tokens is not None and not 0 <= int(x.min()) <= int(x.max()) < self.num_tokens:
            raise ValueError(
                f"dataset {self.name}: x_{part} has tokens {int(x.min())}..{int(x.max())}, outside "
                f"0..{self.num_tokens - 1}"
            )

    def _kind(self, x: Tensor) -> str:
        """Return what inputs must be, for some that are of another kind."""
        if self.num_tokens is not None:
            return f", and num_tokens={self.num_tokens} is for token indices, which are int64"
        if x.dtype == torch.uint8:
            return "; for pictures give x / 255, or Dataset(..., pixels=Pixels(mean, std))"
        return (
            "; numbers must be floating: x.astype(numpy.float32), and token indices need"
            " Dataset(..., num_tokens=) with the number of different tokens"
        )

    def _check_targets(self, part: str, y: Tensor) -> None:
        if not y.is_floating_point() or y.dim() != 2:
            raise ValueError(
                f"dataset {self.name}: regression needs y_{part} as float [n, d], got {y.dtype} "
                f"{list(y.shape)}; for classification set num_classes"
            )
        check_finite(y, f"dataset {self.name}: y_{part}")

    def _check_labels(self, part: str, y: Tensor, num_classes: int) -> None:
        if y.dtype != torch.int64 or y.dim() != 1:
            raise ValueError(
                f"dataset {self.name}: y_{part} must be int64 labels [n], got {y.dtype} "
                f"{list(y.shape)}"
            )
        below = (y < 0).nonzero()
        if len(below):
            row = int(below[0])
            raise ValueError(
                f"dataset {self.name}: y_{part} has {len(below)} labels below 0, the first is"
                f" {int(y[row])} in row {row}; classes count from 0: renumber the labels, or leave"
                " these examples out"
            )
        outside = (y >= num_classes).nonzero()
        if len(outside):
            row = int(outside[0])
            raise ValueError(
                f"dataset {self.name}: y_{part} has {len(outside)} labels outside "
                f"0..{num_classes - 1}, the first is {int(y[row])} in row {row}"
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(self.x_train.shape[1:])

    @property
    def num_outputs(self) -> int:
        """Number of classes, or width of a regression target."""
        return self.y_train.shape[1] if self.num_classes is None else self.num_classes

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Dataset:
        """Move every tensor to `device` and cast the floating ones to `dtype`."""

        def move(value: Tensor) -> Tensor:
            return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        tensors = {name: move(v) for name, v in values.items() if isinstance(v, Tensor)}
        return dataclasses.replace(self, **tensors)

    def __repr__(self) -> str:
        num_test = 0 if self.x_test is None else len(self.x_test)
        return (
            f"Dataset({self.name!r}, {len(self.x_train)} train, {num_test} test, "
            f"input {list(self.input_shape)}, {self.num_outputs} outputs)"
        )


def of_fields(given: object, source: str) -> Dataset:
    """Check what a loader has returned, and make a `Dataset` of an object with the same fields.

    Args:
        given: A `Dataset`, or any object with x_train, y_train, x_test, y_test and num_classes.
        source: The loader, for messages.

    Raises:
        ValueError: A field is missing, or what `Dataset` refuses.
    """
    if isinstance(given, Dataset):
        return given
    missing = [field for field in _NEEDED if not hasattr(given, field)]
    if given is None or isinstance(given, dict):
        raise ValueError(
            f"dataset: {source} returned {'nothing' if given is None else 'a dict'}; return"
            " (x_train, y_train), (x_train, y_train, x_test, y_test) or a fedlocal.data.Dataset"
        )
    if missing:
        raise ValueError(
            f"dataset: {source} returned a {type(given).__name__} without {', '.join(missing)};"
            f" return fedlocal.data.Dataset(name, {', '.join(_NEEDED)})"
        )
    needed = {field: getattr(given, field) for field in _NEEDED}
    optional = {field: getattr(given, field) for field in _OPTIONAL if hasattr(given, field)}
    return Dataset(str(getattr(given, "name", source)), **needed, **optional)


def _as_ids(name: str, ids: NDArray[np.int64] | Tensor) -> NDArray[np.int64]:
    array = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"dataset {name}: client_ids must be integers [n], got {array.dtype} "
            f"{list(array.shape)}"
        )
    return array.astype(np.int64)
