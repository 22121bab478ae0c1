"""Preparation of a user's model: its copy on the device, its frozen and personal parameters."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import chain
from types import FunctionType
from typing import Any

import torch
from torch import nn

from fedlocal.data.arrays import short
from fedlocal.objective.dry_run import deep_copy
from fedlocal.objective.precision import DTYPES
from fedlocal.utils.torch_private import has_gradient_hook
from fedlocal.vectors.flat import ParamSpec


def check_model(model: Any) -> None:
    """Raise ValueError unless this is a model that can be copied with all that it does."""
    if isinstance(model, type):
        raise ValueError(
            f"model is the class {model.__name__}, which has not been made yet; write"
            f" {model.__name__}(...)"
        )
    if isinstance(model, FunctionType):
        raise ValueError(
            f"model is the function {model.__name__}, and must be a torch.nn.Module; give what it"
            " returns if it makes a model, or put it into a module's forward"
        )
    if not isinstance(model, nn.Module):
        given = repr(model) if len(repr(model)) < 80 else f"an object of {type(model).__name__}"
        fix = "put a function into a module's forward"
        if isinstance(model, Mapping):
            fix = "make the model and give it these tensors by load_state_dict()"
        raise ValueError(f"model must be a torch.nn.Module, got {given}; {fix}")
    for name, module in model.named_modules():
        _check_wrapper(f"the module {name} of the model" if name else "the model", module)
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(
                f"the parameter {name} is lazy and has no shape yet; call the model once on a"
                " batch before it is given to fedlocal"
            )
        if parameter.requires_grad:
            _check_hooks(name, parameter)
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_meta:
            raise ValueError(
                f"{name} of the model is on the device meta and has no values; make the model on a"
                " real device, or call model.to_empty(device='cpu') and initialise it"
            )


def _check_wrapper(name: str, module: nn.Module) -> None:
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ValueError(
            f"{name} is wrapped in {type(module).__name__}, and a run places its clients on the"
            " device itself; give what is inside: model.module"
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(
            f"{name} is compiled by torch.jit, and takes no parameters of a client; give the eager"
            " module that was scripted or traced"
        )


def _check_hooks(name: str, parameter: nn.Parameter) -> None:
    if has_gradient_hook(parameter):
        raise ValueError(
            f"the parameter {name} has a hook on its gradient, which a copy of the model does not"
            " keep; write it into forward: torch.where(mask, w, w.detach()) masks the gradient of w"
        )


def check_parameters(model: nn.Module) -> None:
    """Raise ValueError unless all parameters, some frozen, can start a run and be averaged."""
    for name, p in model.named_parameters():
        if p.requires_grad and p.is_complex():
            raise ValueError(
                f"the parameter {name} is {short(p.dtype)}, and trained parameters must be real;"
                " keep real and imaginary part as [..., 2] and use torch.view_as_complex in forward"
            )
        # A frozen parameter may hold -inf, as attention masks do, but not NaN.
        if bool(p.isnan().any()) or (p.requires_grad and not bool(p.isfinite().all())):
            raise ValueError(
                f"the parameter {name} holds NaN or inf before the first round; initialise it, or"
                " load the weights of a run that did not diverge"
            )


def check_dtype(dtype: Any) -> None:
    """Raise ValueError if the dtype is given and is none that a run can have."""
    if dtype is None or dtype in DTYPES:
        return
    allowed = ", ".join(str(each) for each in DTYPES)
    advice = ""
    if isinstance(dtype, str) and isinstance(getattr(torch, dtype, None), torch.dtype):
        advice = f"; without quotes: dtype=torch.{dtype}"
    if dtype is torch.bfloat16:
        advice = "; precision='bf16' computes in bfloat16 and keeps float32 parameters"
    raise ValueError(f"dtype must be one of {allowed}, got {dtype!r}{advice}")


def check_kept(dtype: torch.dtype) -> None:
    """Raise ValueError if the trained parameters have a dtype that no run can have."""
    if dtype not in DTYPES:
        allowed = ", ".join(short(each) for each in DTYPES)
        raise ValueError(
            f"the model's parameters are {short(dtype)}, and a run has {allowed}; give"
            " dtype=torch.float32, and precision='bf16' to compute in bfloat16"
        )


def place_model(model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
    """Return a copy of the model on a device and in a dtype; see `cast`."""
    return cast(deep_copy(model), dtype).to(device)


def cast(model: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """Put a model's floating tensors into a dtype, and its complex ones into that precision.

    `model.to(dtype)` would drop the imaginary parts.
    """
    if dtype is None:
        return model
    if not any(tensor.is_complex() for tensor in chain(model.parameters(), model.buffers())):
        return model.to(dtype)

    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.is_complex():
            tensor.data = tensor.data.to(dtype.to_complex())
        elif tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return model


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters that match by any of their names."""
    named, names = dict(model.named_parameters()), _first_names(model)
    for name in match_names("frozen", patterns, names):
        named[names[name]].requires_grad_(False)


def _first_names(model: nn.Module) -> dict[str, str]:
    """Return, for every name of a parameter, its first name; tied parameters have several."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: first[id(parameter)] for name, parameter in every}


def split(model: nn.Module, personal: Sequence[str]) -> tuple[ParamSpec, ParamSpec]:
    """Return the layouts of the shared and of the personal parameters."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    if not trained:
        raise ValueError(_nothing_trained(model))
    names = _first_names(model)
    everything = [names[name] for name in match_names("personal", personal, names)]
    own = set(everything).intersection(trained)
    if everything and not own:
        raise ValueError(
            f"personal={list(personal)} matches frozen parameters only ({everything[0]}, ...);"
            " leave them out of personal, or out of frozen"
        )
    if own == set(trained):
        raise ValueError(
            f"personal={list(personal)} matches all trained parameters, and clients would have"
            " nothing to exchange; leave some of them out"
        )
    return ParamSpec.of(model, lambda n: n not in own), ParamSpec.of(model, lambda n: n in own)


def in_train_mode(model: nn.Module, still: Sequence[str]) -> nn.Module:
    """Put the model into train mode, and the modules named `still` into eval mode."""
    model.train()
    for name in still:
        model.get_submodule(name).eval()
    return model


def share_tensors(model: nn.Module) -> nn.Module:
    """Return a copy of the modules that shares their tensors."""
    tensors = chain(model.parameters(), model.buffers())
    return deepcopy(model, {id(t): t for t in tensors})


def _nothing_trained(model: nn.Module) -> str:
    frozen = next((name for name, _ in model.named_parameters()), None)
    if frozen is None:
        return "the model has no parameters; nothing would be trained"
    return (
        f"all parameters of the model are frozen ({frozen}, ...) and nothing would be trained;"
        " leave some out of frozen=, or set requires_grad_(True)"
    )


def match_names(key: str, patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the names that match one of the patterns; a module's name matches all inside of it.

    >>> match_names("frozen", ["body", "head.b*"], ["body.0.weight", "head.weight", "head.bias"])
    ['body.0.weight', 'head.bias']

    Raises:
        ValueError: A pattern is no text, or matches nothing.
    """
    names, found = list(names), set()
    if not isinstance(patterns, Sequence) or not all(isinstance(each, str) for each in patterns):
        given = patterns if isinstance(patterns, Iterable) else ["head"]
        raise ValueError(
            f"{key} must be a list of patterns, each text, got {patterns!r}; for example"
            f" {key}={[str(each) for each in given]}"
        )
    for pattern in patterns:
        fitting = {n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}.*")}
        if not fitting:
            near = get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
            raise ValueError(
                f"{key}: no parameter matches {pattern!r}; there are {', '.join(near)}, ..."
            )
        found |= fitting
    return [name for name in names if name in found]
