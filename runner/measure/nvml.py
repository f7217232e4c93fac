"""State of an NVIDIA GPU through NVML: clocks, why they are low, temperature, who else uses it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Bits of NVML's clock event reasons that mean the GPU is held back; idle and user-set clocks are not among them.
HELD_BACK = {
    0x04: "sw_power_cap",
    0x08: "hw_slowdown",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "hw_power_brake",
}
#: A clock below this share of the default one is low.
LOW_CLOCK_SHARE = 0.75
LOW_CLOCK = "low_clock"
_SM, _GPU_CORE = 1, 0  # NVML_CLOCK_SM, NVML_TEMPERATURE_GPU


@dataclass(frozen=True)
class GpuState:
    """What NVML said; None where it would not say."""

    sm_mhz: int | None = None
    temp_c: int | None = None
    shared: bool | None = None
    held_back: frozenset[str] = frozenset()


class Nvml:
    """One GPU, found by its UUID with or without the `GPU-` prefix.

    `module` is pynvml or anything with its functions. Raises the module's NVMLError where there is no such GPU.
    """

    def __init__(self, uuid: str, module: Any) -> None:
        self._nvml = module
        module.nvmlInit()
        known = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
        self._handle = module.nvmlDeviceGetHandleByUUID(known)
        self._default_mhz = self._ask("nvmlDeviceGetDefaultApplicationsClock", _SM)

    def state(self) -> GpuState:
        """Everything at once."""
        return GpuState(
            self._ask("nvmlDeviceGetClockInfo", _SM),
            self._ask("nvmlDeviceGetTemperature", _GPU_CORE),
            self._shared(),
            self.held_back(),
        )

    def held_back(self) -> frozenset[str]:
        """Reasons why the GPU runs slower than it should; empty when it does not."""
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        found = {word for bit, word in HELD_BACK.items() if bits & bit}
        mhz = self._ask("nvmlDeviceGetClockInfo", _SM)
        if mhz and self._default_mhz and mhz < LOW_CLOCK_SHARE * self._default_mhz:
            found.add(LOW_CLOCK)
        return frozenset(found)

    def _shared(self) -> bool | None:
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses")
        if processes is None:
            return None
        # In a container our own process is listed under a number that we do not know: one process is taken for ours.
        return len({process.pid for process in processes}) > 1

    def _ask(self, function: str, *args: Any) -> Any:
        ask: Callable[..., Any] | None = getattr(self._nvml, function, None)
        if ask is None:
            return None
        try:
            return ask(self._handle, *args)
        except self._nvml.NVMLError:  # not supported by this GPU or driver, or not permitted
            return None


def open_nvml(uuid: str) -> Nvml | None:
    """The GPU with this UUID, or None where pynvml is not installed or knows no such GPU."""
    try:
        module = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        return Nvml(uuid, module)
    except module.NVMLError:
        return None
