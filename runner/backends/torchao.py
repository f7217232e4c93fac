"""Weights of linear layers quantised by torchao, then compiled by inductor as the backend `inductor` does it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from runner.backends._ahead import AheadOfTime, Program, inference_only, part
from runner.backends._packages import require
from runner.backends.inductor import Inductor
from runner.errors import Unsupported

if TYPE_CHECKING:
    from runner.workload import Workload


class Scheme(str, Enum):
    """What is quantised to what."""

    int8dynamic = "int8dynamic"  # weights once, activations in each call, products in int8
    int8weightonly = "int8weightonly"
    int4weightonly = "int4weightonly"


@dataclass
class Torchao(Inductor):
    """`scheme`, and the keys of backend `inductor`."""

    #: Quantising is meant to change the numbers: outputs are compared by direction and length unless policy says else.
    policy_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"cosine": True})

    scheme: Scheme = Scheme.int8dynamic

    @property
    def label(self) -> str:
        """What the column `backend` says."""
        return f"torchao_{self.scheme.value}"

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """A quantised copy of the model under torch.compile; the model itself stays as it is."""
        inference_only(workload, "torchao")
        require("torchao", "torchao")
        self._refuse(workload)
        self.apply_inductor(workload)
        self.apply_dynamo(workload)
        compiler = self.compiler()

        def build(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Program:
            with part("quantize"):
                model = self._quantized(workload.model)
            return self.compiled(model, compiler)

        return AheadOfTime(workload, build)

    def _refuse(self, workload: Workload) -> None:
        import torch

        if not isinstance(workload.model, torch.nn.Module):
            raise Unsupported(f"{workload.name} is a function: backend torchao quantises the linear layers of a module")
        precision = workload.precision
        if self.scheme is Scheme.int4weightonly:
            if torch.device(workload.device).type == "cpu":
                raise Unsupported("backend.scheme=int4weightonly packs weights for an accelerator: use another device")
            if precision.dtype != "bfloat16" or precision.autocast:
                raise Unsupported("backend.scheme=int4weightonly takes bfloat16 weights only: use precision=bf16")

    def _quantized(self, model: Any) -> Any:
        quantization = require("torchao.quantization", "torchao")
        copied = copy.deepcopy(model)
        quantization.quantize_(copied, self._config(quantization))
        return copied

    def _config(self, quantization: Any) -> Any:
        """Inductor's settings that torchao would make are in conf/backend/torchao.yaml, where they can be seen."""
        own = {"set_inductor_config": False}
        if self.scheme is Scheme.int8dynamic:
            return quantization.Int8DynamicActivationInt8WeightConfig(**own)
        if self.scheme is Scheme.int8weightonly:
            return quantization.Int8WeightOnlyConfig(**own)
        # The other packing formats need packages of kernels besides torchao; torch has those of this one.
        return quantization.Int4WeightOnlyConfig(int4_packing_format="tile_packed_to_4d", **own)
