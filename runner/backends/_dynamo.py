"""What backends under torch.compile have in common: dynamo's own settings, and a backward pass that dynamo captures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class DynamoSettings:
    """Settings of torch._dynamo.config as keys; None leaves torch's own value."""

    compiled_autograd: bool | None = None  # capture the backward pass when it runs, as one graph
    specialize_int: bool | None = None  # compile anew for each value of an integer
    capture_scalar_outputs: bool | None = None  # `tensor.item()` without a graph break
    propagate_real_tensors: bool | None = None  # what depends on data is looked up in the real data while tracing

    def apply_dynamo(self, workload: Workload) -> None:
        """Set what is given, for the rest of this process. Raises Unsupported for what the workload has no use for."""
        from torch._dynamo import config
        from torch._functorch import config as functorch

        from runner.workload import Mode

        if self.compiled_autograd and workload.mode is not Mode.training:
            raise Unsupported("backend.compiled_autograd captures the backward pass: use mode=training")
        given = {"specialize_int": self.specialize_int, "capture_scalar_outputs": self.capture_scalar_outputs}
        if self.propagate_real_tensors is not None:
            functorch.fake_tensor_propagate_real_tensors = self.propagate_real_tensors
        if self.propagate_real_tensors:  # what isn't captured can't be propagated
            given |= {"capture_scalar_outputs": True, "capture_dynamic_output_shape_ops": True}
        for name, value in given.items():
            if value is not None:
                setattr(config, name, value)

    def compiled(self, model: Callable[..., Any], compiler: Callable[[Any], Any]) -> Callable[..., Any]:
        """The model under `compiler`, which is torch.compile, and with it the backward pass where that is wanted."""
        forward: Callable[..., Any] = compiler(model)
        return CompiledBackward(forward, compiler) if self.compiled_autograd else forward


class CompiledBackward:
    """Compiled autograd for the steps of one callable: whatever else runs in the process has none."""

    def __init__(self, forward: Callable[..., Any], compiler: Callable[[Any], Any]) -> None:
        self._forward = forward
        self._compiler = compiler

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)

    def around_step(self) -> AbstractContextManager[None]:
        """In force from forward to backward: AOTAutograd has to know while it compiles the forward pass."""
        from torch._dynamo import compiled_autograd

        return compiled_autograd._enable(self._compiler)
