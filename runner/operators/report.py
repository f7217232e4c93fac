"""The row of an operator from its samples, the columns of both, and what all rows come to. Without torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING

from runner.operators.outcome import counted, verdict
from runner.operators.quantiles import QUANTILES, quantile
from runner.results.columns import Column, Row, Status

if TYPE_CHECKING:
    from runner.operators.bench import Sample

COLUMNS: tuple[Column, ...] = (
    Column("speedup", float, "", "median over the samples' speedups, forward", headline=True),
    Column("abs_latency", float, "ms", "time of the backend's forward, mean over the recorded calls", headline=True),
    Column("eager_latency", float, "ms", "time of eager's forward, mean over the recorded calls"),
    Column("speedup_p20", float, "", "0.2 quantile of the samples' speedups, forward"),
    Column("speedup_p80", float, "", "0.8 quantile of the samples' speedups, forward"),
    Column("weighted_p20", float, "", "0.2 quantile, each sample weighted by how often it was recorded"),
    Column("weighted_p50", float, "", "0.5 quantile, each sample weighted by how often it was recorded"),
    Column("weighted_p80", float, "", "0.8 quantile, each sample weighted by how often it was recorded"),
    Column("backward_p20", float, "", "0.2 quantile of the samples' speedups, backward"),
    Column("backward_p50", float, "", "0.5 quantile of the samples' speedups, backward"),
    Column("backward_p80", float, "", "0.8 quantile of the samples' speedups, backward"),
    Column("recorded", int, "", "input sets of the operator in the log"),
    Column("selected", int, "", "input sets that were to be measured: experiment.max_samples of the recorded ones"),
    Column("samples", int, "", "samples that were measured, forward and backward"),
    Column("failures", int, "", "samples that were not"),
    Column("share_pct", float, "%", "input sets of which nothing failed, of the selected (not of all recorded) ones"),
    Column("unconverged", int, "", "samples with an interval wider than measure.rel_ci"),
    Column("reasons", str, "", "why samples were not measured, with their numbers"),
    Column("eager_roofline", float, "", "least time that the device allows, of eager's: median, forward"),
    Column("backend_roofline", float, "", "the same of the backend's; above 1 where data stay in a cache"),
    Column("copy_gb_s", float, "GB/s", "the device's ceiling: bytes read and written per second by a large copy"),
    Column("matmul_gflop_s", float, "GFLOP/s", "the device's ceiling: a large matrix product in this precision"),
    Column("clock", str, "", "wall, or device: by events, with graphs on both sides where they can be recorded"),
    Column("l2_flush", bool, "", "was the device's last-level cache overwritten before every call?"),
    Column("threads", int, "", "threads that the measured code computes with"),
    Column("malloc", str, "", "the allocator while measuring"),
)
SAMPLES: tuple[Column, ...] = (
    Column("input_set", int, "", "place among the operator's selected input sets, from 0"),
    Column("direction", str, "", "forward or backward"),
    Column("count", int, "", "times that it was recorded"),
    Column("inputs", str, "", "arguments in the log's notation: shapes, dtypes, strides, scalars"),
    Column("strides", str, "", "contiguous, or the strides of each tensor (c: that one is contiguous)"),
    Column("where", str, "", "file and line of the log, the first where several have it"),
    Column("status", str, "", "how the sample ended"),
    Column("reason", str, "", "why it was not measured, one of ten"),
    Column("error", str, "", "one line that says what happened"),
    Column("eager_ms", float, "ms", "median time of eager"),
    Column("backend_ms", float, "ms", "median time of the backend"),
    Column("speedup", float, "", "eager over backend, from pairs"),
    Column("speedup_lo", float, "", "lower end of its interval"),
    Column("speedup_hi", float, "", "upper end of its interval"),
    Column("rel_hw", float, "", "half-width of the interval in log units"),
    Column("n_pairs", int, "", "pairs of blocks that were measured"),
    Column("converged", bool, "", "is the interval as narrow as measure.rel_ci asks?"),
    Column("clock", str, "", "wall or device"),
    Column("l2_flush", bool, "", "was the last-level cache overwritten before every call?"),
    Column("graphs", bool, "", "were both sides replayed as graphs of the device?"),
    Column("flags", str, "", "words about the measurement"),
    Column("bytes", int, "B", "bytes to read and write at least; of a backward what eager keeps, and the gradients"),
    Column("flop", int, "", "floating-point operations; empty where torch has no formula, and of a backward"),
    Column("eager_gb_s", float, "GB/s", "those bytes by eager's time"),
    Column("backend_gb_s", float, "GB/s", "those bytes by the backend's time"),
    Column("eager_gflop_s", float, "GFLOP/s", "those operations by eager's time"),
    Column("backend_gflop_s", float, "GFLOP/s", "those operations by the backend's time"),
    Column("eager_roofline", float, "", "least time that the device's ceilings allow, of eager's"),
    Column("backend_roofline", float, "", "the same of the backend's"),
    Column("accuracy", str, "", "pass, fail_accuracy, or not_compared (random numbers, uninitialised memory)"),
    Column("reference", str, "", "fp64 where the outputs were not equal within the tolerance at once"),
    Column("max_abs_err", float, "", "largest absolute difference from eager"),
    Column("max_rel_err", float, "", "largest |backend - eager| / (scale + |eager|); scale is 1, small values' less"),
)
#: Operators that the summary names at either end.
EXTREMES = 3


def row_columns(name: str) -> tuple[Column, ...]:
    """What `experiment.against` adds to the operator's row for one more baseline."""
    return (
        Column(f"speedup_vs_{name}", float, "", f"time of {name} over the backend's: median over the samples, forward"),
        Column(f"speedup_vs_{name}_p20", float, "", "0.2 quantile of the same"),
        Column(f"speedup_vs_{name}_p80", float, "", "0.8 quantile of the same"),
        Column(f"{name}_latency", float, "ms", f"time of {name}'s forward, mean over the recorded calls"),
    )


def row_of(samples: Sequence[Sample], selected: int, facts: Row, against: Iterable[str] = ()) -> Row:
    """The operator's row. `against` names the further baselines."""
    failures = [sample.failed for sample in samples if sample.failed is not None]
    measured = [sample.row for sample in samples if sample.failed is None]
    broken = {sample.row["input_set"] for sample in samples if sample.failed is not None}
    forward = [row for row in measured if row["direction"] == "forward"]
    backward = [row for row in measured if row["direction"] == "backward"]
    return {
        **facts,
        **verdict(failures, len(measured)),
        **_check(samples),
        **_speedups(forward, backward),
        **{key: value for name in against for key, value in _against(name, forward).items()},
        "samples": len(measured),
        "failures": len(failures),
        "share_pct": 100 * (1 - len(broken) / selected) if selected else None,
        "unconverged": sum(not row["converged"] for row in measured),
        "reasons": counted(failures),
        "clock": measured[0]["clock"] if measured else None,
        "l2_flush": measured[0]["l2_flush"] if measured else None,
    }


def _check(samples: Sequence[Sample]) -> Row:
    """The worst of the samples' checks."""
    rows = [sample.row for sample in samples if sample.row.get("accuracy") in {"pass", "fail_accuracy"}]
    if not rows:
        return {}
    wrong = [row for row in rows if row["accuracy"] == "fail_accuracy"]
    references = [row["reference"] for row in rows if row["reference"] != "none"]
    return {
        "accuracy": "fail_accuracy" if wrong else "pass",
        "reference": references[0] if references else "none",
        **{name: max((row[name] for row in rows if row[name] is not None), default=None) for name in _ERRORS},
    }


_ERRORS = ("max_abs_err", "max_rel_err")


def _speedups(forward: Sequence[Row], backward: Sequence[Row]) -> Row:
    row: Row = {}
    if forward:
        counts = [one["count"] for one in forward]
        values = [one["speedup"] for one in forward]
        plain, weighted = ([quantile(values, q, w) for q in QUANTILES] for w in (None, counts))
        row |= dict(zip(("speedup_p20", "speedup", "speedup_p80"), plain, strict=True))
        row |= dict(zip(("weighted_p20", "weighted_p50", "weighted_p80"), weighted, strict=True))
        for column, name in (("eager_latency", "eager_ms"), ("abs_latency", "backend_ms")):
            row[column] = fmean((one[name] for one in forward), counts)
        for name in ("eager_roofline", "backend_roofline"):
            known = [one[name] for one in forward if one.get(name) is not None]
            row[name] = median(known) if known else None
    if backward:
        found = [quantile([one["speedup"] for one in backward], q) for q in QUANTILES]
        row |= dict(zip(("backward_p20", "backward_p50", "backward_p80"), found, strict=True))
    return row


def _against(name: str, forward: Sequence[Row]) -> Row:
    known = [row for row in forward if row.get(f"{name}_latency") is not None]
    if not known:
        return {}
    low, middle, high = (quantile([row[f"speedup_vs_{name}"] for row in known], q) for q in QUANTILES)
    latency = fmean((row[f"{name}_latency"] for row in known), [row["count"] for row in known])
    ends = {f"speedup_vs_{name}_p20": low, f"speedup_vs_{name}_p80": high}
    return {f"speedup_vs_{name}": middle, **ends, f"{name}_latency": latency}


def conclusion(rows: Sequence[Row]) -> Iterable[str]:
    """Share of the input sets, reasons, fastest, slowest and wrong operators."""
    known = [row for row in rows if row.get("selected")]
    selected = sum(row["selected"] for row in known)
    if not selected:
        return
    whole = sum(round(row["selected"] * (row.get("share_pct") or 0) / 100) for row in known)
    recorded = sum(row["recorded"] for row in known)
    yield f"input sets: {whole} of {selected} measured ({100 * whole / selected:.1f} %), {recorded} recorded"
    reasons = _reasons(known)
    if reasons:
        yield "not measured: " + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    right = [row for row in known if row["status"] == Status.OK and row.get("speedup")]
    ordered = sorted(right, key=lambda row: row["speedup"])
    if len(ordered) > 1:
        yield "fastest: " + ", ".join(_named(row) for row in reversed(ordered[-EXTREMES:]))
        yield "slowest: " + ", ".join(_named(row) for row in ordered[:EXTREMES])
    wrong = [row["name"] for row in known if row["status"] == Status.WRONG_OUTPUT]
    if wrong:
        yield f"wrong: {', '.join(wrong)}"


def _reasons(rows: Sequence[Row]) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in rows:
        for part in filter(None, (row.get("reasons") or "").split("; ")):
            count, _, reason = part.partition(" ")
            found[f"samples {reason}"] += int(count)
        if row.get("failures") is None:  # the operator's process ended before it could say what became of its samples
            found[f"input sets of operators that ended as {row['status']}"] += row["selected"]
    return found


def _named(row: Row) -> str:
    return f"{row['name']} {row['speedup']:.2f}x"
