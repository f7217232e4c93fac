"""What dynamo keeps of each compilation of a frame: its cost, its guards, and why the one before did not do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from runner.results.columns import Column, Row

RECOMPILATIONS = (
    Column("frame", str, "", "the frame that was compiled again: function (file:line)"),
    Column("compile_id", str, "", "dynamo's number of the frame, and how often it had been compiled before"),
    Column("reason", str, "", "the guard of an earlier compilation that failed, in dynamo's words"),
    Column("seconds", float, "s", "time that this compilation took"),
    Column("limit_hit", bool, "", "dynamo refused: the frame had been compiled too often, and runs in eager"),
)
_LIMIT = "recompile limit exceeded"
#: torch keeps the last 64 unless told otherwise.
_KEPT = 100_000


@dataclass(frozen=True)
class Compilation:
    """One attempt to compile a frame. `reason` is empty for the first one."""

    frame: str
    compile_id: str
    reason: str
    seconds: float
    limit_hit: bool
    guards: int
    guards_us: float | None

    @property
    def row(self) -> Row:
        """Values of RECOMPILATIONS."""
        return {name: getattr(self, name) for name in (column.name for column in RECOMPILATIONS)}


class Compilations:
    """Compilations of frames from the moment that this object was made."""

    def __init__(self) -> None:
        from torch._dynamo.utils import get_compilation_metrics, set_compilation_metrics_limit

        set_compilation_metrics_limit(_KEPT)
        self._before = len(get_compilation_metrics())
        self._names: dict[str, str] = {}

    def all(self) -> list[Compilation]:
        """In order; without those of backward graphs, which belong to a frame that is among them."""
        from torch._dynamo.utils import get_compilation_metrics

        found = [m for m in get_compilation_metrics()[self._before :] if m.is_forward is not False]
        return [self._read(metrics) for metrics in found if metrics.compile_id and not metrics.is_runtime]

    def again(self) -> list[Compilation]:
        """Those that had been compiled before."""
        return [each for each in self.all() if each.reason]

    def seconds(self) -> float:
        """Time that everything took, backward graphs included."""
        from torch._dynamo.utils import get_compilation_metrics

        found = get_compilation_metrics()[self._before :]
        return sum(m.duration_us or 0 for m in found if not m.is_runtime) / 1e6

    def _read(self, metrics: Any) -> Compilation:
        frame = metrics.compile_id.rpartition("/")[0]
        if metrics.co_name:  # a refused compilation doesn't say whose it was
            self._names[frame] = f"{metrics.co_name} ({metrics.co_filename}:{metrics.co_firstlineno})"
        return Compilation(
            frame=self._names.get(frame, ""),
            compile_id=metrics.compile_id,
            reason=plain(metrics.recompile_reason or ""),
            seconds=(metrics.duration_us or 0) / 1e6,
            limit_hit=_LIMIT in (metrics.fail_reason or ""),
            guards=metrics.guard_count or 0,
            guards_us=metrics.guard_latency_us,
        )


def plain(reason: str) -> str:
    """The failed guards, one a line, without the compilations that they belong to (`0/1: `) and without stacks."""
    guards = re.findall(r"^\W*\d+/\d+: (.*)$", reason, re.MULTILINE)
    return "\n".join(re.sub(r"\s+", " ", guard).strip() for guard in guards)
