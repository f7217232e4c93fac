"""NVIDIA and AMD GPUs: what torch.cuda has beyond the common interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.devices.accelerator import Accelerator, TorchEvent

if TYPE_CHECKING:
    from runner.devices import Event


@dataclass
class Cuda(Accelerator):
    """A device of type cuda; `index` is torch's, after CUDA_VISIBLE_DEVICES."""

    type: str = "cuda"

    def event(self) -> Event | None:
        """A new timing event; torch.cuda.Event records on the current stream of the current device."""
        import torch

        return TorchEvent(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]

    def facts(self) -> dict[str, Any]:
        """device_name, and device_uuid as nvidia-smi prints it. The driver is in detect.facts: asking takes time."""
        facts = super().facts()
        if "device_uuid" in facts:
            facts["device_uuid"] = f"GPU-{facts['device_uuid'].removeprefix('GPU-')}"
        return facts
