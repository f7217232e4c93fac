"""The machine's certificate: does the measuring engine call two sides different that are the same callable?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.experiment import Context, Experiment
from runner.results.columns import Column, Phase, Row, Status
from runner.timing import Timer

if TYPE_CHECKING:
    from runner.devices import Device
    from runner.workload import Workload

#: 0.3 % tail of Bin(40, 0.05): more alarms than this are no chance.
ALLOWED_SHARE = 6 / 40


@dataclass
class Selftest(Experiment):
    """A/A: the same callable on both sides, again and again; an alarm is an interval that excludes 1."""

    columns = (
        Column("alarms", int, "", "measurements whose interval excludes 1", headline=True),
        Column("repeats", int, "", "A/A measurements", headline=True),
        Column("allowed_alarms", int, "", "most alarms that pass"),
        Column("converged_share", float, "", "share of the measurements that reached measure.rel_ci"),
        Column("speedup_cv_pct", float, "%", "coefficient of variation of the measured speedups, all truly 1"),
        Column("largest_error_pct", float, "%", "largest distance of a measured speedup from 1"),
        Column("pair_sd_pct", float, "%", "median over the measurements of the robust sd of a pair's log ratio"),
        Column("mde80_pct", float, "%", "median smallest difference that a measurement finds 80 % of the time"),
        Column("call_ms", float, "ms", "median time of the callable"),
        Column("pairs", float, "", "mean number of pairs per measurement"),
        Column("threads", int, "", "threads that the callable computes with"),
        Column("malloc", str, "", "the allocator while measuring"),
        Column("psi_cpu_pct", float, "%", "median over the measurements: time in which some task waited for a CPU"),
    )
    summary = ("alarms", "repeats", "speedup_cv_pct", "pair_sd_pct", "mde80_pct", "call_ms")
    names = ("same_callable",)
    needs_model = False
    one_process = True

    repeats: int = 40
    target_ms: float = 3.0  # how long the callable takes

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.target_ms <= 0:
            raise ValueError(f"experiment.repeats={self.repeats}, target_ms={self.target_ms}: give numbers above 0")

    def run(self, workload: Workload | None, context: Context) -> Iterable[Row]:  # noqa: ARG002 - the contract's
        """All repeats in this process."""
        from runner.measure.engine import Side
        from runner.measure.measurement import log_ratios
        from runner.measure.statistics import robust_sd

        with context.phase(Phase.WARMUP):
            call = work_of(self.target_ms, context.device)
            timer = Timer(context)
        rows: list[Row] = []
        spreads: list[float] = []
        with context.phase(Phase.MEASURE):
            for repeat in range(self.repeats):
                found = timer.compare(Side(call), Side(call), name=f"{context.cell.name}/{repeat}")
                rows.append(found.row())
                spreads.append(robust_sd(log_ratios(found.samples())))
                if context.measure.samples_file:
                    context.samples({f"{key}_{repeat}": values for key, values in found.samples().items()})
                yield {**certificate(rows, spreads, self.repeats), **_process(timer)}
        if rows_alarming(rows) > allowed(self.repeats):
            yield {"status": Status.CHECK_ERROR.value, "phase": Phase.MEASURE.value, "error": _verdict(rows)}


def certificate(rows: list[Row], spreads: list[float], repeats: int) -> Row:
    """What the measurements so far say about the machine."""
    ratios = [row["speedup"] for row in rows]
    known = [row["mde80"] for row in rows if row["mde80"] is not None]
    return {
        "alarms": rows_alarming(rows),
        "repeats": len(rows),
        "allowed_alarms": allowed(repeats),
        "converged_share": sum(bool(row["converged"]) for row in rows) / len(rows),
        "speedup_cv_pct": 100 * statistics.stdev(ratios) / statistics.fmean(ratios) if len(ratios) > 1 else None,
        "largest_error_pct": 100 * max(abs(ratio - 1) for ratio in ratios),
        "pair_sd_pct": 100 * statistics.median(spreads),
        "mde80_pct": 100 * statistics.median(known) if known else None,
        "call_ms": statistics.median(row["eager_latency"] for row in rows),
        "pairs": statistics.fmean(row["n_pairs"] for row in rows),
        "psi_cpu_pct": statistics.median(row["psi_cpu_pct"] or 0.0 for row in rows),
    }


def rows_alarming(rows: list[Row]) -> int:
    """Measurements whose interval excludes 1."""
    known = [row for row in rows if row["speedup_lo"] is not None]
    return sum(not row["speedup_lo"] <= 1.0 <= row["speedup_hi"] for row in known)


def allowed(repeats: int) -> int:
    """Most alarms that pass in so many repeats."""
    return round(ALLOWED_SHARE * repeats)


def work_of(target_ms: float, device: Device) -> Callable[[], Any]:
    """A chain of small matrix products that takes about `target_ms` on an idle device."""
    import torch

    generator = torch.Generator().manual_seed(0)
    size = 128 if device.type == "cpu" else 1024
    x, w = (torch.randn(size, size, generator=generator).to(device.torch_name) / size**0.5 for _ in range(2))

    def chain(links: int) -> Any:
        out = x
        for _ in range(links):
            out = torch.tanh(out @ w)
        return out

    def seconds(links: int) -> float:
        device.synchronize()
        started = time.perf_counter()
        chain(links)
        device.synchronize()
        return time.perf_counter() - started

    for _ in range(3):
        seconds(50)
    each_ms = min(seconds(50) for _ in range(9)) / 50 * 1e3
    links = max(1, round(target_ms / each_ms))
    return lambda: chain(links)


def _process(timer: Timer) -> Row:
    row = timer.process_row()
    return {"threads": row["threads"], "malloc": row["malloc"]}


def _verdict(rows: list[Row]) -> str:
    return (
        f"{rows_alarming(rows)} of {len(rows)} A/A measurements call the same callable different, "
        f"{allowed(len(rows))} are allowed: don't trust small differences measured on this machine now"
    )
