"""NVML through an invented module."""
# ruff: noqa: N802 - the module's own names

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from runner.measure.nvml import Nvml, open_nvml


class FakeNvml:
    """Knows one GPU; `missing` functions are not supported."""

    class NVMLError(Exception):
        """What the real module raises."""

    def __init__(self, reasons: int = 0, sm_mhz: int = 1980, pids: tuple[int, ...] = (1,), missing: str = "") -> None:
        self.reasons, self.sm_mhz, self.pids, self.missing = reasons, sm_mhz, pids, missing

    def _answer(self, name: str, value: Any) -> Any:
        if name in self.missing.split():
            raise self.NVMLError("Not Supported")
        return value

    def nvmlInit(self) -> None:
        """Nothing to do."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != "GPU-abc":
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetDefaultApplicationsClock(self, _handle: str, _clock: int) -> int:
        return self._answer("default", 1980)

    def nvmlDeviceGetClockInfo(self, _handle: str, _clock: int) -> int:
        return self._answer("clock", self.sm_mhz)

    def nvmlDeviceGetCurrentClocksEventReasons(self, _handle: str) -> int:
        return self._answer("reasons", self.reasons)

    def nvmlDeviceGetTemperature(self, _handle: str, _sensor: int) -> int:
        return self._answer("temperature", 61)

    def nvmlDeviceGetComputeRunningProcesses(self, _handle: str) -> list[Any]:
        return self._answer("processes", [SimpleNamespace(pid=pid) for pid in self.pids])


def test_an_undisturbed_gpu() -> None:
    """Idle and user-set clocks are not reasons."""
    state = Nvml("abc", FakeNvml(reasons=0x1 | 0x2)).state()
    assert (state.sm_mhz, state.temp_c, state.shared, state.held_back) == (1980, 61, False, frozenset())


@pytest.mark.parametrize(
    ("bit", "word"),
    [(4, "sw_power_cap"), (8, "hw_slowdown"), (0x20, "sw_thermal"), (0x40, "hw_thermal"), (0x80, "hw_power_brake")],
)
def test_reasons_that_hold_a_gpu_back(bit: int, word: str) -> None:
    """Every hardware, thermal and power reason has its word."""
    assert Nvml("GPU-abc", FakeNvml(reasons=bit | 1)).held_back() == {word}


def test_a_low_clock_is_a_reason() -> None:
    """Below 75 % of the default clock."""
    assert Nvml("abc", FakeNvml(sm_mhz=1400)).held_back() == {"low_clock"}
    assert not Nvml("abc", FakeNvml(sm_mhz=1500)).held_back()


def test_a_second_process_shares_the_gpu() -> None:
    """Two different processes; the same one listed twice is one."""
    assert Nvml("abc", FakeNvml(pids=(1, 2))).state().shared is True
    assert Nvml("abc", FakeNvml(pids=(1, 1))).state().shared is False


def test_what_nvml_does_not_say_is_unknown() -> None:
    """Not supported, as under MIG: empty, never an error."""
    state = Nvml("abc", FakeNvml(missing="default clock reasons temperature processes")).state()
    assert (state.sm_mhz, state.temp_c, state.shared, state.held_back) == (None, None, None, frozenset())


def test_an_old_driver_calls_the_reasons_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function's former name is asked where the present one is missing."""
    module = FakeNvml(reasons=0x40)
    monkeypatch.setattr(
        module,
        "nvmlDeviceGetCurrentClocksThrottleReasons",
        module.nvmlDeviceGetCurrentClocksEventReasons,
        raising=False,
    )
    monkeypatch.setattr(module, "nvmlDeviceGetCurrentClocksEventReasons", None)
    assert Nvml("abc", module).held_back() == {"hw_thermal"}


def test_no_nvml_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, and for a GPU that it does not know, there is nothing to ask."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    assert open_nvml("abc") is not None
    assert open_nvml("unknown") is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_nvml("abc") is None
