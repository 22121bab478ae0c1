"""Preparation of a user's model: its copy on the device, its frozen and personal parameters."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from fedlocal.flat import ParamSpec
from fedlocal.objective.inspection import copied
from fedlocal.wire import DTYPES


def check_model(model: Any) -> None:
    """Raise ValueError unless this is a model whose parameters can be exchanged and averaged."""
    if isinstance(model, type):
        raise ValueError(
            f"model is the class {model.__name__}, which has not been made yet; write"
            f" {model.__name__}(...)"
        )
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model must be a torch.nn.Module, got {model!r}; put a function into a module's"
            " forward"
        )
    for module in model.modules():
        _check_module(module)
    for name, parameter in model.named_parameters():
        _check_parameter(name, parameter)


def _check_module(module: nn.Module) -> None:
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ValueError(
            f"the model is wrapped in {type(module).__name__}, and fedlocal itself places clients"
            " on devices; give the model inside: model.module"
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(
            "the model is a TorchScript module, whose parameters cannot be exchanged; give the"
            " module that it was scripted or traced from"
        )
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
        raise ValueError(
            f"{type(module).__name__}(sparse=True) has sparse gradients, and messages are dense"
            " vectors; leave sparse out"
        )


def _check_parameter(name: str, parameter: nn.Parameter) -> None:
    if isinstance(parameter, nn.parameter.UninitializedParameter):
        raise ValueError(
            f"the parameter {name} is lazy and has no shape yet; call the model once on a"
            " batch before it is given to fedlocal"
        )
    if parameter.is_meta:
        raise ValueError(
            f"the parameter {name} is on the device meta and has no values; make the model on a"
            " real device, or call model.to_empty(device='cpu') and initialise it"
        )
    if parameter.requires_grad and parameter.is_complex():
        raise ValueError(
            f"the parameter {name} is {parameter.dtype}, and trained parameters must be real; keep"
            " real and imaginary part in a parameter [..., 2] and use torch.view_as_complex"
        )
    # A frozen parameter may be a mask of -inf.
    infinite = parameter.requires_grad and not bool(parameter.isfinite().all())
    if infinite or bool(parameter.isnan().any()):
        raise ValueError(
            f"the parameter {name} holds NaN or inf before the first round; initialise it anew"
        )
    if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
        raise ValueError(
            f"the parameter {name} has a hook on its gradient, which a copy of the model does not"
            " keep; write the change into forward, for example self.weight * mask"
        )


def check_dtype(dtype: Any, model: nn.Module | None = None) -> None:
    """Raise ValueError for a dtype, or without one a model, that clients' models cannot have."""
    for name, parameter in () if dtype is not None or model is None else model.named_parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            raise ValueError(
                f"the model's parameters are {parameter.dtype} (first: {name}), and models are"
                " averaged in float32 or float64; give dtype=torch.float32, and precision='bf16'"
                " for products in bfloat16"
            )
    if dtype is not None and dtype not in DTYPES:
        allowed = ", ".join(str(each) for each in DTYPES)
        raise ValueError(f"dtype must be one of {allowed}, got {dtype!r}")


def placed(model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
    """Return a copy of the model on a device, in a dtype; complex buffers stay complex."""
    return cast(copied(model), dtype).to(device)


def cast(model: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """Put a model's floating tensors into a dtype, and its complex ones into that precision.

    `model.to(dtype)` would drop imaginary parts.
    """
    tensors = chain(model.parameters(), model.buffers())
    if dtype is None or not any(tensor.is_complex() for tensor in tensors):
        return model.to(dtype)

    def converted(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(dtype.to_complex())
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return model._apply(converted)


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters that match; those of other names of the same tensors with them."""
    named, names = dict(model.named_parameters()), _first_names(model)
    for name in matching("frozen", patterns, names):
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
    everything = [names[name] for name in matching("personal", personal, names)]
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


def sharing(model: nn.Module) -> nn.Module:
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


def matching(key: str, patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the names that match one of the patterns; a module's name matches all inside of it.

    >>> matching("frozen", ["body", "head.b*"], ["body.0.weight", "head.weight", "head.bias"])
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
