"""Times forward and backward, each by itself and beside those of a reference model."""

from __future__ import annotations

import traceback
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runner import registry
from runner.cells import Cell
from runner.errors import UsageError
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.measure import statistics
from runner.results.columns import Column, Phase, Row, Status
from runner.timing import Timer, wall_s

if TYPE_CHECKING:
    from runner.measure.engine import Measurement
    from runner.passes import Passes
    from runner.workload import Workload

#: Calls before anything is judged: TorchScript's executor specialises in the second and compiles in the third.
SETTLING_STEPS = 3
#: A model whose first step takes longer is called once only before the warm-up.
SLOW_STEP_S = 5.0
#: Absolute and relative, as upstream's.
TOLERANCE = 1e-3
MS = 1e3


def _columns(key: str, word: str) -> tuple[Column, ...]:
    """The columns of one direction that aren't headline."""
    return (
        Column(f"median_{key}", float, "ms", f"median time of a {word}"),
        Column(f"median_{key}_lo", float, "ms", f"lower end of the interval of median_{key}; empty with too few pairs"),
        Column(f"median_{key}_hi", float, "ms", f"upper end of the interval of median_{key}; empty with too few pairs"),
        Column(f"ratio_{key}", float, "", f"time of a {word} over that of the model in ratio_to; below 1 is faster"),
        Column(f"ratio_{key}_lo", float, "", f"lower end of the interval of ratio_{key}; empty with too few pairs"),
        Column(f"ratio_{key}_hi", float, "", f"upper end of the interval of ratio_{key}; empty with too few pairs"),
        Column(f"pairs_{key}", int, "", f"pairs of a {word} of either model that were measured"),
        Column(f"stop_{key}", str, "", "why measuring ended: target, futile, budget, max_pairs"),
    )


@dataclass
class ForwardBackward(Experiment):
    """Forward and backward in pairs with the reference model's, in one process; gradients are dropped in between."""

    columns = (
        Column("avg_fwd", float, "ms", "mean time of a forward", headline=True),
        Column("std_fwd", float, "ms", "standard deviation of the times of a forward", headline=True),
        Column("avg_bwd", float, "ms", "mean time of a backward; empty where there is none", headline=True),
        Column("std_bwd", float, "ms", "standard deviation of the times of a backward", headline=True),
        Column("family", str, "", "what the suite's models of this kind have in common: lstm, resnet, ..."),
        Column("ratio_to", str, "", "model that the ratios are related to"),
        *_columns("fwd", "forward"),
        *_columns("bwd", "backward"),
        Column("first_step_s", float, "s", "first forward and backward, with whatever they compile"),
        Column("converged", bool, "", "are the intervals of both ratios as narrow as measure.rel_ci asks?"),
        Column("noisy", bool, "", "did something around a measurement exceed its limit? The flags say what"),
        Column("ci_level", float, "", "confidence level of the intervals"),
        Column("clock", str, "", "wall (synchronised before and after a call) or device (events)"),
        Column("threads", int, "", "threads that the measured code computes with"),
        Column("affinity", str, "", "CPUs the process was pinned to, or inherit"),
        Column("malloc", str, "", "the allocator while measuring"),
    )
    one_process = True
    summary = ("avg_fwd", "ratio_fwd", "avg_bwd", "ratio_bwd", "ratio_to", "accuracy")

    reference: str | None = None  # model of the suite to relate times to; null: the suite's own choice

    def __post_init__(self) -> None:
        self._others: dict[str, Passes | None] = {}

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell, with its mode in the row."""
        if cell.config["mode"]["name"] != "training":
            raise UsageError(f"mode.name={cell.config['mode']['name']}: forward_backward trains, leave it out")
        known = registry.build(cell.config["suite"]).names()
        if self.reference is not None and self.reference not in known:
            raise UsageError(f"experiment.reference: {registry.unknown('model of the suite', self.reference, known)}")
        return (cell.with_field("choices", mode="training"),)

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """A child, and another at the end of the run if the ratios are not known well enough."""
        row = (yield Attempt(cell)).row
        for _ in range(cell.config["measure"]["retry_unconverged"]):
            if row["status"] != Status.OK or row.get("converged") is not False or "budget" in _stops(row):
                break
            again = yield Attempt(cell, deferred=True, pending=row)
            row = again.row if again.status is Status.OK else row
            row["flags"] = ";".join(filter(None, [row.get("flags"), "retried"]))
        return row

    def run(self, workload: Workload | None, context: Context) -> Iterable[Row]:
        """First steps, agreement with the model that computes the same, then forwards and backwards in pairs."""
        assert workload is not None
        own, first_step_s = self._own(workload, context)
        family = workload.family
        yield {"first_step_s": first_step_s, "family": family.name if family else None}
        yield from self._check(own, context)
        reference = self.reference or (family.reference if family else None)
        if own.f is not workload.model:
            reference = reference or workload.name
        same = reference is None or (reference == workload.name and own.f is workload.model)
        other = own if same else self._other(str(reference), context)
        yield from self._time(own, other or own, reference if other else None, context)

    def _own(self, workload: Workload, context: Context) -> tuple[Passes, float]:
        from runner.passes import Passes

        assert context.backend is not None
        with context.phase(_first_phase(workload)):
            own = Passes(workload, workload.model)
            seconds = _settle(own, context)
        with context.phase(Phase.COMPILE):
            candidate = context.backend.prepare(workload)
            if candidate is not workload.model:
                own = Passes(workload, candidate)
                seconds = _settle(own, context)
        context.note_flags(*["unused_parameters"] * bool(own.unused), *["forward_only"] * (not own.has_backward))
        return own, seconds

    def _other(self, name: str, context: Context) -> Passes | None:
        """Another model of the suite, ready; None, with a flag, if it fails: it has a row of its own."""
        if name not in self._others:
            try:
                self._others[name] = self._load(name, context)
            except Exception:  # noqa: BLE001 - whatever another model raises is no failure of this one
                traceback.print_exc()
                context.note_flags("reference_failed")
                self._others[name] = None
        return self._others[name]

    def _load(self, name: str, context: Context) -> Passes:
        from runner.passes import Passes

        workload = context.load(name)
        with context.phase(_first_phase(workload)):
            other = Passes(workload, workload.model)
            _settle(other, context)
        return other

    def _check(self, own: Passes, context: Context) -> Iterator[Row]:
        """Against the model that computes the same; without one, a backend's output against eager."""
        from runner.check import CheckSettings, check
        from runner.passes import agree

        workload = own.workload
        equal_to = workload.family.equal_to if workload.family else None
        other = self._other(equal_to, context) if equal_to else None
        with context.phase(Phase.CHECK):
            if other is not None:
                tolerance = TOLERANCE if workload.policy.tolerance is None else workload.policy.tolerance
                yield agree(own, other, context.seed, tolerance).row()
            elif own.f is not workload.model:
                settings = CheckSettings(seed=context.seed, free_bytes=context.device.free_memory_bytes())
                found = check(workload, own.f, settings, context.phase(Phase.COMPILE))
                context.note_flags(*found.flags)
                yield found.row()

    def _time(self, own: Passes, other: Passes, reference: str | None, context: Context) -> Iterator[Row]:
        from runner.measure.engine import Side

        with context.phase(Phase.WARMUP):
            timer = Timer(context)
        process = {key: timer.process_row()[key] for key in ("threads", "affinity", "malloc")}
        yield {"ratio_to": reference, "ci_level": context.measure.ci_level, **process}
        # A reset before every call keeps the last call's graph from being freed within the clock.
        sides = {"fwd": (Side(other.forward, other.reset), Side(own.forward, own.reset))}
        if own.has_backward:
            rival = other if other.has_backward else own
            sides["bwd"] = (Side(rival.backward, rival.prepare_backward), Side(own.backward, own.prepare_backward))
        found: list[Row] = []
        with context.phase(Phase.MEASURE):
            for key, (a, b) in sides.items():
                measured = timer.compare(a, b, name=f"{context.cell.name}/{key}")
                related = reference is not None and (key == "fwd" or other.has_backward)
                found.append(measured.row())
                yield _figures(key, measured, related)
                yield {
                    "converged": all(row["converged"] for row in found),
                    "noisy": any(row["noisy"] for row in found),
                    "clock": measured.row()["clock"],
                }
                context.note_flags(*measured.flags)
                if context.measure.samples_file:
                    arrays: dict[str, Any] = measured.samples()
                    context.samples({f"{key}_{name}": values for name, values in arrays.items()})


def _first_phase(workload: Workload) -> Phase:
    return Phase.COMPILE if workload.compiles else Phase.EAGER


def _settle(passes: Passes, context: Context) -> float:
    """Do both passes until what compiles has compiled; returns the seconds of the first time."""
    first = last = 0.0
    for step in range(SETTLING_STEPS):
        last = wall_s(passes.try_out, context)
        first = first or last
        if step == 0 and last > SLOW_STEP_S:
            break
    context.expect_call(2 * last)  # each of the two measurements needs a forward, one of them a backward as well
    return first


def _figures(key: str, measured: Measurement, related: bool) -> Row:
    """The columns of one direction; those of the ratio only if there is something to relate to."""
    times_ms, row = measured.samples()["tB"] * MS, measured.row()
    median = statistics.median_interval(times_ms, row["ci_level"])
    figures: Row = {
        f"avg_{key}": float(times_ms.mean()),
        f"std_{key}": float(times_ms.std(ddof=1)) if len(times_ms) > 1 else None,
        f"median_{key}": median.center,
        f"median_{key}_lo": _known(median.lo),
        f"median_{key}_hi": _known(median.hi),
        f"pairs_{key}": row["n_pairs"],
        f"stop_{key}": row["stop"],
    }
    if related:
        figures[f"ratio_{key}"] = 1 / row["speedup"]
        figures[f"ratio_{key}_lo"] = 1 / row["speedup_hi"] if row["speedup_hi"] else None
        figures[f"ratio_{key}_hi"] = 1 / row["speedup_lo"] if row["speedup_lo"] else None
    return figures


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _stops(row: Row) -> set[str]:
    return {row.get(f"stop_{key}") or "" for key in ("fwd", "bwd")}
