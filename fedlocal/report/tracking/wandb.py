"""Tracker for Weights & Biases: one run per job, one group per sweep."""

import os
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Literal

from fedlocal.report.tracking.run_ids import load_run_id, save_run_id

SECONDS_TO_CONNECT = 10
FILES = {"partition": "partition.npz", "model": "model.safetensors"}


@dataclass
class WandbTracker:
    """Tracker that sends config, metrics, summary and files to W&B.

    It fails at once without a key, and after ten seconds without a network.

    Attributes:
        project: Name of the project.
        mode: "online", "offline" (kept in the run's folder until `wandb sync`) or "disabled".
        entity: User or team; None is the key's default.
        name: Name of the run; None takes the job's overrides but for those of tracking.
        tags: Labels of the run.
        artifacts: Whether to send the partition and the final model.
    """

    project: str = "fedlocal"
    mode: Literal["online", "offline", "disabled"] = "online"
    entity: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list[str])
    artifacts: bool = True
    title: ClassVar[str] = "W&B"
    _run: Any = field(default=None, init=False)
    _folder: Path = field(default=Path(), init=False)

    def __post_init__(self) -> None:
        """Refuse an unknown mode."""
        if self.mode not in ("online", "offline", "disabled"):
            raise ValueError(
                f"tracking.mode must be online, offline or disabled, got {self.mode!r}"
            )

    def start(
        self, folder: Path, config: dict[str, Any], name: str, group: str | None, resumed: int
    ) -> None:
        """Open a run, or the one that the folder's earlier process opened.

        Raises:
            RuntimeError: There is no API key.
        """
        # W&B's background process puts its own log into the cache.
        os.environ.setdefault("WANDB_CACHE_DIR", str(folder / "wandb" / "cache"))
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        if self.mode == "online" and not _has_key(wandb):
            raise RuntimeError("no API key; run `wandb login`, or set tracking.mode=offline")
        # The agent of a W&B sweep sets the run's id, which takes precedence.
        given = os.environ.get("WANDB_RUN_ID")
        known = given or (load_run_id(folder, "wandb") if resumed else None)
        self._folder = folder
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            name=self.name or name,
            group=group,
            tags=list(self.tags),
            config=config,
            dir=str(folder),
            id=known,
            resume="allow" if resumed and known else None,
            # Several jobs of a sweep follow one another in one process.
            reinit="finish_previous",
            settings=wandb.Settings(init_timeout=SECONDS_TO_CONNECT, silent=True),
        )
        # W&B counts steps on its own where runs are resumed offline.
        self._run.define_metric("*", step_metric="round")
        save_run_id(folder, "wandb", self._run.id)

    def log(self, row: dict[str, Any]) -> None:
        """Send one round; undefined quantities are left out."""
        defined = {key: value for key, value in row.items() if value is not None}
        self._run.log(defined, step=row["round"])

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Send summary and files and closes the run, as failed if it broke off."""
        if summary is not None:
            self._run.summary.update({k: v for k, v in summary.items() if k != "config"})
            if self.artifacts:
                self._send_files()
        self._run.finish(exit_code=0 if summary is not None else 1)

    def _send_files(self) -> None:
        import wandb

        for kind, name in FILES.items():
            artifact = wandb.Artifact(f"{kind}-{self._run.id}", type=kind)
            # W&B reads the file in place, without a copy in the user's home.
            path = str(self._folder.absolute() / name)
            artifact.add_file(path, policy="immutable", skip_cache=True)
            self._run.log_artifact(artifact)


def _has_key(wandb: Any) -> bool:
    """Tell whether W&B has a key, without asking for one on the terminal."""
    if "prompt" in signature(wandb.login).parameters:
        return wandb.login(prompt=False, verify=False)
    return bool(wandb.api.api_key)
