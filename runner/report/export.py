"""The report for other programs: all rows as one CSV, everything as JSON, PyTorch's benchmark database records."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TextIO

from runner.report.figures import Figures, Section
from runner.report.sources import MISSING, Part
from runner.results.columns import Column, Row, Status
from runner.results.text import finite, format_value

#: Column -> name of the metric in the database; all of an ok row's that have a value are written.
METRICS = {
    "speedup": "speedup",
    "abs_latency": "abs_latency",
    "compile_s": "compilation_latency",
    "compression_ratio": "compression_ratio",
    "eager_peak_mem": "eager_peak_mem",
    "dynamo_peak_mem": "dynamo_peak_mem",
    "calls_captured": "calls_captured",
    "unique_graphs": "unique_graphs",
    "fallbacks_to_eager": "fallbacks_to_eager",
    "graph_breaks": "graph_breaks",
    "unique_graph_breaks": "unique_graph_breaks",
    "autograd_captures": "autograd_captures",
    "autograd_compiles": "autograd_compiles",
    "cudagraph_skips": "cudagraph_skips",
}
DTYPES = {"fp64": "float64", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def write_csv(parts: Sequence[Part], stream: TextIO) -> None:
    """The rows of all parts under all their columns, with the folder or file that each comes from in front."""
    by_name = {column.name: column for part in parts for column in part.columns}
    columns = list(by_name.values())
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["from", *by_name])
    for part in parts:
        writer.writerows([str(part.directory), *values(row, columns)] for row in part.rows if row["status"] != MISSING)


def values(row: Row, columns: Iterable[Column]) -> list[str]:
    """A row's values as the text that result files have."""
    return [format_value(row.get(column.name), column) for column in columns]


def write_json(sections: Sequence[Section], stream: TextIO) -> None:
    """One object: for each experiment its groups, failures, flags and rows. What is no number is null."""
    json.dump({"experiments": [section_json(section) for section in sections]}, stream, indent=1)
    stream.write("\n")


def section_json(section: Section) -> dict[str, Any]:
    """One experiment as plain data."""
    return {
        "experiment": section.experiment,
        "from": [str(part.directory) for part in section.parts],
        "groups": [figures_json(figures) for figures in section.figures],
        "failures": [
            {**dict(zip(("status", "phase", "error_type", "error"), b.key, strict=True)), "models": b.names}
            for b in section.buckets
        ],
        "flags": section.flags,
        "rows": [{key: finite(value) for key, value in row.items() if value not in (None, "")} for row in section.rows],
    }


def figures_json(figures: Figures) -> dict[str, Any]:
    """The figures of one group as plain data."""
    return {
        **figures.labels,
        "passed": figures.passed,
        "attempted": figures.attempted,
        "counts": figures.counts,
        "left_out": figures.left_out,
        "speedup": asdict(figures.speedup) if figures.speedup else None,
        "compile_s": of_rows(figures.mean_compile_s),
        "memory_ratio": of_rows(figures.mean_memory_ratio),
    }


def of_rows(average: tuple[float, int] | None) -> dict[str, float] | None:
    """A mean and its number of rows."""
    return {"mean": average[0], "n": average[1]} if average else None


def write_hud(parts: Sequence[Part], stream: TextIO) -> None:
    """A record of the benchmark database per row and metric, one JSON object in each line."""
    for part in parts:
        torch = ((part.record.environment.get("torch") or {}) if part.record else {}).get("version", "")
        for row in part.rows:
            stream.writelines(json.dumps({**subject(row, torch), "metric": metric}) + "\n" for metric in metrics(row))


def subject(row: Row, torch: str) -> dict[str, Any]:
    """What was measured, in the database's words."""
    extra = {
        "device": row.get("dev") or "",
        "arch": row.get("device_name") or "",
        "quantization": "",
        "batch_size": row.get("batch_size"),
        "precision": row.get("precision") or "",
        "torch": torch,
        "tag": row.get("tag") or "",
        "cell_id": row.get("cell_id") or "",
    }
    backend, suite = row.get("backend") or "", row.get("suite") or ""
    benchmark = {"name": "TorchInductor", "mode": row.get("mode") or "", "dtype": dtype(row), "extra_info": extra}
    model = {"name": row["name"], "type": "OSS model", "backend": backend, "origins": [suite] if suite else []}
    return {"benchmark": benchmark, "model": model}


def dtype(row: Row) -> str:
    """The database's word for a precision."""
    precision = row.get("precision") or ""
    return "amp" if precision.startswith("amp") else DTYPES.get(precision, precision)


def metrics(row: Row) -> Iterator[dict[str, Any]]:
    """The verdict of every row that has one, and the numbers of those that are right."""
    if row.get("accuracy"):
        yield {"name": "accuracy", "extra_info": {"benchmark_values": [row["accuracy"]]}}
    if row["status"] != Status.OK:
        return
    for column, name in METRICS.items():
        value = row.get(column)
        if value is not None and value != "" and math.isfinite(value):
            yield {"name": name, "benchmark_values": [value], **interval(row, column)}


def interval(row: Row, column: str) -> dict[str, Any]:
    """The interval that goes with a metric."""
    lo, hi = finite(row.get(f"{column}_lo")), finite(row.get(f"{column}_hi"))
    return {} if lo is None or hi is None else {"extra_info": {"interval": [lo, hi], "level": row.get("ci_level")}}
