"""Whether two sides may be compared at all, and what of configuration and environment could explain a change."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.compare.join import Pair
from runner.compare.sides import Entry
from runner.report.labels import UNSET, flat

#: Columns in which the two rows of a cell must agree: another value is another question.
MUST_AGREE = ("device_name", "threads", "malloc")
#: Largest relative difference of the canaries of two machines that are as fast as each other.
CANARY_TOLERANCE = 0.05
#: Facts of the environment that are said elsewhere, or differ without meaning anything.
IGNORED = ("deciding.", "memory_bytes")
IGNORED_CONFIG = ("choices.", "model.")


@dataclass(frozen=True)
class Differences:
    """Sentences. `refused`: unlike is not compared unless asked for; `marked`: said at the top; the rest explains."""

    refused: tuple[str, ...]
    marked: tuple[str, ...]
    config: tuple[str, ...]
    environment: tuple[str, ...]


def differences(pairs: Sequence[Pair]) -> Differences:
    """What differs between the rows of the pairs that are on both sides."""
    both = [(pair.base, pair.new) for pair in pairs if pair.base and pair.new]
    refused = counted((_columns(old.row, new.row) for old, new in both), len(both))
    configured = [(old, new) for old, new in both if old.config and new.config]
    config = counted((_between(_config(old), _config(new)) for old, new in configured), len(both))
    # Of a thousand cells of one run, the environment is the same object.
    environments = {(id(o.environment), id(n.environment)): (o, n) for o, n in both if o.environment and n.environment}
    found = [_between(_environment(o), _environment(n)) for o, n in environments.values()]
    torch = [f"torch: {old} then, {new} now" for old, new in _torch_versions(environments.values())]
    return Differences(refused, (*torch, *_canary(both)), config, counted(found, len(found)))


def counted(found: Iterable[Iterable[tuple[str, str, str]]], of: int) -> tuple[str, ...]:
    """A sentence for each change; says in how many of the cells it is, unless in all."""
    times = Counter(change for changes in found for change in changes)
    return tuple(
        f"{key}: {old} then, {new} now" + (f" ({n} of {of})" if n < of else "") for (key, old, new), n in times.items()
    )


def _columns(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for key in MUST_AGREE:
        one, other = old.get(key), new.get(key)
        if one not in (None, "") and other not in (None, "") and one != other:
            yield key, str(one), str(other)


def _between(old: Mapping[str, str], new: Mapping[str, str]) -> list[tuple[str, str, str]]:
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [(key, old.get(key, UNSET), new.get(key, UNSET)) for key in keys]


def _config(entry: Entry) -> dict[str, str]:
    return {key: value for key, value in flat(entry.config).items() if not key.startswith(IGNORED_CONFIG)}


def _environment(entry: Entry) -> dict[str, str]:
    return {key: value for key, value in flat(entry.environment).items() if not key.startswith(IGNORED)}


def _torch_versions(pairs: Iterable[tuple[Entry, Entry]]) -> list[tuple[str, str]]:
    versions = [tuple(str((e.environment.get("torch") or {}).get("version")) for e in pair) for pair in pairs]
    return [(old, new) for old, new in dict.fromkeys(versions) if old != new]


def _canary(both: Sequence[tuple[Entry, Entry]]) -> list[str]:
    """The fixed product that every measurement starts with took another time: the machine was not the same."""
    times = [(old.row.get("canary_ms"), new.row.get("canary_ms")) for old, new in both]
    known = [(old, new) for old, new in times if old and new]
    if not known:
        return []
    old, new = (statistics.median(side) for side in zip(*known, strict=True))
    if abs(new / old - 1) <= CANARY_TOLERANCE:
        return []
    return [f"canary: {old:.3g} ms then, {new:.3g} ms now ({100 * (new / old - 1):+.0f} %): not equally fast machines"]
