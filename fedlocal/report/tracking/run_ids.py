"""Ids of a folder's run at each service, by which a resumed run continues its record there."""

import json
from pathlib import Path

from fedlocal.utils.atomic import write_atomically

FILE = "tracking.json"


def save_run_id(folder: Path, service: str, run_id: str) -> None:
    """Save the id in one step: a crash leaves the old file or the new one."""
    run_ids = _load(folder) | {service: run_id}
    write_atomically(folder / FILE, json.dumps(run_ids, indent=2) + "\n")


def load_run_id(folder: Path, service: str) -> str | None:
    """Return the saved id, None if there is none."""
    return _load(folder).get(service)


def delete_run_ids(folder: Path) -> None:
    """Delete all ids of a folder, before another run starts in it."""
    (folder / FILE).unlink(missing_ok=True)


def _load(folder: Path) -> dict[str, str]:
    path = folder / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
