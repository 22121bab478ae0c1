"""Options of a run that concern the parts of its model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from fedlocal.utils.checks import check_number, check_whole

Buffers = Literal["average", "personal", "frozen"]


@dataclass(frozen=True)
class ModelOptions:
    """Options that say which parts of a model are trained, and which are exchanged.

    A pattern is the name of a parameter or of a module, with `*` and `?` as in file names.

    Attributes:
        frozen: Patterns of parameters that are not trained, not sent and not counted in bytes,
            like those without `requires_grad`.
        personal: Patterns of parameters that each client trains for itself and never sends.
        buffers: Treatment of buffers that `forward` changes, such as running statistics: "average"
            averages them with the models (uncompressed), "personal" leaves them with their client,
            "frozen" keeps their values (their layers are in eval mode throughout).
        l2: Coefficient of the term l2 / 2 |parameters|^2 of the objective.
        personal_steps: First local steps of each round that train the personal parameters alone;
            the steps after them train the shared ones alone, as in FedRep. 0 trains both in every
            step, as in FedPer.
    """

    frozen: Sequence[str] = ()
    personal: Sequence[str] = ()
    buffers: Buffers = "average"
    l2: float = 0.0
    personal_steps: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown treatment of buffers, or patterns that are no list."""
        if self.buffers not in get_args(Buffers):
            allowed = ", ".join(get_args(Buffers))
            raise ValueError(f"buffers must be one of {allowed}, got {self.buffers!r}")
        check_number("l2", self.l2, "; 0 = no regularisation", least=0)
        check_whole("personal_steps", self.personal_steps, 0)
        if self.personal_steps and not self.personal:
            raise ValueError(
                f"personal_steps={self.personal_steps} trains personal parameters, and personal is"
                " empty; name them, for example personal=['head']"
            )
        for key in ("frozen", "personal"):
            if isinstance(getattr(self, key), str):
                raise ValueError(
                    f"{key} must be a list of patterns, got {getattr(self, key)!r}; for example"
                    f" {key}=[{getattr(self, key)!r}]"
                )
