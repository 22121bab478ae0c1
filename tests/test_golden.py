"""Golden runs: ten rounds of every strategy, kept as numbers that a person can read.

They guard against change by accident and prove nothing by themselves; the oracles do. Rewrite with
WRITE_GOLDEN=1 and say so in the changelog under Numerics.
"""

import json
import os
from pathlib import Path

import pytest
import torch

import fedlocal
from tests.problems import half_squared_error, least_squares
from tests.strategies_in_conf import NAMES, strategy_of

GOLDEN = Path(__file__).parent / "golden"


def run(name: str) -> dict[str, list[float]]:
    problem = least_squares()
    result = fedlocal.simulate(
        problem.model(),
        problem.clients,
        strategy_of(name, "lr=0.05"),
        rounds=10,
        batch_size=3,
        loss=half_squared_error,
        seed=5,
        device="cpu",
        dtype=torch.float64,
    )
    history = result.history
    return {
        "train_loss": [row["train_loss"] for row in history],
        "local_loss": [row["local_loss"] for row in history],
        "uplink_bytes": [row["uplink_bytes"] for row in history],
        "downlink_bytes": [row["downlink_bytes"] for row in history],
        "sim_seconds": [row["sim_seconds"] for row in history],
        "params": result.params.tolist(),
    }


@pytest.mark.parametrize("name", NAMES)
def test_golden(name):
    path, found = GOLDEN / f"{name}.json", run(name)
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
    if not path.exists():
        pytest.fail(
            f"there is no tests/golden/{path.name}; write it with"
            f" WRITE_GOLDEN=1 uv run pytest tests/test_golden.py -k {name}"
        )
    expected = json.loads(path.read_text())
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-10, abs=1e-13), key
