"""`experiment.against`: eager, then further backends, each in pairs of its own with the backend under test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.config import default_node
from runner.results.columns import Column, Row

EAGER = "eager"


def further(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Nodes of the backends beside eager, by name. Raises ValueError where eager isn't first or one occurs twice."""
    if list(given[:1]) != [EAGER] or len(set(given)) < len(given):
        words = ",".join(given)
        raise ValueError(f"experiment.against=[{words}]: give eager, then other backends, as [eager,aot_eager]")
    return {name: default_node("backend", name) for name in given[1:]}


def against_columns(name: str) -> tuple[Column, ...]:
    """What `experiment.against` adds for one more baseline."""
    return (
        Column(f"speedup_vs_{name}", float, "", f"time of {name} over time of the backend, in pairs"),
        Column(f"speedup_vs_{name}_lo", float, "", f"lower end of the interval of speedup_vs_{name}"),
        Column(f"speedup_vs_{name}_hi", float, "", f"upper end of the interval of speedup_vs_{name}"),
        Column(latency_of(name), float, "ms", f"median time per step of {name}"),
    )


def against_row(name: str, row: Row) -> Row:
    """The values of `against_columns` from a measurement's."""
    ends = {f"speedup_vs_{name}{end}": row[f"speedup{end}"] for end in ("", "_lo", "_hi")}
    return {**ends, latency_of(name): row["eager_latency"]}


def latency_of(name: str) -> str:
    """The column with a further baseline's own time."""
    return f"{name}_latency"
