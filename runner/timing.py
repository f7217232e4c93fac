"""Joins a child's context to the measuring engine: its clock, device, probe, allocator, and inputs to put back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runner.experiment import Context
from runner.measure.columns import COLUMNS, PROCESS_COLUMNS
from runner.measure.settings import ClockKind
from runner.results.columns import Column, Row, Status
from runner.workload import Workload, tensors_of

if TYPE_CHECKING:
    from runner.measure.engine import Measurement, Side
    from runner.measure.settings import Measure

MEASURED = tuple(Column(*facts) for facts in (*COLUMNS, *PROCESS_COLUMNS))


class Timer:
    """Measures pairs of callables in this process; made once per child, right before the warm-up.

    Making it stops inductor's compile workers and tames the allocator, so the memory phase must be over. Without
    `canary` no fixed product is timed around each measurement: for those that are shorter than the product itself.
    """

    def __init__(self, context: Context, canary: bool = True) -> None:
        import torch
        from torch._inductor.async_compile import shutdown_compile_workers

        from runner.measure import malloc
        from runner.measure.clock import TorchDevice
        from runner.measure.nvml import open_nvml
        from runner.measure.probe import HostProbe, matmul_canary
        from runner.measure.tuning import available_cpus
        from runner.parallel import agreement

        shutdown_compile_workers()
        self._context, self._main = context, True
        self._settings = context.measure
        self._device = TorchDevice(context.device)
        self._clock = agreement.clock()
        self._threads = torch.get_num_threads()
        self._malloc = malloc.apply(context.measure.malloc)
        uuid = context.device.facts().get("device_uuid")
        own = HostProbe(
            self._clock,
            threads=self._threads,
            cores=len(available_cpus()),
            canary=matmul_canary(context.device.torch_name, context.device.synchronize) if canary else None,
            gpu=open_nvml(uuid) if uuid else None,
        )
        self._probe = agreement.probe(own)

    def compare(
        self,
        a: Side,
        b: Side,
        name: str | None = None,
        clock_kind: ClockKind = ClockKind.wall,
        l2_flush: bool = False,
    ) -> Measurement:
        """Measure how much faster `b` is than `a`; `name` (default: the cell's) seeds the order within the pairs."""
        from runner.measure.engine import measure  # numpy and scipy: the parent needs the columns only
        from runner.parallel import agreement

        context = self._context
        measured = measure(
            a,
            b,
            self._settings,
            seed=context.seed,
            name=name or context.cell.name,
            clock=self._clock,
            device=self._device,
            probe=self._probe,
            reset_rng=seeding(context.device.torch_name, context.seed),
            clock_kind=clock_kind,
            l2_flush=l2_flush,
        )
        if self._main:
            block_a, block_b = measured.samples()["block"]
            agreement.report_own_times((a, b), (int(block_a), int(block_b)), self._device.sync)
        return measured

    def for_more(self, share: float) -> Timer:
        """The same timer for comparisons beside the cell's own, with this part of `measure.max_time_s` for each.

        Of these a rank doesn't tell its own times.
        """
        other = copy(self)
        other._main = False
        other._settings = replace(self._settings, max_time_s=share * self._settings.max_time_s)
        return other

    def with_settings(self, settings: Measure) -> Timer:
        """The same timer with other settings than the cell's."""
        other = copy(self)
        other._settings = settings
        return other

    def process_row(self) -> Row:
        """The columns about this process."""
        tuning = self._context.tuning
        own = {"threads": self._threads, "affinity": tuning.affinity, "malloc": self._malloc}
        return {**own, "process": 0, "n_processes": 1}


def seeding(device: str, seed: int) -> Callable[[], object]:
    """Seeds torch's generators of the CPU and of `device`.

    Not torch.manual_seed: for each kind of accelerator that is not in use it notes the whole stack, 0.1 to 1 ms before
    every block.
    """
    import torch

    generator = torch.default_generator
    module = torch.get_device_module(device)
    seed_device = getattr(module, "manual_seed_all", None) or getattr(module, "manual_seed", None)
    if seed_device is None:
        return lambda: generator.manual_seed(seed)
    return lambda: (generator.manual_seed(seed), seed_device(seed))


def wall_s(call: Callable[[], object], context: Context) -> float:
    """Wall time of one call in seconds, from an idle device to an idle device; of several ranks the slowest one's."""
    context.device.synchronize()
    started = time.perf_counter()
    call()
    context.device.synchronize()
    return context.agree(time.perf_counter() - started)


def breakeven(row: Row, spent_s: float) -> int | None:
    """Steps after which the time that side B saves exceeds `spent_s`; None where no gain is certain."""
    if row.get("status") != Status.OK or (row.get("speedup_lo") or 0) <= 1:
        return None
    saved_s = (row["eager_latency"] - row["abs_latency"]) / 1e3
    return math.ceil(spent_s / saved_s) if saved_s > 0 else None


def step_peak_bytes(workload: Workload, f: Callable[..., Any], context: Context) -> int:
    """Peak memory of one step in bytes, weights included.

    The device's own counter, or what the step added to the process and what model, inputs and optimizer held before.
    """
    from runner.measure.memory import peak_memory

    workload.zero_grad()  # gradients of an earlier step are no part of this one, nor of what was there before
    context.device.empty_cache()
    peak = peak_memory(lambda: workload.step(f), context.device, malloc=context.measure.malloc)
    return peak.bytes if peak.method == "device" else peak.bytes + _held_bytes(workload)


def _held_bytes(workload: Workload) -> int:
    state = workload.optimizer.state_dict()["state"] if workload.optimizer else {}
    held = (workload.parameters(), workload.buffers(), workload.args, workload.kwargs, state)
    return sum({t.data_ptr(): t.nbytes for t in tensors_of(held) if t.layout.__str__() == "torch.strided"}.values())
