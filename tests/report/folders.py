"""Run folders without a run: what a report reads of one."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from fedlocal import Clock
from fedlocal.rounds.ledger import Ledger, RoundRecord, save_ledger
from fedlocal.rounds.retimed import replay
from partitions import Partition
from partitions.storage import save_npz

CONFIG: dict[str, Any] = {
    "K": 4,
    "H": 10,
    "lr": 0.1,
    "seed": 0,
    "partition": {"_target_": "partitions.dirichlet", "alpha": 0.1},
    "strategy": {"_target_": "strategies.local_sgd", "lr": 0.1, "period": 10},
    "clock": {
        "_target_": "fedlocal.rounds.clock.Clock",
        "law": "constant",
        "seconds_per_step": 0.01,
        "latency_seconds": 0.05,
        "bandwidth_bytes": 1.25e6,
        "spread": 0.0,
    },
    "uplink": {"_target_": "fedlocal.slots.compress.Identity"},
    "downlink": {"_target_": "fedlocal.slots.compress.Identity"},
    "tracking": {"_target_": "fedlocal.report.tracking.NoTracker"},
}
NBYTES = 1000


def run_folder(
    folder: Path,
    *overrides: str,
    accuracies: tuple[float | None, ...] = (0.5, 0.8, 0.9),
    config: dict[str, Any] | None = None,
    choices: dict[str, str] | None = None,
    clock_decided: str = "",
    partition: Partition | None = None,
    labels: list[int] | None = None,
    local_losses: tuple[float, ...] = (),
) -> Path:
    """A finished run of so many rounds; None is a round without an evaluation."""
    folder.mkdir(parents=True)
    values = OmegaConf.merge(CONFIG, config or {}, OmegaConf.from_dotlist(list(overrides)))
    resolved: Any = OmegaConf.to_container(values)
    ledger = _ledger(len(accuracies), resolved["K"], resolved["H"])
    settings = {key: value for key, value in resolved["clock"].items() if key != "_target_"}
    seconds = replay(ledger, Clock(**settings), resolved["seed"])
    rows = [
        _row(number, resolved, accuracy, float(second))
        for number, (accuracy, second) in enumerate(zip(accuracies, seconds, strict=True), 1)
    ]
    if local_losses:
        rows = [r | {"local_loss": loss} for r, loss in zip(rows, local_losses, strict=True)]
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    last = {k: v for row in rows for k, v in row.items() if v is not None}
    last = {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in last.items()}
    summary = last | {
        "seed": resolved["seed"],
        "clock_decided": clock_decided,
        "partition_sha256": f"{resolved['K']}",
        "overrides": list(overrides),
        "choices": {"strategy": "local_sgd", "partition": "dirichlet"} | (choices or {}),
        "config": resolved,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    save_ledger(ledger, folder / "ledger.npz")
    if partition is not None:
        save_npz(folder / "partition.npz", partition, np.array(labels))
    return folder


def _row(number: int, config: dict[str, Any], accuracy: float | None, seconds: float) -> Any:
    nbytes = NBYTES * config["K"] * number
    return {
        "round": number,
        "local_steps": config["H"] * number,
        "train_loss": None if accuracy is None else 1 - accuracy,
        "test_loss": None if accuracy is None else 1 - accuracy,
        "test_accuracy": accuracy,
        "uplink_bytes": nbytes,
        "downlink_bytes": nbytes,
        "sim_seconds": seconds,
        "wall_seconds": 0.1 * number,
    }


def _ledger(rounds: int, num_clients: int, steps: int) -> Ledger:
    clients = np.arange(num_clients)
    sent = np.full(num_clients, NBYTES)
    work = np.full(num_clients, steps)
    return Ledger(tuple(RoundRecord(r, clients, work, sent, sent) for r in range(rounds)))
