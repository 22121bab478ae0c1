"""Lossless conversion of arrays of numbers to tensors; anything else is refused."""

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

log = logging.getLogger(__name__)

_NARROW = (torch.float16, torch.bfloat16)
_FLOATS = (torch.float32, torch.float64)
_WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def as_inputs(values: Any, label: str) -> Tensor:
    """Return inputs [n, ...] as float32, float64 or, for token indices, int64.

    Raises:
        ValueError: Bytes or bools, whose meaning is not known; NaN or inf; no numbers.
    """
    x = as_tensor(values, label)
    if x.dtype == torch.uint8:
        raise ValueError(
            f"{label} is uint8; for pictures pass x / 255, or Clients(..., pixels=Pixels(mean,"
            " std)), and x.long() for token indices"
        )
    if x.dtype == torch.bool:
        raise ValueError(f"{label} is bool; pass x.float(), or x.long() for token indices")
    x = x if x.is_floating_point() else x.long()
    check_finite(x, label)
    return x


def as_targets(values: Any, label: str) -> Tensor:
    """Return targets [n, ...] as float32 or float64; bools and integers become int64.

    Raises:
        ValueError: NaN or inf; no numbers.
    """
    y = as_tensor(values, label)
    check_finite(y, label)
    return y if y.is_floating_point() else y.long()


def as_tensor(values: Any, label: str) -> Tensor:
    """Return values [n, ...] as a tensor of numbers, without loss; float16 becomes float32.

    Raises:
        ValueError: Not an array of real numbers, or one without a first dimension.
    """
    tensor = values.detach() if isinstance(values, Tensor) else of_array(values, label)
    if tensor.layout != torch.strided:
        raise ValueError(f"{label} is sparse; pass it dense: .to_dense()")
    if tensor.dtype not in (*_NARROW, *_FLOATS, *_WHOLE):
        raise ValueError(f"{label} is {short(tensor.dtype)}; real numbers are needed")
    if tensor.dim() == 0:
        raise ValueError(f"{label} is a single number; its first dimension must count examples")
    return tensor.float() if tensor.dtype in _NARROW else tensor


def as_numbers(values: NDArray[Any], label: str) -> Tensor:
    """Return inputs of a file as floating numbers; bytes are pixels, divided by 255.

    Other whole numbers become float32, and floats keep their precision.

    Raises:
        ValueError: A whole number that float32 does not hold; no numbers.
    """
    x = as_tensor(values, label)
    if x.dtype == torch.uint8:
        if x.dim() < 3:
            log.warning(
                "%s is uint8, taken for pixels and divided by 255; save other numbers as float32",
                label,
            )
        return x.float() / 255
    if not x.is_floating_point() and not torch.equal(x.float().double(), x.double()):
        raise ValueError(
            f"{label} has whole numbers of up to {int(x.abs().max())}, which float32 does not"
            " hold; scale them, or save them as float64"
        )
    return x if x.is_floating_point() else x.float()


def check_unmasked(values: Any, label: str) -> None:
    """Raise ValueError for masked arrays of numpy, also for a list of them."""
    rows = values if isinstance(values, list | tuple) else (values,)
    if any(isinstance(each, np.ma.MaskedArray) for each in rows):
        raise ValueError(
            f"{label} is a masked array, and its mask would be ignored; pass .filled(value), or"
            " leave the masked examples out"
        )


def check_finite(values: Tensor, label: str) -> None:
    """Raise ValueError for NaN or inf; the message has the first row with one."""
    if not values.is_floating_point():
        return
    bad = ~torch.isfinite(values)
    if bad.any():
        row = int(bad.flatten(1).any(1).nonzero()[0]) if bad.dim() > 1 else int(bad.nonzero()[0])
        raise ValueError(
            f"{label} has {int(bad.sum())} values that are NaN or inf, the first in row {row}"
        )


def place_like(values: Tensor, like: Tensor, label: str) -> Tensor:
    """Return the values on the device of `like`, and in its dtype where both are floating.

    Raises:
        ValueError: A number that is too large for the dtype.
    """
    # Class indices and tokens keep their integer type.
    both = values.is_floating_point() and like.is_floating_point()
    moved = values.to(like.device, like.dtype if both else values.dtype)
    if moved.dtype != values.dtype and not torch.isfinite(moved).all():
        raise ValueError(
            f"{label} has numbers too large for {short(like.dtype)}, up to"
            f" {float(values.abs().max()):g}; scale them, or run with dtype=float64"
        )
    return moved


def of_array(values: Any, label: str) -> Tensor:
    """Return a tensor of a number, an array or a nested list of numbers; float16 stays float16.

    Raises:
        ValueError: Python objects, text, complex numbers, masks, lists of different lengths.
    """
    check_unmasked(values, label)
    if type(values).__module__.startswith("scipy.sparse"):
        raise ValueError(f"{label} is sparse; pass it dense: .toarray()")
    try:
        array = np.asarray(values)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{label} is no array of one shape ({error})") from error
    if isinstance(values, float):
        return torch.tensor(values)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise ValueError(f"{label} is an array of {_as_numbers(array)}")
    if array.dtype.kind == "u" and array.dtype != np.uint8:
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{label} has {array.max()}, which is too large for int64")
        array = array.astype(np.int64)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _as_numbers(array: NDArray[Any]) -> str:
    """Return the kind of something else than numbers, and what makes numbers of it."""
    kind, name = array.dtype.kind, array.dtype.name
    if kind in "SU" or (kind == "O" and all(isinstance(each, str) for each in array.flat)):
        return "text; for names pass their indices: numpy.unique(names, return_inverse=True)[1]"
    if array.dtype.names is not None:
        columns = "numpy.lib.recfunctions.structured_to_unstructured(array)"
        return f"records ({', '.join(array.dtype.names)}); make columns of them: {columns}"
    if kind == "c":
        return f"{name}; real numbers are needed: numpy.stack((array.real, array.imag), -1)"
    if kind == "f":
        return f"{name}; pass array.astype(numpy.float64)"
    if kind in "Mm":
        return f"{name}; pass numbers: (times - times.min()) / numpy.timedelta64(1, 'D') are days"
    if kind == "O":
        places = (i for i, each in np.ndenumerate(array) if not isinstance(each, int | float))
        if place := next(places, None):
            where = "row {}, column {}".format(*place) if len(place) == 2 else f"row {place[0]}"
            return f"{name} with {array[place]!r} in {where}; real numbers are needed"
        return f"{name}; pass array.astype(numpy.float64)"
    return f"{name}; real numbers of one shape are needed"


def short(dtype: torch.dtype) -> str:
    """Return the short name of a dtype: float32."""
    return str(dtype).removeprefix("torch.")
