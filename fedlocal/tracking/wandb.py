"""Weights & Biases: one run per job, one group per sweep."""

import os
import warnings
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, Literal

SECONDS_TO_CONNECT = 10


@dataclass
class WandbTracker:
    """Sends config, metrics and summary to W&B.

    Without a key or a network it warns once and the run goes on with its csv: for want of a key at
    once, for want of a network after ten seconds.

    Attributes:
        project: Where the run is filed.
        mode: "online", "offline" (kept in the run's folder until `wandb sync`) or "disabled".
        entity: User or team; None is the key's default.
        name: The run's name; None takes the job's overrides.
        tags: Labels of the run.
    """

    project: str = "fedlocal"
    mode: Literal["online", "offline", "disabled"] = "online"
    entity: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list[str])
    _run: Any = None

    def __post_init__(self) -> None:
        """Refuse an unknown mode."""
        if self.mode not in ("online", "offline", "disabled"):
            raise ValueError(
                f"tracking.mode must be online, offline or disabled, got {self.mode!r}"
            )

    def start(self, folder: Path, config: dict[str, Any], name: str, group: str | None) -> None:
        """Open the run."""
        self._guard(lambda: self._open(folder, config, name, group))

    def log(self, row: dict[str, Any]) -> None:
        """Send one round; undefined quantities are left out."""
        defined = {key: value for key, value in row.items() if value is not None}
        self._guard(lambda: self._run and self._run.log(defined, step=row["round"]))

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Send the summary and close the run, as failed if it broke off."""
        self._guard(lambda: self._close(summary))

    def _open(self, folder: Path, config: dict[str, Any], name: str, group: str | None) -> None:
        # W&B's background process puts its own log into the cache.
        os.environ.setdefault("WANDB_CACHE_DIR", str(folder / "wandb" / "cache"))
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        if self.mode == "online" and not _has_key(wandb):
            raise RuntimeError("no API key; run `wandb login`, or set tracking.mode=offline")
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            name=self.name or name,
            group=group,
            tags=list(self.tags),
            config=config,
            dir=str(folder),
            # Several jobs of a sweep follow one another in one process.
            reinit="finish_previous",
            settings=wandb.Settings(init_timeout=SECONDS_TO_CONNECT, silent=True),
        )

    def _close(self, summary: dict[str, Any] | None) -> None:
        if self._run is None:
            return
        if summary is not None:
            self._run.summary.update({k: v for k, v in summary.items() if k != "config"})
        self._run.finish(exit_code=0 if summary is not None else 1)
        self._run = None

    def _guard(self, action: Any) -> None:
        """Run the action; on a failure warn, once, and track nothing from then on."""
        try:
            action()
        except Exception as error:
            self._run = None
            self._guard = lambda action: None  # type: ignore[method-assign]
            reason = str(error).partition("\n")[0] or type(error).__name__
            warnings.warn(f"W&B is off for this run: {reason}", stacklevel=3)


def _has_key(wandb: Any) -> bool:
    """Whether W&B knows a key without asking for one on the terminal."""
    if "prompt" in signature(wandb.login).parameters:
        return wandb.login(prompt=False, verify=False)
    return bool(wandb.api.api_key)
