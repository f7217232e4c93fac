"""NVIDIA and AMD GPUs: what torch.cuda has beyond the common interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.devices import nvml
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

        return TorchEvent(torch.cuda.Event(enable_timing=True))

    def facts(self) -> dict[str, Any]:
        """device_name, device_uuid as nvidia-smi prints it, and driver."""
        facts = super().facts()
        if "device_uuid" in facts:
            facts["device_uuid"] = f"GPU-{facts['device_uuid'].removeprefix('GPU-')}"
        driver = nvml.driver_version()
        return facts if driver is None else {**facts, "driver": driver}
