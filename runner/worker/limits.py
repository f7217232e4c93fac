"""Limits of a cell (the group `limits`) and the clock that says which one is hit first."""

from __future__ import annotations

from dataclasses import dataclass

from runner.results.columns import Phase

#: Seconds that a later child of a cell is given at least, when the earlier ones used up limits.cell_s.
MIN_CELL_S = 1.0
#: Field of Limits that bounds the time spent in a phase; a limit bounds the sum over its phases and all their visits.
LIMIT_OF = {
    Phase.LOAD: "load_s",
    Phase.EAGER: "eager_s",
    Phase.COMPILE: "compile_s",
    Phase.CHECK: "check_s",
    Phase.MEMORY: "measure_s",
    Phase.WARMUP: "measure_s",
    Phase.MEASURE: "measure_s",
}


@dataclass(frozen=True)
class Limits:
    """Seconds that a cell may spend in its phases, and bytes of its log that are kept.

    `measure_s` covers the phases memory, warmup and measure. None: 60 s, 3 x `measure.max_time_s`, and ten calls of
    each side as first timed.
    """

    load_s: float = 300.0
    eager_s: float = 300.0
    compile_s: float = 900.0
    check_s: float = 300.0
    measure_s: float | None = None
    cell_s: float = 1800.0
    log_bytes: int = 10_000_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"limits.{name}={value}: give a number above 0")

    @property
    def spent_s(self) -> float:
        """Seconds of `cell_s` that are gone before the job starts."""
        return 0.0

    def after(self, seconds: float) -> Limits:
        """The limits of a cell's next child, when the earlier ones took `seconds`: `cell_s` bounds all together."""
        return Rest(**vars(self), earlier_s=seconds) if seconds else self


@dataclass(frozen=True)
class Rest(Limits):
    """Limits of a later child of a cell; they say `cell_s` as it was set, since errors name it."""

    earlier_s: float = 0.0

    @property
    def spent_s(self) -> float:
        """What the earlier children took, as far as it leaves this one MIN_CELL_S."""
        return min(self.earlier_s, self.cell_s - MIN_CELL_S)


class Deadlines:
    """Adds up the time one job spends in its phases and says when which limit is reached.

    Times are readings of one clock, in seconds. `max_time_s` is the cell's `measure.max_time_s`.
    """

    def __init__(self, limits: Limits, max_time_s: float, now: float) -> None:
        self._limits = limits
        self._measure_s = 60.0 + 3.0 * max_time_s
        self._spent: dict[str, float] = {}
        self._to_come_s = 0.0
        self.phase: Phase | None = None
        self.hopeless = ""  # why the cell can't end in time, once that is certain
        self.start(now)

    def start(self, now: float) -> None:
        """The job starts at `now`, not before: what it waited for its process is not its own time."""
        self._started = self._entered = now

    def enter(self, phase: Phase | None, now: float) -> None:
        """The job is in `phase` from now on; None between phases."""
        if self.phase is not None:
            name = LIMIT_OF[self.phase]
            self._spent[name] = self._spent.get(name, 0.0) + now - self._entered
        self.phase, self._entered = phase, now

    def expect_call(self, seconds: float, more: int, now: float) -> None:
        """One call of one side took `seconds`: grant ten of them to the default of `measure_s`.

        At least `more` such calls are to come: notes in `hopeless` when they can't end within `cell_s`.
        """
        self._measure_s += 10.0 * seconds
        self._to_come_s += more * seconds
        spent_s, cell_s = self._limits.spent_s + now - self._started, self._limits.cell_s
        if more and spent_s + self._to_come_s > cell_s:
            self.hopeless = (
                f"limits.cell_s={cell_s:g} is too short: after {spent_s:.0f} s, at least {self._to_come_s:.0f} s of "
                f"calls are left, one of which took {seconds:.3g} s; raise it, or lower batch_size"
            )

    def next(self) -> tuple[float, str]:
        """When the next limit is reached, and its name."""
        cell = (self._started + self._limits.cell_s - self._limits.spent_s, "cell_s")
        if self.phase is None:
            return cell
        name = LIMIT_OF[self.phase]
        return min(cell, (self._entered + self.allowed(name) - self._spent.get(name, 0.0), name))

    def allowed(self, name: str) -> float:
        """Seconds that the limit `name` grants this job; `cell_s` also those that earlier children took."""
        value = getattr(self._limits, name)
        return self._measure_s if value is None else float(value)
