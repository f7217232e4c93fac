"""Counts the operators that a model runs inside and outside its compiled graphs, by a rule of our own for nesting.

An operator counts when no other operator called it: `linear` is one, not `linear`, `t` and `addmm`. In training those
of the model's backward count too: each autograd node belongs to where the forward created it, which its sequence
number tells. What is not the model's (loss, accumulation of gradients, optimizer) does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from runner.compiling.graphs import Graph, each_graph

_MODEL, _GRAPH = "runner: model", "runner: graph"
_BACKWARD = "autograd::engine::evaluate_function: "
#: torch::autograd::AccumulateGrad and the like are nodes, not operators.
_NODES = ("autograd::", "torch::autograd::")
#: at::RecordScope::FUNCTION: a call through the dispatcher.
_FUNCTION = 0


class Place(Enum):
    """Where something ran."""

    GRAPH = "graph"
    OUTSIDE = "outside"
    ELSEWHERE = "elsewhere"  # no part of the model


@dataclass
class Count:
    """What ran in one step: operators, and microseconds (of the accelerator where it did the work)."""

    operators: dict[Place, int] = field(default_factory=lambda: dict.fromkeys(Place, 0))
    device_us: dict[Place, float] = field(default_factory=lambda: dict.fromkeys(Place, 0.0))
    host_us: dict[Place, float] = field(default_factory=lambda: dict.fromkeys(Place, 0.0))
    graph_calls: int = 0

    @property
    def inside_pct(self) -> float | None:
        """Share of the time spent in compiled graphs and their backward; None where nothing ran."""
        us = self.device_us if any(self.device_us.values()) else self.host_us
        total = us[Place.GRAPH] + us[Place.OUTSIDE]
        return 100 * us[Place.GRAPH] / total if total else None


@dataclass
class Marks:
    """Puts marks around calls of the model and of its compiled graphs, and keeps the autograd nodes made in them.

    A range holds the sequence numbers of the nodes that were created in it.
    """

    model: list[range] = field(default_factory=list)
    graphs: list[range] = field(default_factory=list)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, graphs that are compiled will be marked whenever they are called."""
        with each_graph(lambda graph: self._around(graph, _GRAPH, self.graphs)):
            yield

    def count(self, step: Callable[[Callable[..., Any]], Any], f: Callable[..., Any]) -> Count:
        """Profile `step(f)`, with `f` in the model's place."""
        from torch.profiler import profile

        self.model.clear()
        self.graphs.clear()
        with profile() as profiler:
            step(self._around(f, _MODEL, self.model))
        return _Counter(self).whole(profiler.events())

    @staticmethod
    def _around(f: Graph, name: str, ranges: list[range]) -> Graph:
        import torch

        next_node: Callable[[], int] = torch.autograd._get_sequence_nr  # type: ignore[attr-defined]

        def marked(*args: Any, **kwargs: Any) -> Any:
            first = next_node()
            with torch.profiler.record_function(name):
                output = f(*args, **kwargs)
            ranges.append(range(first, next_node()))
            return output

        if hasattr(f, "around_step"):  # its part in the backward pass, see runner.backends
            marked.around_step = f.around_step  # type: ignore[attr-defined]
        return marked


@dataclass
class _Frame:
    """An event that others may nest in."""

    end: float
    place: Place
    is_operator: bool = False  # or in one
    is_timed: bool = False  # its time is counted, and with it that of all in it


class _Counter:
    """Walks a profile's events in the order of their starts, thread by thread."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._count = Count()

    def whole(self, events: Any) -> Count:
        from torch.autograd import DeviceType  # type: ignore[attr-defined]

        on_host = [event for event in events if event.device_type == DeviceType.CPU]
        on_host.sort(key=lambda event: (event.thread, event.time_range.start, -event.time_range.end))
        stack: list[_Frame] = []
        thread = None
        for event in on_host:
            if event.thread != thread:
                stack, thread = [], event.thread
            while stack and stack[-1].end <= event.time_range.start:
                stack.pop()
            stack.append(self._take(event, stack[-1] if stack else _Frame(0.0, Place.ELSEWHERE)))
        return self._count

    def _take(self, event: Any, around: _Frame) -> _Frame:
        """Count the event if it counts; returns what those in it see around them."""
        if event.is_user_annotation and event.name in {_MODEL, _GRAPH}:
            return self._enter(event, around)
        if event.name.startswith(_BACKWARD) and not around.is_operator:
            place = self._origin(event.sequence_nr, around.place)
            return self._timed(event, replace(around, place=place))
        is_operator = event.scope == _FUNCTION and "::" in event.name and not event.name.startswith(_NODES)
        if not is_operator or around.is_operator:
            return replace(around, end=event.time_range.end)
        self._count.operators[around.place] += 1
        return self._timed(event, replace(around, is_operator=True))

    def _enter(self, event: Any, around: _Frame) -> _Frame:
        if event.name == _MODEL:
            return replace(around, end=event.time_range.end, place=Place.OUTSIDE)
        self._count.graph_calls += around.place is Place.OUTSIDE
        return self._timed(event, replace(around, place=Place.GRAPH))

    def _origin(self, node: int, around: Place) -> Place:
        """Where the forward created the autograd node."""
        if around is Place.GRAPH or any(node in made for made in self._marks.graphs):
            return Place.GRAPH
        return Place.OUTSIDE if any(node in made for made in self._marks.model) else Place.ELSEWHERE

    def _timed(self, event: Any, frame: _Frame) -> _Frame:
        """The event's own frame, its time counted unless that of something around it is."""
        if not frame.is_timed:
            self._count.host_us[frame.place] += event.time_range.elapsed_us()
            self._count.device_us[frame.place] += event.device_time_total
        return replace(frame, end=event.time_range.end, is_timed=True)
