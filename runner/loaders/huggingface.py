"""Suite `huggingface`: models of the library transformers with random weights, without network and without tokenizers.

Upstream's names, and every other model class of transformers by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from runner.errors import Unsupported
from runner.loaders import CheckDefaults, Facts, WithPolicies
from runner.loaders._building import Entry, build, counted, facts
from runner.loaders.names import known
from runner.loaders.transformer_configs.catalogue import DESCRIBED, described
from runner.workload import LoadRequest, Mode, Workload

if TYPE_CHECKING:
    import torch

#: Batch size of a model for which `conf/models/huggingface.yaml` has none, as dynamobench has it.
BATCH_SIZE = 16


class StepKind(str, Enum):
    """What one step of a model is: all tokens with labels, a prompt's pass, or one token after a prompt."""

    forward = "forward"
    prefill = "prefill"
    decode = "decode"


class Scale(str, Enum):
    """Full: the published sizes. Small: the same structure with two narrow layers, for a CPU."""

    full = "full"
    small = "small"


@dataclass
class Huggingface(WithPolicies):
    """Loader of the suite."""

    scale: Scale = Scale.full
    step: StepKind | None = None  # null: prefill for inference of the language models, else forward
    length: int | None = None  # tokens of a sequence, of a prompt, or of what precedes the decoded token; null: by name

    check_defaults: ClassVar = CheckDefaults(batch_size=1)  # as dynamobench has it
    resizing: ClassVar = ("scale",)

    def __post_init__(self) -> None:
        if self.length is not None and self.length < 1:
            raise ValueError(f"suite.length={self.length}: give the number of tokens, at least 1")

    def names(self) -> Sequence[str]:
        """The names that are described here, and every model class of transformers."""
        return tuple(dict.fromkeys([*DESCRIBED, *known("transformers")]))

    def facts(self, name: str) -> Facts:  # noqa: ARG002 - the same for all
        """Source, batch sizes and missing packages."""
        return facts(Entry("transformers_by_name:build", BATCH_SIZE, BATCH_SIZE), "transformers")

    def parameters(self, name: str) -> int | None:
        """How many a model has at this scale, without making them; None without transformers, or where it lacks it."""
        return counted(lambda: _make(name, self.scale.value))

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build one with random weights, inputs and labels.

        Raises `Unsupported` without transformers, and for a model whose inputs are not known here or that has no such
        step.
        """
        step = self._step(name, request)
        options = {"name": name, "step": step.value, "length": self.length, "scale": self.scale.value}
        entry = Entry("transformers_by_name:build", BATCH_SIZE, BATCH_SIZE, options)
        workload = build(name, entry, request)
        return replace(workload, source="transformers", tokens=_tokens(workload))

    def _step(self, name: str, request: LoadRequest) -> StepKind:
        training = request.mode is Mode.training
        if self.step in {StepKind.prefill, StepKind.decode} and training:
            raise Unsupported(f"suite.step={self.step.value} is inference: use mode=inference or suite.step=forward")
        return self.step or (StepKind.prefill if described(name).generates and not training else StepKind.forward)


def _make(name: str, scale: str) -> torch.nn.Module:
    from runner.loaders.builtin.transformers_by_name import make

    net: torch.nn.Module = make(name, scale)
    return net


def _tokens(workload: Workload) -> int | None:
    """Tokens that one step processes; None where its input is not only text."""
    inputs = workload.kwargs
    given = inputs.get("input_ids", inputs.get("decoder_input_ids"))
    return None if given is None or "input_features" in inputs else given.numel()
