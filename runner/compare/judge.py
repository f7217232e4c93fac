"""The verdict on every pair of rows, and what all of them come to."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from numpy.typing import NDArray

from runner.batch_sizes import LARGEST
from runner.compare.join import Pair
from runner.compare.sides import NO_ROW, Entry
from runner.measure.comparisons import (
    THRESHOLD,
    Between,
    Delta,
    Estimate,
    benjamini_hochberg,
    between_processes,
    change,
    delta_test,
    holm,
)
from runner.measure.statistics import GeometricMean, detectable, geometric_mean, z_of
from runner.report.terminal import kind_of, positive
from runner.results.text import finite

LEVEL = 0.95
ADJUST: dict[str, Callable[[Sequence[float]], NDArray[Any]]] = {"holm": holm, "bh": benjamini_hochberg}
#: Row -> estimate of what is compared, larger is better; None where the row has no such number.
Estimator = Callable[[Entry], "Estimate | None"]
#: Time of a row over that of another call, in pairs: what rows that have no speedup by design are compared by.
RATIO = "forward_ratio"


class Verdict(str, Enum):
    """What can be said of a pair, the most urgent first."""

    REGRESSED = "regressed"
    STATUS_CHANGED = "status changed"
    MISSING = "missing"
    IMPROVED = "improved"
    INCONCLUSIVE = "inconclusive"
    UNCHANGED = "unchanged"
    NEW = "new"


@dataclass(frozen=True)
class Settings:
    """`margin` is relative: 0.03. `adjust` is a key of ADJUST.

    `margin_alone` flags cells without an interval too, where the change is at least the margin.
    """

    margin: float = THRESHOLD
    adjust: str = "holm"
    margin_alone: bool = False


@dataclass(frozen=True)
class Finding:
    """The verdict on one pair. `delta.se` is nan where no interval is known; `p` is adjusted."""

    pair: Pair
    verdict: Verdict
    note: str = ""
    old: float | None = None
    new: float | None = None
    delta: Delta | None = None
    p: float = math.nan
    candidate: bool = False  # would be flagged if it were the only cell that is compared

    @property
    def change(self) -> float | None:
        """Relative change of the speed: -0.1 is 10 % slower than before."""
        return None if self.delta is None else math.expm1(self.delta.delta)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Interval of `change`, not adjusted for the number of cells; None where it isn't known."""
        if self.delta is None or math.isnan(self.delta.se):
            return None
        h = self.delta.half_width(LEVEL)
        return math.expm1(self.delta.delta - h), math.expm1(self.delta.delta + h)

    @property
    def mde(self) -> float | None:
        """Smallest relative change that this comparison finds with 80 % power."""
        if self.delta is None or math.isnan(self.delta.se):
            return None
        return detectable(self.delta.half_width(LEVEL) / z_of(LEVEL), LEVEL)


@dataclass(frozen=True)
class Comparison:
    """All findings; `between_sd` is the standard deviation between processes that most rows were taken to share."""

    findings: tuple[Finding, ...]
    settings: Settings
    between_sd: float
    metric: str = "speedup"
    remeasured: bool = False
    notes: tuple[str, ...] = field(default=())

    def count(self, verdict: Verdict) -> int:
        """How many findings have this verdict."""
        return sum(finding.verdict is verdict for finding in self.findings)

    @property
    def candidates(self) -> list[Finding]:
        """What a second stage measures again."""
        return [finding for finding in self.findings if finding.candidate]

    @property
    def without_interval(self) -> int:
        """How many pairs have two numbers, and no interval of their change."""
        return sum(f.delta is not None and math.isnan(f.delta.se) for f in self.findings)

    @property
    def exit_code(self) -> int:
        """3 with a regression, 1 where a cell's failure kept it from being judged, else 0."""
        return 3 if self.count(Verdict.REGRESSED) else int(any(map(untold, self.findings)))


@dataclass(frozen=True)
class Means:
    """Geometric means over the cells that are ok and converged in both, and why others are not in them."""

    old: float
    new: float
    change: GeometricMean | None
    left_out: Counter[str]


def judge(pairs: Sequence[Pair], settings: Settings, estimator: Estimator, metric: str = "speedup") -> Comparison:
    """A finding for every pair, in their order."""
    shared, each = between_processes([_known_between(pair) for pair in pairs])
    findings = [
        _compared(pair, estimator, between, settings, metric) or _apart(pair, settings, metric)
        for pair, between in zip(pairs, each, strict=True)
    ]
    tested = [i for i, finding in enumerate(findings) if finding.limits]
    deltas = [delta for i in tested if (delta := findings[i].delta)]
    adjusted = ADJUST[settings.adjust]([delta.p for delta in deltas])
    for i, delta, p in zip(tested, deltas, adjusted, strict=True):
        verdict = Verdict(change(delta, float(p), settings.margin))
        alone = change(delta, delta.p, settings.margin) in (Verdict.REGRESSED, Verdict.IMPROVED)
        findings[i] = dataclasses.replace(findings[i], verdict=verdict, p=float(p), candidate=alone)
    return Comparison(tuple(findings), settings, shared.sd, metric)


def _known_between(pair: Pair) -> list[tuple[float, int]]:
    """Standard deviation between processes and number of processes of the pair's rows that were measured in several."""
    rows = [entry.row for entry in (pair.base, pair.new) if entry and entry.ok]
    several = [row for row in rows if (row.get("n_processes") or 1) > 1 and finite(row.get("between_sd")) is not None]
    return [(row["between_sd"], row["n_processes"]) for row in several]


def speedup_of(entry: Entry) -> Estimate | None:
    """Speedup of an ok row, or 1 / RATIO where it has none; its error is nan where the row has no interval."""
    row = entry.row
    speedup = 1 / row[RATIO] if by_ratio(entry) else row.get("speedup")
    if not entry.ok or not positive(speedup):
        return None
    processes = row.get("n_processes") or 1
    within = row.get("se_within")
    return Estimate(math.log(speedup), within if positive(within) else math.nan, processes)


def by_ratio(entry: Entry) -> bool:
    """Whether the row has no speedup, but a ratio from pairs in its place."""
    return entry.row.get("speedup") is None and positive(entry.row.get(RATIO))


def _compared(pair: Pair, estimator: Estimator, between: Between, settings: Settings, metric: str) -> Finding | None:
    """A finding whose verdict is still to be adjusted; final where no interval is known. None: no two numbers."""
    old, new = (estimator(entry) if entry else None for entry in (pair.base, pair.new))
    ratios = {metric == "speedup" and by_ratio(entry) for entry in (pair.base, pair.new) if entry}
    if old is None or new is None or len(ratios) > 1:
        return None
    values = math.exp(old.log_speedup), math.exp(new.log_speedup)
    delta, note = delta_test(new, old, between), f"1 / {RATIO}" if ratios == {True} else ""
    if math.isfinite(delta.se):
        return Finding(pair, Verdict.INCONCLUSIVE, note, *values, delta)
    beyond = abs(delta.delta) >= math.log1p(settings.margin)
    verdict, why = Verdict.INCONCLUSIVE, "no interval"
    if beyond and settings.margin_alone:
        verdict, why = (Verdict.REGRESSED if delta.delta < 0 else Verdict.IMPROVED), "no interval: margin alone"
    return Finding(pair, verdict, "; ".join(filter(None, (note, why))), *values, delta, candidate=beyond)


def _apart(pair: Pair, settings: Settings, metric: str) -> Finding:
    """The finding where there are no two numbers to compare."""
    base, new = pair.base, pair.new
    if new is None or new.status == NO_ROW:
        return Finding(pair, Verdict.MISSING, f"{base.status} before" if base else NO_ROW)
    if base is None or base.status == NO_ROW:
        return Finding(pair, Verdict.NEW, "" if new.ok else f"{new.status}{_why(new)}")
    if base.status != new.status:
        return Finding(pair, Verdict.STATUS_CHANGED, f"{base.status} -> {new.status}{_why(new)}")
    if not base.ok:
        verdict = Verdict.INCONCLUSIVE if base.failed else Verdict.UNCHANGED
        return Finding(pair, verdict, f"{new.status} in both")
    if base.largest and new.largest:
        return _by_size(pair, base.largest, new.largest, settings)
    return _unmeasured(pair, base, new, metric)


def _by_size(pair: Pair, old: float, new: float, settings: Settings) -> Finding:
    """The finding on two batch sizes: they have no interval, and no noise that would ask for one."""
    verdict, change = Verdict.UNCHANGED, math.log(new / old)
    if abs(change) >= math.log1p(settings.margin):
        verdict = Verdict.REGRESSED if change < 0 else Verdict.IMPROVED
    return Finding(pair, verdict, f"{LARGEST} {old:.0f} -> {new:.0f}")


def _why(entry: Entry) -> str:
    return f": {entry.row['error']}" if entry.row.get("error") else ""


def _unmeasured(pair: Pair, base: Entry, new: Entry, metric: str) -> Finding:
    """Two ok rows without two numbers to judge by: wrong in a measurement, normal for a check."""
    if any("speedup" in entry.row for entry in (base, new)):
        values = (f"{entry.row.get('speedup')}" for entry in (base, new))
        said = {"speedup": f"speedup {' -> '.join(values)}", "latency": "no samples of three processes or more"}
        return Finding(pair, Verdict.INCONCLUSIVE, f"no {metric} to compare ({said.get(metric, 'no such column')})")
    words = [entry.row.get("accuracy") or "" for entry in (base, new)]
    if words[0] != words[1]:
        return Finding(pair, Verdict.STATUS_CHANGED, f"accuracy {words[0]} -> {words[1]}")
    if base.numbers == new.numbers:
        return Finding(pair, Verdict.UNCHANGED, "same outcome, same numbers")
    if base.only_checked and new.only_checked:
        return Finding(pair, Verdict.UNCHANGED, "same outcome; nothing was timed")
    name = new.row.get("experiment") or "of these rows"
    return Finding(pair, Verdict.INCONCLUSIVE, f"experiment {name} has no speedup: its numbers are not compared")


def untold(finding: Finding) -> bool:
    """Whether the new side was meant to have something to compare and has not."""
    new, base = finding.pair.new, finding.pair.base
    if new is None:
        return False
    return new.failed or (bool(base and base.ok) and finding.delta is None and finding.verdict is Verdict.INCONCLUSIVE)


def means(comparison: Comparison) -> Means | None:
    """Geometric means over what is ok and converged in both; None where nothing was timed on both sides.

    Where all of it is left out, `change` is None.
    """
    paired = [f for f in comparison.findings if f.pair.base and f.pair.new]
    reasons = [_unfit(f, comparison.metric) for f in paired]
    left_out = Counter(filter(None, reasons))
    fit = [f for f, reason in zip(paired, reasons, strict=True) if not reason]
    known = [f for f in fit if f.limits] or fit
    left_out += Counter({"without interval": len(fit) - len(known)})
    deltas = [f.delta for f in known if f.delta]
    if not any(f.delta for f in paired):
        return None
    if not deltas:
        return Means(math.nan, math.nan, None, left_out)
    old, new = ([math.log(value) for f in known if (value := getattr(f, side))] for side in ("old", "new"))
    change_of = geometric_mean([math.exp(d.delta) for d in deltas], [d.se for d in deltas], LEVEL)
    return Means(math.exp(sum(old) / len(old)), math.exp(sum(new) / len(new)), change_of, left_out)


def _unfit(finding: Finding, metric: str) -> str:
    """Why a pair is in no aggregate; empty when it is. A ratio to something else is no speedup."""
    if metric == "speedup" and finding.delta and by_ratio(finding.pair.either):
        return f"by {RATIO}"
    kinds = [kind_of(entry.row) for entry in (finding.pair.base, finding.pair.new) if entry]
    worst = next((kind for kind in ("wrong", "failed", "unconverged", "unsupported", "skipped") if kind in kinds), "")
    return worst or ("" if finding.delta else "not measured")
