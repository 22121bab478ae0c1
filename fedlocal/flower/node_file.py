"""Records of a node in a file, so that they outlive the SuperNode."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedlocal.utils.atomic import write_atomically

# Members of the archive besides arrays: the other records, and the names of the arrays.
CONFIGS, ARRAYS = "configs", "arrays"


def save_records(records: RecordDict, path: Path) -> None:
    """Replace the file in one step: a crash leaves the old one or the new one, whole."""
    members: dict[str, Any] = {
        f"{name}/{key}": array.numpy()
        for name, record in records.array_records.items()
        for key, array in record.items()
    }
    configs: dict[str, Any] = {name: dict(r) for name, r in records.config_records.items()}
    configs[ARRAYS] = list(records.array_records)
    members[CONFIGS] = np.array(json.dumps(configs))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(path, lambda draft: np.savez(draft, **members))


def load_records(path: Path) -> RecordDict:
    """Load records saved by `save_records`; no records if there is no file."""
    if not path.exists():
        return RecordDict()
    with np.load(path) as archive:
        configs = json.loads(str(archive[CONFIGS]))
        arrays: dict[str, ArrayRecord] = {name: ArrayRecord() for name in configs.pop(ARRAYS)}
        for place in set(archive.files) - {CONFIGS}:
            name, _, key = place.partition("/")
            arrays[name][key] = Array(archive[place])
    records = RecordDict()
    for name, values in configs.items():
        records[name] = ConfigRecord(values)
    for name, record in arrays.items():
        records[name] = record
    return records
