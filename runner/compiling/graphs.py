"""Gets hold of the graphs that dynamo compiles, whatever the backend, before the frames that call them do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Graph = Callable[..., Any]


@contextmanager
def each_graph(wrap: Callable[[Graph], Graph]) -> Iterator[None]:
    """Inside, every frame that dynamo compiles calls `wrap(graph)` where it would call its compiled graph.

    The backend has no part in it: a profiler's own events show the frame's code, in which later frames nest, and not
    the graph.
    """
    from torch._dynamo.output_graph import OutputGraph

    compile_graph = OutputGraph.call_user_compiler

    def call_user_compiler(self: Any, *args: Any, **kwargs: Any) -> Graph:
        return wrap(compile_graph(self, *args, **kwargs))

    OutputGraph.call_user_compiler = call_user_compiler  # type: ignore[method-assign]
    try:
        yield
    finally:
        OutputGraph.call_user_compiler = compile_graph  # type: ignore[method-assign]


class Counting:
    """Counts the calls of graphs."""

    def __init__(self) -> None:
        self.calls = 0

    def wrap(self, graph: Graph) -> Graph:
        """The graph, counted."""

        def counted(*args: Any) -> Any:
            self.calls += 1
            return graph(*args)

        return counted


def replayed(graph: Graph) -> Graph:
    """A graph that computes in its first call and returns the same outputs ever after: a call that does no work."""
    outputs: list[Any] = []

    def replay(*args: Any) -> Any:
        if not outputs:
            outputs.append(graph(*args))
        return outputs[0]

    return replay


@contextmanager
def guard_times(iterations: int) -> Iterator[list[float]]:
    """A list that fills, inside, with the microseconds that each compiled frame's guards take when they all hold.

    dynamo times them itself, but once and with cold processor caches; this is the median of `iterations` warm ones.
    """
    from torch._dynamo import guards as module

    guards: Any = module
    once = guards.profile_guard_manager
    found: list[float] = []

    def measured(root: Any, scope: Any, n: int) -> float:
        found.append(statistics.median(_check_ns(root, scope) for _ in range(iterations)) / 1e3)
        return float(once(root, scope, n))

    guards.profile_guard_manager = measured
    try:
        yield found
    finally:
        guards.profile_guard_manager = once


def _check_ns(root: Any, scope: Any) -> int:
    started = time.perf_counter_ns()
    root.check(scope)
    return time.perf_counter_ns() - started
