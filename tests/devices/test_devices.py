"""Devices as a child uses them; those marked gpu need an accelerator."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from runner.devices import detect, nvml
from runner.devices.accelerator import Accelerator
from runner.errors import Unsupported, UsageError
from runner.worker.devices import build_device


def test_cpu() -> None:
    """The CPU has a name, memory and caches, but neither queue nor events nor an index."""
    device = build_device({"type": "cpu"})
    device.synchronize()
    device.empty_cache()
    assert (device.torch_name, device.event()) == ("cpu", None)
    assert device.free_memory_bytes() > 1 << 20
    assert device.l2_bytes() is None or device.l2_bytes() > 1 << 10
    assert device.facts()["device_name"]
    with pytest.raises(UsageError, match="there is one CPU device"):
        build_device({"type": "cpu", "index": 0})


def test_the_cpu_keeps_no_counter() -> None:
    """Peak memory on the CPU is the process's high-water mark, which the memory phase reads itself."""
    assert build_device({"type": "cpu"}).peak_memory_bytes() is None


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is one")
@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_absent_accelerator(kind: str) -> None:
    """A device that is not there is unsupported, by name."""
    with pytest.raises(Unsupported, match=f"device={kind}: this torch finds no such device"):
        build_device({"type": kind, "index": 0})


def test_unknown_type() -> None:
    """A type that torch has never heard of is unsupported."""
    with pytest.raises(Unsupported, match="device=abacus: this torch has no such device type"):
        build_device({"type": "abacus"})


def test_generic_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a vendor's module offers is used, and what it lacks is None."""
    calls: list[object] = []
    module = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 2,
        set_device=calls.append,
        synchronize=lambda: calls.append("sync"),
        mem_get_info=lambda: (5, 10),
        empty_cache=lambda: calls.append("empty"),
        get_device_properties=lambda: SimpleNamespace(name="Vendor 1", driver_version="7"),
    )
    monkeypatch.setattr(torch, "get_device_module", lambda kind: module)
    device = Accelerator("vendor", 1)
    device.check()
    device.synchronize()
    device.empty_cache()
    device.reset_peak_memory()
    assert calls == [1, "sync", "empty"]
    assert device.torch_name == "vendor:1"
    assert (device.free_memory_bytes(), device.peak_memory_bytes(), device.l2_bytes()) == (5, None, None)
    assert device.facts() == {"device_name": "Vendor 1", "driver": "7"}
    with pytest.raises(Unsupported, match="there are 2 vendor devices"):
        Accelerator("vendor", 2).check()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda() -> None:
    """A GPU has events, memory counters, a cache size, and the name that nvidia-smi gives it."""
    device = build_device({"type": "cuda", "index": 0})
    first, last = device.event(), device.event()
    device.reset_peak_memory()
    before = device.peak_memory_bytes()
    first.record()
    block = torch.ones(64 << 20, dtype=torch.uint8, device=device.torch_name)
    last.record()
    device.synchronize()
    assert first.elapsed_ms(last) > 0
    assert device.peak_memory_bytes() - before >= block.numel()
    assert device.free_memory_bytes() > 1 << 20
    assert device.l2_bytes() > 1 << 20
    assert device.facts()["device_uuid"] == nvml.gpus()[0].uuid
    assert detect.facts("cuda")["driver"]
