"""Suite `timm`: image models of the library timm, by its names, with random weights and without network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from runner.loaders import CheckDefaults, Facts, WithPolicies
from runner.loaders._building import Entry, build, counted, facts
from runner.loaders.names import known
from runner.workload import LoadRequest, Workload

if TYPE_CHECKING:
    import torch

#: Names under which upstream lists models that timm has since renamed, and what they are called now.
RENAMED = {
    "adv_inception_v3": "inception_v3.tf_adv_in1k",
    "gluon_inception_v3": "inception_v3.gluon_in1k",
    "jx_nest_base": "nest_base_jx",
    "swsl_resnext101_32x16d": "resnext101_32x16d.fb_swsl_ig1b_ft_in1k",
}
#: Names with a tag that say nothing else than the architecture's own name does, as upstream lists them.
TAGGED = (
    "convnextv2_nano.fcmae_ft_in22k_in1k",
    "deit_tiny_patch16_224.fb_in1k",
    "vit_base_patch14_dinov2.lvd142m",
)
#: Batch size of a model for which `conf/models/timm.yaml` has none.
BATCH_SIZE = 32


@dataclass
class Timm(WithPolicies):
    """Loader of the suite; it has no fields of its own."""

    check_defaults: ClassVar = CheckDefaults(batch_size=8, invariance_batch_size=16)  # as dynamobench has it

    def names(self) -> Sequence[str]:
        """Every architecture of timm, the tags that change one, and the names that upstream lists."""
        return tuple(dict.fromkeys([*known("timm"), *RENAMED, *TAGGED]))

    def facts(self, name: str) -> Facts:
        """Source, batch sizes and missing packages."""
        return facts(_entry(name), "timm")

    def parameters(self, name: str) -> int | None:
        """How many a model has, without making them; None where timm is missing or lacks it."""
        return counted(lambda: _make(RENAMED.get(name, name)))

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build one with random weights and images; raises `Unsupported` without timm, or where its timm lacks it.

        Images have the size that the model's own configuration gives for this mode.
        """
        return replace(build(name, _entry(name), request), source="timm")


def _make(model: str) -> torch.nn.Module:
    from runner.loaders.builtin.timm_configured import make

    net: torch.nn.Module = make(model)
    return net


def _entry(name: str) -> Entry:
    return Entry("timm_configured:build", BATCH_SIZE, BATCH_SIZE, {"model": RENAMED.get(name, name)})
