"""The engine's parameters; the group `measure`. The presets in conf/measure/ differ from these defaults only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from runner.measure.tuning import parse_cpu_list


class Order(str, Enum):
    """Which side goes first within a pair."""

    random_pair = "random_pair"
    abba = "abba"
    abab = "abab"


class ClockKind(str, Enum):
    """What times a block: the wall clock around synchronised work, or device events."""

    wall = "wall"
    device = "device"


class Sync(str, Enum):
    """Synchronise once after a block of calls, or after every call."""

    block = "block"
    each = "each"


class Gc(str, Enum):
    """What Python's garbage collector does while measuring."""

    freeze = "freeze"
    inherit = "inherit"


class Malloc(str, Enum):
    """glibc's allocator: keep freed pages (no_trim), or as the user's process has it."""

    no_trim = "no_trim"
    inherit = "inherit"


@dataclass(frozen=True)
class Measure:
    """All fields as in the table of docs/measuring.md; times in seconds."""

    order: Order = Order.random_pair
    rel_ci: float = 0.02
    ci_level: float = 0.95
    min_pairs: int = 10
    max_pairs: int = 60
    look_growth: float = 1.2
    futility: float = 1.5
    futility_from: int = 20
    max_time_s: float = 30.0
    retry_unconverged: int = 1
    warmup_min_pairs: int = 3
    warmup_window: int = 5
    warmup_tol: float = 0.02
    warmup_max_pairs: int = 60
    warmup_max_s: float = 10.0
    block: int | None = None  # calls per block and side; None = chosen so that the clock is hidden
    clock: ClockKind | None = None  # None = as the experiment says
    sync: Sync = Sync.block
    l2_flush: bool | None = None  # None = as the experiment says
    gc: Gc = Gc.freeze
    threads: int | None = None  # None = physical cores in the affinity mask
    affinity: str = "inherit"  # or a CPU list such as 0-3,8
    malloc: Malloc = Malloc.no_trim
    processes: int = 1
    practical: float = 0.01
    samples_file: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError with field, value and bound."""
        for name, text, holds in _BOUNDS:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise ValueError(f"measure.{name} is {value}: it must be {text}")
        if self.max_pairs < self.min_pairs:
            raise ValueError(
                f"measure.max_pairs is {self.max_pairs}: it must be at least measure.min_pairs ({self.min_pairs})"
            )
        if self.affinity != "inherit":
            parse_cpu_list(self.affinity)


_BOUNDS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("rel_ci", "above 0 and below 1", lambda v: 0 < v < 1),
    ("ci_level", "above 0.5 and at most 0.999", lambda v: 0.5 < v <= 0.999),
    ("min_pairs", "at least 1", lambda v: v >= 1),
    # The interval needs n^2/2 numbers; more pairs than this tell nothing that a larger block would not.
    ("max_pairs", "at most 2000", lambda v: v <= 2000),
    ("look_growth", "above 1", lambda v: v > 1),
    ("futility", "above 0", lambda v: v > 0),
    ("futility_from", "at least 1", lambda v: v >= 1),
    ("max_time_s", "above 0", lambda v: v > 0),
    ("retry_unconverged", "at least 0", lambda v: v >= 0),
    ("warmup_min_pairs", "at least 0", lambda v: v >= 0),
    ("warmup_window", "at least 2", lambda v: v >= 2),
    ("warmup_tol", "above 0", lambda v: v > 0),
    ("warmup_max_pairs", "at least 0", lambda v: v >= 0),
    ("warmup_max_s", "at least 0", lambda v: v >= 0),
    ("block", "at least 1, or null", lambda v: v >= 1),
    ("threads", "at least 1, or null", lambda v: v >= 1),
    ("processes", "at least 1", lambda v: v >= 1),
    ("practical", "at least 0", lambda v: v >= 0),
)
