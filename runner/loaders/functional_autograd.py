"""Suite `functional_autograd`: nine models whose loss is a function of their parameters, to be differentiated.

All of them can be differentiated without changing state, and all but deepspeech more than once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ClassVar

from runner.loaders import Facts, WithPolicies
from runner.loaders._building import Entry, build, facts
from runner.workload import LoadRequest, Mode, Workload

FIRST_ORDER = ("vjp",)
PRODUCTS = ("vjp", "vhp", "jvp")
EVERYTHING = (
    *("vjp", "vhp", "jvp", "hvp", "jacobian", "hessian"),
    *("hessian_fwdrev", "hessian_revrev", "jacfwd", "jacrev"),
)


class Size(str, Enum):
    """Full: sizes of the papers, for accelerators. Small: the same structure with a few thousand numbers."""

    small = "small"
    full = "full"


class Layout(str, Enum):
    """Along which dimension the model `transformer` attends: that of its sequences, or that of the batch."""

    sequence = "sequence"
    batch = "batch"


@dataclass(frozen=True)
class Member:
    """A model: its entry, what replaces batch size and options in size small, tasks that suit it, and its mode.

    `trained` models stand in train mode also where the cell's mode is inference.
    """

    entry: Entry
    small_batch: int
    small: Mapping[str, Any]
    tasks: Sequence[str] = PRODUCTS
    trained: bool = True


def _entry(function: str, batch_size: int) -> Entry:
    return Entry(function, inference=batch_size, training=batch_size)


_NARROW = (8, 8, 16, 16)
MEMBERS = {
    "resnet18": Member(_entry("resnet18:build", 32), 2, {"image": 64, "widths": _NARROW}),
    "fcn_resnet": Member(_entry("fcn_resnet:build", 8), 2, {"image": 32, "widths": (4, 5, 6, 8)}, trained=False),
    "detr": Member(
        _entry("detr:build", 2),
        2,
        {"image": (96, 128), "widths": (4, 5, 6, 8), "width": 16, "feed_forward": 32, "queries": 12},
    ),
    "ppl_simple_reg": Member(_entry("ppl_regression:simple", 10), 10, {}, EVERYTHING),
    "ppl_robust_reg": Member(_entry("ppl_regression:robust", 10), 10, {}, EVERYTHING),
    "wav2letter": Member(_entry("wav2letter:build", 10), 2, {"narrow": 8, "wide": 16}),
    "deepspeech": Member(
        _entry("deepspeech:build", 10), 2, {"channels": 2, "hidden": 8, "frames": 80}, FIRST_ORDER
    ),
    "transformer": Member(
        _entry("causal_transformer:build", 64),
        4,
        {"width": 24, "heads": 4, "feed_forward": 32, "length": 8},
        trained=False,
    ),
    "multiheadattn": Member(_entry("multiheadattn:build", 64), 4, {}),
}


@dataclass
class FunctionalAutograd(WithPolicies):
    """Loader of the suite."""

    resizing: ClassVar = ("size",)

    size: Size = Size.full
    transformer_layout: Layout = Layout.sequence

    def names(self) -> Sequence[str]:
        """The nine models."""
        return tuple(MEMBERS)

    def facts(self, name: str) -> Facts:
        """Source, batch sizes and missing packages."""
        return facts(self._entry(name))

    def tasks(self, name: str) -> Sequence[str]:
        """Derivatives that suit a model of this size: what `experiment.task=recommended` means."""
        return MEMBERS[name].tasks

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build one with random weights and data."""
        workload = build(name, self._entry(name), request)
        if MEMBERS[name].trained or request.mode is Mode.training:
            workload.model.train()  # type: ignore[attr-defined]
        return workload

    def _entry(self, name: str) -> Entry:
        member = MEMBERS[name]
        entry = member.entry
        if self.size is Size.small:
            batch = member.small_batch
            entry = replace(entry, inference=batch, training=batch, options=member.small)
        if name == "transformer" and self.transformer_layout is Layout.batch:
            entry = replace(entry, options={**entry.options, "across": True})
        return entry
