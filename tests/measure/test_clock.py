"""The engine's device on top of torch, with a CPU in the accelerator's place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runner.measure.clock import TorchDevice, WallClock

torch = pytest.importorskip("torch")


class Cpu:
    """A device as the runner has them; `marks` are handed out as times of its events, in ms."""

    type = "cpu"
    torch_name = "cpu"

    def __init__(self, l2_bytes: int | None = 1024) -> None:
        self.size, self.waits = l2_bytes, 0

    def synchronize(self) -> None:
        self.waits += 1

    def event(self) -> Any:
        return SimpleNamespace(record=lambda: None, elapsed_ms=lambda _later: 5.0)

    def l2_bytes(self) -> int | None:
        return self.size


def test_the_flush_overwrites_a_buffer_of_the_caches_size() -> None:
    """The same buffer each time, zeroed."""
    device = TorchDevice(Cpu())
    device.flush_l2()
    buffer = device._flushed
    assert buffer is not None
    buffer.fill_(1)
    device.flush_l2()
    assert device._flushed is buffer
    assert buffer.numel() == 1024
    assert not buffer.any()


def test_priming_spins_for_the_time_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million cycles took 5 ms, so 1 ms is two million; calibrated once."""
    spun: list[int] = []
    monkeypatch.setattr(torch, "get_device_module", lambda _type: SimpleNamespace(_sleep=spun.append))
    device = TorchDevice(Cpu())
    device.prime(1_000_000)
    device.prime(2_000_000)
    assert spun == [1, 10_000_000, 2_000_000, 4_000_000]


def test_priming_without_a_spinning_kernel_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other accelerators get a kernel that takes some time."""
    monkeypatch.setattr(torch, "get_device_module", lambda _type: SimpleNamespace())
    device = TorchDevice(Cpu())
    device.prime(1_000_000)
    assert device._flushed is not None


def test_sync_and_events_are_the_devices() -> None:
    """Passed through."""
    cpu = Cpu()
    device = TorchDevice(cpu)
    device.sync()
    event = device.event()
    assert cpu.waits == 1
    assert event is not None
    assert event.elapsed_ms(event) == 5.0


def test_the_wall_clock_moves_on() -> None:
    """Monotonic, in whole nanoseconds."""
    clock = WallClock()
    first, second = clock.now_ns(), clock.now_ns()
    clock.sleep(0)
    assert isinstance(first, int)
    assert second >= first
