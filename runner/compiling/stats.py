"""What dynamo says about a compilation: eight statistics under upstream's names, graph breaks, seconds per phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner.cells import Cell
from runner.errors import UsageError
from runner.results.columns import Column, Row

STATISTICS = (
    Column("calls_captured", int, "", "operators that dynamo captured into graphs"),
    Column("unique_graphs", int, "", "graphs that dynamo compiled"),
    Column("fallbacks_to_eager", int, "", "frames that dynamo saw and did not compile"),
    Column("graph_breaks", int, "", "graph breaks, each time one was hit while compiling"),
    Column("unique_graph_breaks", int, "", "graph breaks with different reasons"),
    Column("autograd_captures", int, "", "backward graphs that compiled autograd captured"),
    Column("autograd_compiles", int, "", "backward graphs that compiled autograd compiled"),
    Column("cudagraph_skips", int, "", "graphs that inductor did not run as CUDA graphs although asked to"),
)
CAPTURE = (
    Column("graphs", int, "", "graphs that dynamo compiled", headline=True),
    Column("breaks", int, "", "times that a graph broke while compiling, at data-dependent branches too"),
    Column("fallbacks", int, "", "frames that dynamo saw and left to eager"),
    Column("compiled_frames", int, "", "frames that dynamo compiled; one that was compiled again counts again"),
)
GRAPH_BREAKS = (
    Column("count", int, "", "how often this break was hit"),
    Column("reason", str, "", "dynamo's reason"),
    Column("file", str, "", "user's file of the innermost frame"),
    Column("line", int, "", "line in that file"),
    Column("user_stack", str, "", "frames from the outermost inwards, file:line in function"),
)
COMPILE_METRICS = (
    Column("phase", str, "", "dynamo's or inductor's name of the phase; phases nest"),
    Column("seconds", float, "s", "time spent in it, all compilations of the cell together"),
    Column("count", int, "", "how often it was entered"),
)


def statistics() -> Row:
    """The eight statistics since the process started; subtract two of them for what lies between."""
    from torch._dynamo.utils import counters

    breaks, frames = counters["graph_break"], counters["frames"]
    return {
        "calls_captured": counters["stats"]["calls_captured"],
        "unique_graphs": counters["stats"]["unique_graphs"],
        "fallbacks_to_eager": frames["total"] - frames["ok"],
        "graph_breaks": sum(breaks.values()),
        "unique_graph_breaks": len(breaks),
        "autograd_captures": counters["compiled_autograd"]["captures"],
        "autograd_compiles": counters["compiled_autograd"]["compiles"],
        "cudagraph_skips": counters["inductor"]["cudagraph_skips"],
    }


@dataclass(frozen=True)
class Mark:
    """Where dynamo's records stood at some moment."""

    statistics: Row
    num_breaks: int
    num_compiled: int
    phases: dict[str, int]

    @classmethod
    def now(cls) -> Mark:
        """The present moment."""
        phases = {name: len(seconds) for name, seconds in _phases().items()}
        return cls(statistics(), len(_reasons()), _frames_compiled(), phases)

    def statistics_since(self) -> Row:
        """The eight statistics of what was compiled since."""
        return {name: value - self.statistics[name] for name, value in statistics().items()}

    def capture_since(self) -> Row:
        """What became of the frames that dynamo saw since (CAPTURE); breaks at data-dependent branches included."""
        found = self.statistics_since()
        return {
            "graphs": found["unique_graphs"],
            "breaks": len(_reasons()) - self.num_breaks,
            "fallbacks": found["fallbacks_to_eager"],
            "compiled_frames": _frames_compiled() - self.num_compiled,
        }

    def graph_breaks_since(self) -> list[Row]:
        """Each graph break since, once, with how often it was hit (GRAPH_BREAKS)."""
        rows: dict[tuple[str, str], Row] = {}
        for found in _reasons()[self.num_breaks :]:
            frames = list(found.user_stack)
            stack = " > ".join(f"{f.filename}:{f.lineno} in {f.name}" for f in frames)
            row = rows.setdefault((found.reason, stack), {"count": 0, "reason": found.reason, "user_stack": stack})
            row["count"] += 1
            if frames:
                row |= {"file": frames[-1].filename, "line": frames[-1].lineno}
        return list(rows.values())

    def phases_since(self) -> list[Row]:
        """Seconds per phase since (COMPILE_METRICS), the longest first."""
        new = {name: seconds[self.phases.get(name, 0) :] for name, seconds in _phases().items()}
        rows = [{"phase": name, "seconds": sum(s), "count": len(s)} for name, s in new.items() if s]
        return sorted(rows, key=lambda row: -float(row["seconds"]))


def backed(cell: Cell, what: str) -> tuple[Cell, ...]:
    """The cell, which must have a backend; `what` says what the experiment would do with it."""
    if "backend" not in cell.config:
        raise UsageError(f"{what}: give backend=NAME")
    return (cell,)


def _frames_compiled() -> int:
    from torch._dynamo.utils import counters

    return int(counters["frames"]["ok"])


def explanation(stats: Row) -> str:
    """Upstream's summary line of `--explain`."""
    return (
        f"Dynamo produced {stats['unique_graphs']} graphs covering {stats['calls_captured']} ops with "
        f"{stats['graph_breaks']} graph breaks ({stats['unique_graph_breaks']} unique)"
    )


def _reasons() -> list[Any]:
    from torch._dynamo.utils import graph_break_reasons

    return list(graph_break_reasons)


def _phases() -> dict[str, list[float]]:
    from torch._dynamo.utils import compilation_time_metrics

    return dict(compilation_time_metrics)
