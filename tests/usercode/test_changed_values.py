"""Python values that a loss, a model or a strategy reads, changed late in a run of traced steps."""

import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal import simulate
from fedlocal.objective.inspection import inspect
from fedlocal.objective.python_values import MOST_ELEMENTS, PythonValues
from fedlocal.runtime import Vmapped
from strategies import local_sgd, mime
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


def class_weights() -> Case:
    weight = torch.ones(3).double()
    values = torch.tensor([5.0, 1.0, 0.2]).double()
    return lambda o, t: F.cross_entropy(o, t, weight), partial(weight.data.copy_, values)


CASES = [
    attribute, slot, of_class, variable, item, namespace, global_variable, other_file,
    inner_function, default, of_function, function, class_weights,
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


@pytest.mark.parametrize("make", CASES)
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


def test_a_value_without_a_name_is_refused_where_steps_are_compared():
    def read() -> float:
        return float(sys.getrecursionlimit())

    limit = sys.getrecursionlimit()
    try:
        with pytest.raises(RuntimeError, match=r'changed since; take Vmapped\(program="direct"\)'):
            simulate(
                plain.seeded(lambda: nn.Linear(4, 3)), PAIRS, local_sgd(0.1, 3), 40, 10,
                loss=lambda o, t: scaled(o, t, read() / limit),
                runtime=Vmapped(program="recorded"), device="cpu",
                on_round=lambda row: sys.setrecursionlimit(2 * limit),
            )  # fmt: skip
    finally:
        sys.setrecursionlimit(limit)


@dataclass
class Options:
    scale: float = 1.0


def test_names_of_changed_values():
    options, other, big = Options(), {"a": [1, 2]}, np.zeros(10 * MOST_ELEMENTS)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return scaled(output, target, options.scale + other["a"][0] + big[0])

    values = PythonValues(nn.Linear(4, 3), loss)
    assert values.changed() == ""
    options.scale = 1.0
    other["a"][0] = 1
    assert values.changed() == ""
    options.scale = 2.0
    assert values.changed() == "options"
    options.scale = 1.0
    other["a"].append(3)
    assert values.changed() == "other['a']"
    other["a"].pop()
    big[0] = 1
    assert values.changed() == "big"
    big[0] = 0
    other["a"] = [1, 2]
    assert values.changed() == "other"


def test_objects_that_refer_to_each_other():
    one: dict[str, Any] = {}
    one["self"] = one
    holder = SimpleNamespace(one=one)
    one["holder"] = holder
    values = PythonValues(nn.Linear(4, 3), lambda o, t: holder)
    assert values.changed() == ""
    one["other"] = 1
    assert values.changed() != ""


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
