"""Under which id each service knows the run of a folder, so that a resumed run goes on there."""

import json
from pathlib import Path

from fedlocal.utils.atomic import write_atomically

FILE = "tracking.json"


def remember(folder: Path, service: str, run_id: str) -> None:
    """Note the id, in one step: a crash leaves the old file or the new one."""
    known = _known(folder) | {service: run_id}
    write_atomically(folder / FILE, json.dumps(known, indent=2) + "\n")


def recall(folder: Path, service: str) -> str | None:
    """The id that was noted, None if there is none."""
    return _known(folder).get(service)


def forget(folder: Path) -> None:
    """Another run begins in this folder."""
    (folder / FILE).unlink(missing_ok=True)


def _known(folder: Path) -> dict[str, str]:
    path = folder / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
