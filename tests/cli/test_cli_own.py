"""A model and a partition in a user's own file: the README's example, as it stands there."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
CHOSEN = (
    "model=own", "model._target_=mine.Net", "partition=own", "partition._target_=mine.neighbours",
    "K=10", "H=5", "rounds=2",
)  # fmt: skip


@pytest.fixture
def mine(here) -> Iterator[Path]:
    (text,) = re.findall(r"```python\n(# mine\.py\n.*?)```", (ROOT / "README.md").read_text(), re.S)
    (here / "mine.py").write_text(text)
    yield here / "mine.py"
    # Another test's file has the same name.
    sys.modules.pop("mine", None)


def test_the_readmes_model_and_partition(cli, shell, here, mine):
    outcome = cli(*CHOSEN, "+model.width=7", "hydra.run.dir=run")
    assert (outcome.code, outcome.err) == (0, "")
    with safe_open(here / "run/model.safetensors", "numpy") as model:
        assert model.get_tensor("1.weight").shape == (7, 64)
    # The file is a part of what the run was made from.
    assert "mine.py" in json.loads((here / "run/origin.json").read_text())["code"]
    with np.load(here / "run/partition.npz") as partition:
        counts = partition["class_counts"] if "class_counts" in partition else None
    assert counts is None or ((counts > 0).sum(1) == 2).all()
    # In a process of its own, since this one has imported the file.
    mine.write_text(mine.read_text().replace("GELU", "Tanh"))
    again = shell(*CHOSEN, "+model.width=7", "hydra.run.dir=run")
    assert "holds a run of other code: code of mine.py; checkpoint.strict=false" in again.refused


def test_data_and_a_loss_where_the_command_is_given(cli, here):
    text = """
        import numpy as np

        def make_data(size=30):
            x = np.linspace(-1, 1, 4 * size).reshape(size, 4)
            return x, x.sum(1), x[:5], x[:5].sum(1)

        def quartic(output, target, scale=1.0):
            return scale * ((output - target) ** 4).mean()
        """
    (here / "here_and_now.py").write_text(dedent(text))
    data = ("dataset=own", "dataset._target_=here_and_now.make_data", "model=linear")
    loss = ("loss=own", "loss._target_=here_and_now.quartic", "+loss.scale=2")
    size = ("K=2", "H=2", "rounds=2", "partition=iid")
    outcome = cli(*data, *loss, *size, "hydra.run.dir=run")
    assert (outcome.code, outcome.err) == (0, "")
    code = json.loads((here / "run/origin.json").read_text())["code"]
    assert "here_and_now.py" in code
    other = cli(*data, *loss[:2], "+loss.scale=3", *size, "hydra.run.dir=run").refused
    assert "holds another run: loss.scale: 2 -> 3" in other


def test_a_file_that_is_not_there_is_said(cli, here):
    assert cli("model=own").refused == (
        "fedlocal: model._target_ must be given; add model._target_=... to the command line"
    )
    assert (
        "model._target_=yours.Net cannot be imported"
        in cli("model=own", "model._target_=yours.Net").refused
    )


PLAIN = """
import numpy as np


def plain(labels, num_clients, seed):
    return np.array_split(np.arange(len(labels)), num_clients)[::-1]
"""


def test_a_partition_of_plain_arrays(cli, here, mine):
    mine.write_text(mine.read_text() + PLAIN)
    plain = "partition=own partition._target_=mine.plain K=3 rounds=1".split()
    assert cli(*plain, "hydra.run.dir=run").code == 0
    with np.load(here / "run/partition.npz") as partition:
        assert partition["sizes"].tolist() == [479, 479, 479]
        assert partition["indices"][0] == 958


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_complex_buffers_and_tied_parameters_are_saved(cli, here, mine, dtype):
    mine.write_text((ROOT / "tests/usercode/mine.py").read_text())
    given = "K=2 H=2 rounds=1 partition=iid dataset=own dataset._target_=mine.data model=own"
    saved = {}
    for name in ("Rotary", "Tied"):
        chosen = [f"model._target_=mine.{name}", f"dtype={dtype}", f"hydra.run.dir={name}"]
        outcome = cli(*given.split(), *chosen)
        assert (outcome.code, outcome.err) == (0, "")
        saved |= load_file(here / name / "model.safetensors")
    expected = torch.polar(torch.ones(2), torch.tensor([0.3, 1.1]))
    assert torch.equal(saved["turn"], expected)
    assert torch.equal(saved["into.weight"], saved["out.weight"])
    assert saved["into.weight"].dtype == getattr(torch, dtype)
