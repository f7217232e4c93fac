"""Loaders: one module per suite; a loader lists a suite's models and builds a Workload from a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from runner.workload import LoadRequest, Workload


@dataclass(frozen=True)
class CheckDefaults:
    """What a thorough check of a suite's models takes unless the command, or a model's policy, says otherwise.

    `batch_size` None is the loader's own; `eval_mode` trains with the model in eval mode (dropout off, running
    statistics of batch norm used and left alone); `invariance_batch_size` is the largest batch whose parts are looked
    at.
    """

    batch_size: int | None = None
    eval_mode: bool = False
    invariance_batch_size: int = 8


class Loader(Protocol):
    """A dataclass whose fields are the keys `suite.*`; built in the parent and again in the child.

    A class attribute `check_defaults: ClassVar[CheckDefaults]` is read where there is one.
    """

    def names(self) -> Sequence[str]:
        """Every known model name; reads data files or directories, imports neither torch nor the models.

        `model=all` means the names listed in `conf/models/<suite>.yaml` where that exists, else all of these.
        """
        ...

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build the model; raises `Unsupported` naming the missing package, data or device."""
        ...
