"""Frictions of a first day: each works, or says in one line how to mend it."""

import re
from dataclasses import dataclass
from importlib.metadata import version

import pytest
import torch
from torch import nn

import fedlocal
import strategies
from fedlocal.config.compose import about, compose, name_choices, run_name
from fedlocal.slots import Compressor, Field
from fedlocal.slots.strategy import Strategy
from fedlocal.utils.device import pick_device
from tests.problems import half_squared_error, least_squares
from tests.strategies_in_conf import NAMES, strategy_of

QUICK = ("dataset=quadratic", "K=4", "H=2", "rounds=2")


def simulate(strategy, **given):
    problem = least_squares()
    given = {"loss": half_squared_error, "device": "cpu", "rounds": 2} | given
    return fedlocal.simulate(problem.model(), problem.clients, strategy, **given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there(name, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(ValueError) as caught:
        pick_device(name)
    says = f"torch finds no CUDA device on this machine, got {name!r}"
    assert str(caught.value) == f"{says}; use device=cpu or auto"
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ValueError) as caught:
        pick_device(name)
    assert str(caught.value) == (
        f"{says}; this torch is built without CUDA; use device=cpu or auto"
    )


def test_a_result_prints_one_line():
    result = simulate(strategies.local_sgd(lr=0.01, period=2))
    size = result.params.numel()
    assert re.fullmatch(
        rf"Result\(rounds=2, parameters={size}, local_loss=[^,]+, train_loss=[^,]+,"
        r" uplink_bytes=\d+, downlink_bytes=\d+, sim_seconds=[^,]+\)",
        repr(result),
    )


def test_the_version():
    assert fedlocal.__version__ == version("fedlocal")


@dataclass(frozen=True)
class Half(Compressor):
    """Half precision, as a user would write it first; `declared` bits of each value."""

    declared: int = 0
    short: int = 0

    def encode(self, v, state, noise):
        half = v.half()
        return half.view(torch.int16).int() & 0xFFFF if self.declared else half, state

    def decode(self, message, noise, size):
        if self.declared:
            message = message.to(torch.int16).view(torch.half)
        return message.float()

    def layout(self, size):
        return Field(size - self.short, bits=self.declared)


def with_uplink(uplink) -> Strategy:
    made = strategies.local_sgd(lr=0.01, period=2)
    return Strategy(inner=made.inner, period=made.period, uplink=uplink)


def test_a_message_that_is_not_what_its_layout_declares():
    problem = least_squares()
    size = sum(p.numel() for p in problem.model().parameters())
    with pytest.raises(ValueError) as caught:
        simulate(with_uplink(Half()), dtype=torch.float32)
    assert str(caught.value) == (
        "uplink=Half(declared=0, short=0) encodes torch.float16 where its layout declares floating"
        " point of the run's torch.float32, which would be counted and sent; encode torch.float32,"
        f" or the bits as unsigned integers with Field({size}, bits=16)"
    )
    with pytest.raises(ValueError) as caught:
        simulate(with_uplink(Half(16, short=1)), dtype=torch.float32)
    assert str(caught.value) == (
        f"uplink=Half(declared=16, short=1) encodes {size} values where its layout declares"
        f" {size - 1}; declare as many as are sent"
    )
    full = simulate(strategies.local_sgd(lr=0.01, period=2), dtype=torch.float32).ledger
    half = simulate(with_uplink(Half(16)), dtype=torch.float32).ledger
    assert full.uplink_bytes - half.uplink_bytes == 2 * 5 * 2 * size


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_every_message_is_what_its_layout_declares(name, dtype):
    from fedlocal.slots.message_check import check_links
    from fedlocal.vectors.flat import ParamSpec, flatten

    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)).to(dtype)
    strategy = strategy_of(name, "lr=0.05").bind(ParamSpec.of(model))
    check_links(strategy, flatten(model))


def test_the_main_job_says_what_it_trains(cli):
    first = cli(*QUICK, "strategy=vrl_sgd", "partition=natural").out.splitlines()[0]
    assert first == (
        "quadratic (160 examples), linear (20 parameters), 4 clients by natural, vrl_sgd, H=2, 2"
        " rounds"
    )
    assert ", loss mae, " in cli(*QUICK, "loss=mae").out.splitlines()[0]
    assert ", H=2 (at first 1), " in cli(*QUICK, "period=warmup").out.splitlines()[0]


def test_what_a_run_is_called():
    given = ["strategy=vrl_sgd", "tracking=wandb", "+tracking.mode=offline", "lr=0.1"]
    assert run_name(given) == "strategy=vrl_sgd,lr=0.1"
    assert run_name(given[1:3]) == "fedlocal"


def test_trackers_are_told_plain_names():
    told = about(compose("strategy=vrl_sgd partition=iid tracking=wandb loss=auto"))
    config = name_choices(told)
    groups = ("strategy", "partition", "model", "dataset", "loss")
    assert [config[group]["name"] for group in groups] == [
        "vrl_sgd", "iid", "mlp", "digits", "auto",
    ]  # fmt: skip
    assert config["strategy"]["lr"] == 0.1
    # A key of that name is the user's.
    assert config["tracking"]["name"] is None
    # What decides whether a run is another one is left as it was.
    assert "name" not in told["config"]["strategy"]


def test_a_golden_run_that_is_not_there(monkeypatch, tmp_path):
    from tests import test_golden

    monkeypatch.setattr(test_golden, "GOLDEN", tmp_path)
    monkeypatch.setattr(test_golden, "run", lambda name: {})
    monkeypatch.delenv("WRITE_GOLDEN", raising=False)
    with pytest.raises(pytest.fail.Exception) as caught:
        test_golden.test_golden("fedavg")
    assert str(caught.value) == (
        "there is no tests/golden/fedavg.json; write it with WRITE_GOLDEN=1 uv run pytest"
        " tests/test_golden.py -k fedavg"
    )
