"""Loaders: one module per suite; a loader lists a suite's models and builds a Workload from a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

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


@dataclass(frozen=True)
class Facts:
    """What is known of a model without building it; `missing` says why it can't be built here, "" if nothing does."""

    source: str = ""
    batch_size_inference: int | None = None
    batch_size_training: int | None = None
    missing: str = ""


@dataclass
class WithPolicies:
    """Base of our loaders: what every suite has. `policy_file` is read by planning, and is no part of a cell."""

    resizing: ClassVar[tuple[str, ...]] = ()  # fields that make a model larger or smaller than it was counted

    policy_file: str | None = field(default=None, kw_only=True)  # entries over those of conf/models/<suite>.yaml

    def facts(self, name: str) -> Facts:  # noqa: ARG002 - for those who override it
        """What is known of the model `name`; imports neither torch nor the model."""
        return Facts()


class Loader(Protocol):
    """A dataclass whose fields are the keys `suite.*`; built in the parent and again in the child.

    A class attribute `check_defaults: ClassVar[CheckDefaults]` is read where there is one.
    """

    def names(self) -> Sequence[str]:
        """Every known model name; reads data files or directories, imports neither torch nor the models.

        `model=all` means what a method `listed()` gives where there is one and it gives any, else the names listed in
        `conf/models/<suite>.yaml` where that exists, else all of these.

        A method `parameters(name) -> int | None` is asked, in the child, how many parameters a model has before it is
        loaded: one that can't fit is refused. It takes no memory for them; None where only loading tells.
        """
        ...

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build the model; raises `Unsupported` naming the missing package, data or device."""
        ...
