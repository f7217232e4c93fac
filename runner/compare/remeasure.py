"""The second stage: cells that seem to have changed are measured again, on both sides, in fresh processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from runner import registry
from runner.compare.join import Pair
from runner.compare.judge import Comparison, Estimator, Finding, Verdict, judge
from runner.compare.places import Place, recorded_place, words_of
from runner.compare.sides import Entry, side_of
from runner.errors import UsageError
from runner.results.reader import read_run

PROCESSES = 3
#: Facts of a run that must be as they were for it to be the same side; the rest may differ.
SAME = ("torch", "git")
PlaceOf = Callable[[Entry], Place]


def second_stage(
    first: Comparison, directory: Path, estimator: Estimator, place_of: PlaceOf = recorded_place
) -> Comparison:
    """`first` with its candidates measured again and judged among themselves; results lie below `directory`.

    Candidates whose sides can't both be run again keep their first verdict. Raises places.Stopped.
    """
    again: list[tuple[Finding, Pair]] = []
    notes: list[str] = []
    for number, finding in enumerate(first.candidates, 1):
        print(f"[{number}/{len(first.candidates)}] measuring {finding.pair.either.name} again", file=sys.stderr)
        try:
            again.append((finding, _measured_again(finding.pair, directory / f"{number:03d}", number, place_of)))
        except UsageError as error:
            notes.append(f"not measured again: {error}")
    judged = judge([pair for _, pair in again], first.settings, estimator, first.metric)
    replaced = {id(old): new for (old, _), new in zip(again, judged.findings, strict=True)}
    findings = tuple(_confirmed(finding, replaced.get(id(finding))) for finding in first.findings)
    notes.insert(0, f"measured again in fresh processes: {len(again)} of {len(first.candidates)} candidates")
    return Comparison(findings, first.settings, judged.between_sd, first.metric, remeasured=True, notes=tuple(notes))


def _confirmed(first: Finding, second: Finding | None) -> Finding:
    """The second stage's finding where there is one. Without a candidate's, its first verdict stands."""
    if second is None:
        return first
    note = "measured again"
    if second.verdict not in (Verdict.REGRESSED, Verdict.IMPROVED):
        note += f"; {100 * (first.change or 0):+.1f} % at first"
    return Finding(
        second.pair, second.verdict, _joined(note, second.note), second.old, second.new, second.delta, second.p
    )


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _measured_again(pair: Pair, directory: Path, number: int, place_of: PlaceOf) -> Pair:
    """Both rows of a pair anew; which side goes first alternates from pair to pair."""
    assert pair.base
    assert pair.new
    sides = {"base": pair.base, "new": pair.new}
    places = {name: place_of(entry) for name, entry in sides.items()}
    for name in sorted(sides, reverse=number % 2 == 0):
        places[name].run(words_of(sides[name], _changes(sides[name])), directory / name)
    rows = {name: _row_of(directory / name, entry) for name, entry in sides.items()}
    return Pair(rows["base"], rows["new"], pair.distinct)


def _changes(entry: Entry) -> dict[str, str]:
    """Several processes, where the experiment can be asked for them."""
    experiment = registry.locate(entry.config["experiment"]["_target_"])
    return {} if getattr(experiment, "one_process", False) else {"measure.processes": str(PROCESSES)}


def _row_of(directory: Path, before: Entry) -> Entry:
    """The one row of a run, which must be the same program on the same torch as before."""
    found: Sequence[Entry] = side_of(directory, read_run(directory).runs).entries
    same = [entry for entry in found if entry.row.get("task") == before.row.get("task")]
    if len(same) != 1:
        raise UsageError(f"{before.name}: its recorded command measures {len(same)} cells and not one")
    for fact in SAME:
        then, now = before.environment.get(fact), same[0].environment.get(fact)
        if _comparable(then) != _comparable(now):
            raise UsageError(
                f"{before.name}: another {fact} than it was: {_comparable(then)} then, {_comparable(now)} now"
            )
    return same[0]


def _comparable(fact: object) -> object:
    """A version without what a later look may find different: whether a work tree has changes."""
    if isinstance(fact, dict):
        return {key: _comparable(value) for key, value in fact.items() if key != "dirty"}
    return fact
