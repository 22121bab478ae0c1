"""Python values that a loss, a model or a strategy reads, changed late in a run of traced steps."""

import ctypes
import os
import random
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal import simulate
from fedlocal.objective.model_traits import inspect
from fedlocal.objective.python_values import MOST_ELEMENTS, PythonValues
from fedlocal.runtime import Vmapped
from fedlocal.runtime.round_parts import Compared
from strategies import local_sgd, mime
from tests.choices import sample
from tests.usercode import plain

ROUNDS, CHANGED = 24, 21
torch.manual_seed(0)
PAIRS = [(torch.randn(n, 4).double(), torch.randint(0, 3, (n,))) for n in (20, 20)]
RAGGED = [(torch.randn(n, 4).double(), torch.randint(0, 3, (n,))) for n in (20, 20, 9)]

Loss = Callable[[Tensor, Tensor], Tensor]
# A loss, and what changes the value that it reads.
Case = tuple[Loss, Callable[[], Any]]


def scaled(output: Tensor, target: Tensor, scale: Any) -> Tensor:
    return F.cross_entropy(output * scale, target)


class Method:
    def __init__(self) -> None:
        self.scale = 1.0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, self.scale)


class Slotted:
    __slots__ = ("scale",)

    def __init__(self) -> None:
        self.scale = 1.0

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, self.scale)


class OfClass:
    scale: ClassVar[float] = 1.0

    @property
    def twice(self) -> float:
        return 2 * self.scale

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, self.twice)


def attribute() -> Case:
    loss = Method()
    return loss, partial(setattr, loss, "scale", 3.0)


def slot() -> Case:
    holder = Slotted()
    return holder.loss, partial(setattr, holder, "scale", 3.0)


def of_class() -> Case:
    OfClass.scale = 1.0
    return OfClass(), partial(setattr, OfClass, "scale", 3.0)


def variable() -> Case:
    scale = 1.0

    def change() -> None:
        nonlocal scale
        scale = 3.0

    return lambda output, target: scaled(output, target, scale), change


def item() -> Case:
    options = {"outer": {"scale": [1.0]}}

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, options["outer"]["scale"][0])

    return loss, lambda: options["outer"]["scale"].__setitem__(0, 3.0)


def namespace() -> Case:
    options = SimpleNamespace(scale=1.0)
    loss = partial(lambda o, t, options: scaled(o, t, options.scale), options=options)
    return loss, partial(setattr, options, "scale", 3.0)


SCALE = 1.0


def by_global(output: Tensor, target: Tensor) -> Tensor:
    return scaled(output, target, SCALE)


def global_variable() -> Case:
    globals()["SCALE"] = 1.0
    return by_global, partial(globals().__setitem__, "SCALE", 3.0)


settings = ModuleType("settings_of_a_user")
settings.scale = 1.0  # type: ignore[attr-defined]


def by_module(output: Tensor, target: Tensor) -> Tensor:
    return scaled(output, target, settings.scale)


def other_file() -> Case:
    settings.scale = 1.0
    return by_module, partial(setattr, settings, "scale", 3.0)


def inner_function() -> Case:
    table = np.ones(3)

    def scale() -> float:
        return float(table[1])

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, scale())

    return loss, partial(table.__setitem__, 1, 3.0)


def default() -> Case:
    def loss(output: Tensor, target: Tensor, scale: list[float] = [1.0]) -> Tensor:  # noqa: B006
        return scaled(output, target, scale[0])

    return loss, partial(loss.__defaults__[0].__setitem__, 0, 3.0)


def of_function() -> Case:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, loss.scale)

    loss.scale = 1.0
    return loss, partial(setattr, loss, "scale", 3.0)


def function() -> Case:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, held["scale"]())

    held = {"scale": lambda: 1.0}
    return loss, partial(held.__setitem__, "scale", lambda: 3.0)


def config() -> Case:
    cfg = OmegaConf.create({"loss": {"scale": 1.0}, "same": "${loss.scale}"})

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, cfg.same)

    return loss, partial(setattr, cfg.loss, "scale", 3.0)


class Stored:
    """An object whose attributes are the entries of a dict."""

    def __init__(self) -> None:
        self.__dict__["entries"] = {"scale": 1.0}

    def __getattr__(self, name: str) -> float:
        return self.__dict__["entries"][name]

    def __setattr__(self, name: str, value: float) -> None:
        self.__dict__["entries"][name] = value


def stored() -> Case:
    options = Stored()
    return lambda o, t: scaled(o, t, options.scale), partial(setattr, options, "scale", 3.0)


def shadowed() -> Case:
    OfClass.scale = 1.0
    loss = OfClass()
    return loss, partial(setattr, loss, "scale", 3.0)


def cached() -> Case:
    scales = iter([1.0, 3.0])

    @cache
    def scale() -> float:
        return next(scales)

    return lambda o, t: scaled(o, t, scale()), scale.cache_clear


def context() -> Case:
    scale = ContextVar("scale", default=1.0)
    return lambda o, t: scaled(o, t, scale.get()), partial(scale.set, 3.0)


def environment() -> Case:
    os.environ["SCALE_OF_A_LOSS"] = "1"

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, float(os.environ["SCALE_OF_A_LOSS"]))

    return loss, partial(os.environ.__setitem__, "SCALE_OF_A_LOSS", "3")


def read_only() -> Case:
    options = {"scale": 1.0}
    view = MappingProxyType(options)
    return lambda o, t: scaled(o, t, view["scale"]), partial(options.__setitem__, "scale", 3.0)


def machine_number() -> Case:
    scale = ctypes.c_double(1.0)
    return lambda o, t: scaled(o, t, scale.value), partial(setattr, scale, "value", 3.0)


def class_weights() -> Case:
    weight = torch.ones(3).double()
    values = torch.tensor([5.0, 1.0, 0.2]).double()
    return lambda o, t: F.cross_entropy(o, t, weight), partial(weight.data.copy_, values)


CASES = [
    attribute, slot, of_class, variable, item, namespace, global_variable, other_file,
    inner_function, default, of_function, function, config, stored, shadowed, cached, context,
    environment, read_only, machine_number, class_weights,
]  # fmt: skip


def late(change: Callable[[], Any]) -> Callable[[dict[str, Any]], None]:
    return lambda row: change() if row["round"] == CHANGED else None


def ended(
    runtime: Any, case: Case, pairs: plain.Pairs = PAIRS, strategy: Any = None, model: Any = None
) -> Any:
    loss, change = case
    return simulate(
        model or plain.seeded(lambda: nn.Linear(4, 3)), pairs, strategy or local_sgd(0.1, 3),
        ROUNDS, 10, loss=loss, runtime=runtime, on_round=late(change), device="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("make", sample(CASES, 3))
def test_a_value_that_changes_late(make):
    loop, recorded = ended("loop", make()), ended(Vmapped(program="recorded"), make())
    unchanged = ended(Vmapped(program="recorded"), (make()[0], lambda: None))
    assert (loop.params - recorded.params).abs().max() < 1e-13
    assert (loop.params - unchanged.params).abs().max() > 1e-5
    assert recorded.history[-1]["local_loss"] == pytest.approx(loop.history[-1]["local_loss"])
    assert "local steps recorded" in unchanged.executor
    assert "local steps direct, as " in recorded.executor


@pytest.mark.parametrize("program", ["direct", "recorded"])
def test_batches_are_no_longer_padded(program):
    loop, vmapped = (
        ended(runtime, class_weights(), RAGGED) for runtime in ("loop", Vmapped(program=program))
    )
    assert (loop.params - vmapped.params).abs().max() < 1e-13


def test_a_full_gradient_follows():
    strategy = mime(0.1, 3)
    loop, recorded = (
        ended(runtime, attribute(), RAGGED, strategy)
        for runtime in ("loop", Vmapped(program="recorded"))
    )
    assert (loop.params - recorded.params).abs().max() < 1e-13


class Gated(nn.Module):
    """A model whose forward reads a global."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x) * SCALE


def test_a_value_that_a_model_reads():
    ends = []
    for runtime in ("loop", Vmapped(program="recorded")):
        _, change = global_variable()
        ends.append(ended(runtime, (F.cross_entropy, change), model=plain.seeded(Gated)).params)
    assert (ends[0] - ends[1]).abs().max() < 1e-13


def test_a_module_as_loss_that_changes_is_refused():
    loss = nn.CrossEntropyLoss(torch.ones(3).double())
    for change in (lambda: loss.weight.mul_(2), lambda: setattr(loss, "label_smoothing", 0.1)):
        with pytest.raises(RuntimeError, match="of the loss has changed during the run, which"):
            ended("loop", (loss, change))


def test_a_model_that_changes_is_warned_of():
    model = plain.seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.1)))

    def change() -> None:
        model[1].p = 0.5
        model.eval()
        nn.init.zeros_(model[0].weight)

    with pytest.warns(UserWarning, match="1.p of the model has changed during the run") as seen:
        ended("loop", (F.cross_entropy, change), model=model)
    assert len(seen) == 1


def test_values_of_a_copy_are_known_through_all_objects():
    options = SimpleNamespace(scale=1.0)
    loss = WithOptions(options)
    with pytest.raises(
        RuntimeError, match=r"options\.scale of the loss has changed during the run"
    ):
        ended("loop", (loss, partial(setattr, options, "scale", 3.0)))
    options = SimpleNamespace(scale=1.0)
    model = plain.seeded(lambda: Optional(options))
    with pytest.warns(UserWarning, match=r"options\.scale of the model has changed"):
        ended("loop", (F.cross_entropy, partial(setattr, options, "scale", 3.0)), model=model)


def test_a_function_may_read_a_module_that_changes():
    def trained(runtime: Any) -> Any:
        teacher = plain.seeded(lambda: nn.Linear(3, 3), seed=1).requires_grad_(False)

        def loss(output: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(output, target) + F.mse_loss(output, teacher(output.detach()))

        return ended(runtime, (loss, partial(teacher.weight.mul_, 3)))

    loop, recorded = trained("loop"), trained(Vmapped(program="recorded"))
    assert (loop.params - recorded.params).abs().max() < 1e-13
    assert "local steps direct, as " in recorded.executor


class Optional(nn.Linear):
    def __init__(self, options: SimpleNamespace) -> None:
        super().__init__(4, 3)
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.options.scale


class WithOptions(nn.Module):
    def __init__(self, options: SimpleNamespace) -> None:
        super().__init__()
        self.options = options

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, self.options.scale)


class Trainer:
    """An object whose method is the loss, and which keeps much that the loss does not read."""

    def __init__(self) -> None:
        self.scale = 1.0
        self.history: list[float] = []
        self.data = [np.zeros(10) for _ in range(100)]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, self.weight())

    def weight(self) -> float:
        return self.scale

    def log(self, row: dict[str, Any]) -> None:
        self.history.append(row["local_loss"])
        self.data[0] += 1
        self.best = min(self.history)


def test_what_a_loss_does_not_read_may_change():
    trainer = Trainer()
    result = simulate(
        plain.seeded(lambda: nn.Linear(4, 3)), PAIRS, local_sgd(0.1, 3), 3, 10,
        loss=trainer.loss, runtime=Vmapped(program="recorded"), on_round=trainer.log, device="cpu",
    )  # fmt: skip
    assert "local steps recorded" in result.executor and len(trainer.history) == 3
    values = PythonValues(trainer.loss)
    trainer.log({"local_loss": 0.0})
    assert values.changed() is None
    trainer.scale = 2.0
    assert values.changed() == ("scale", False)


@pytest.mark.parametrize("at", [1, 2])
def test_steps_are_compared(at):
    """Traced steps are compared with the step itself in the first rounds."""
    local = SimpleNamespace(loss_sum=torch.ones(2))
    other = SimpleNamespace(loss_sum=torch.full((2,), 1.1))
    steps = [local] * (at - 1) + [other]
    compared = Compared(lambda *_: local, lambda *_: local, lambda *_: steps.pop(0))
    for _ in range(at - 1):
        compared(local, (torch.zeros(3, 2),), ())
    with pytest.raises(RuntimeError, match="that has changed since; run with runtime=loop"):
        compared(local, (torch.zeros(3, 2),), ())


@dataclass
class Options:
    scale: float = 1.0


def test_names_of_changed_values():
    options, other, big = Options(), {"a": [1, 2]}, np.zeros(10 * MOST_ELEMENTS)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, options.scale + other["a"][0] + big[0])

    values = PythonValues(loss)
    assert values.changed() is None
    options.scale = 1.0
    other["a"][0] = 1
    assert values.changed() is None
    options.scale = 2.0
    assert values.changed() == ("options.scale", False)
    options.scale = 1.0
    other["a"].append(3)
    assert values.changed() == ("other['a']", False)
    other["a"].pop()
    big[0] = 1
    assert values.changed() == ("big", False)
    big[0] = 0
    other["a"] = [1, 2]
    assert values.changed() == ("other", False)


def test_objects_that_refer_to_each_other():
    one: dict[str, Any] = {}
    one["self"] = one
    holder = SimpleNamespace(one=one)
    one["holder"] = holder
    values = PythonValues(lambda o, t: holder.one)
    assert values.changed() is None
    one["other"] = 1
    assert values.changed() == ("holder.one", False)


def test_another_thread_may_draw_random_numbers():
    """A thread that draws while a model is tried does not make the model one that draws."""
    threads = [threading.Thread(target=random.random)]

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if threads and not threads[0].is_alive():
            thread = threads[0]
            if thread.ident is None:
                thread.start()
                thread.join()
        return F.cross_entropy(output, target)

    inspect(nn.Linear(4, 3), loss, torch.randn(8, 4), torch.randint(0, 3, (8,)))
    assert threads[0].ident is not None
