"""NVIDIA and AMD GPUs: what torch.cuda has beyond the common interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.devices.accelerator import Accelerator, TorchEvent

if TYPE_CHECKING:
    from runner.devices import Event

#: Calls before a graph is recorded: libraries choose kernels and allocate workspaces in the first ones.
GRAPH_WARMUP_CALLS = 3


@dataclass
class Cuda(Accelerator):
    """A device of type cuda; `index` is torch's, after CUDA_VISIBLE_DEVICES."""

    type: str = "cuda"

    def event(self) -> Event | None:
        """A new timing event; torch.cuda.Event records on the current stream of the current device."""
        import torch

        return TorchEvent(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]

    def graphed(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """A CUDA graph of `call`, after warm-up calls on a side stream as torch asks for."""
        import torch

        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(GRAPH_WARMUP_CALLS):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = call()

        def replay() -> Any:
            graph.replay()
            return out

        return replay

    def facts(self) -> dict[str, Any]:
        """device_name, and device_uuid as nvidia-smi prints it. The driver is in detect.facts: asking takes time."""
        facts = super().facts()
        if "device_uuid" in facts:
            facts["device_uuid"] = f"GPU-{facts['device_uuid'].removeprefix('GPU-')}"
        return facts
