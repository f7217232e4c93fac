"""Which row of one side belongs to which of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from runner.cells import SUBJECT
from runner.compare.sides import Entry, Side
from runner.errors import UsageError
from runner.report.labels import UNSET, flat

Key = tuple[str, ...]
Group = tuple[list[Entry], list[Entry]]
#: Columns that may tell rows of one subject apart, beside the configuration itself.
COLUMNS = ("dynamic", "optimizer", "parallel", "policy", "tag")
#: The one key that a cell may lack: where none is asked for, only the loaded model says it.
SIZE = "batch_size"
FEW = 3


@dataclass(frozen=True)
class Pair:
    """The two rows of one subject. `distinct` are the further keys that were needed to tell it from others."""

    base: Entry | None
    new: Entry | None
    distinct: Mapping[str, str]

    @property
    def either(self) -> Entry:
        """A row to take the subject from: one that says the batch size, where there is one."""
        entries = [entry for entry in (self.base, self.new) if entry]
        return next((entry for entry in entries if any(values(entry, [SIZE]))), entries[0])


def join(base: Side, new: Side) -> list[Pair]:
    """Pairs in the order of `base`, then those of `new` alone.

    Raises UsageError where two rows of a side can't be told apart, or the sides have nothing in common.
    """
    keys = tuple(key for key in SUBJECT if key in base.keys and key in new.keys)
    groups: dict[Key, Group] = {}
    for place, side in enumerate((base, new)):
        for entry in side.entries:
            groups.setdefault(values(entry, keys), ([], []))[place].append(entry)
    if SIZE in keys:
        _gather(groups, keys.index(SIZE))
    pairs = [pair for group in groups.values() for pair in _pairs(*group)]
    if not any(pair.base and pair.new for pair in pairs):
        raise UsageError(f"{base.path} and {new.path} have nothing in common: {_apart(base, new, keys)}")
    return pairs


def values(entry: Entry, keys: Iterable[str]) -> Key:
    """What the entry's row says of these columns, as text; "" where it says nothing, or where that is its result."""
    row = {**entry.row, "batch_size": None} if entry.seeks_batch_size else entry.row
    return tuple("" if row.get(key) is None else str(row[key]) for key in keys)


def _gather(groups: dict[Key, Group], place: int) -> None:
    """Put entries whose model was never loaded, hence without a batch size, to those that are equal in the rest.

    Only where that pairs as many entries, and no two sizes. A size that was asked for stands in every row. The size
    has this `place` in a key.
    """
    alike: dict[Key, list[Key]] = {}
    for key, group in groups.items():
        if any(entry.config.get(SIZE) is None for entry in chain(*group)):
            alike.setdefault((*key[:place], *key[place + 1 :]), []).append(key)
    for found in alike.values():
        lacking = len(found) > 1 and any(not key[place] for key in found)
        whole = _whole([groups[key] for key in found]) if lacking else None
        if whole:
            groups[found[0]] = whole
            for key in found[1:]:
                del groups[key]


def _whole(parts: Sequence[Group]) -> Group | None:
    """The groups as one, or None where they must stay apart."""
    olds, news = ([entry for part in parts for entry in part[side]] for side in (0, 1))
    if telling_keys(olds, news) is None:
        return None
    sizes, before = _sizes_paired(olds, news), [size for part in parts for size in _sizes_paired(*part)]
    fit = len(sizes) >= len(before) and all(one == other or not (one and other) for one, other in sizes)
    return (olds, news) if fit else None


def _sizes_paired(olds: list[Entry], news: list[Entry]) -> list[Key]:
    """Batch sizes of both entries of each pair that has both."""
    pairs = (pair for pair in _pairs(olds, news) if pair.base and pair.new)
    return [tuple(values(entry, [SIZE])[0] for entry in (pair.base, pair.new) if entry) for pair in pairs]


def _pairs(olds: list[Entry], news: list[Entry]) -> list[Pair]:
    """The pairs of one subject."""
    keys = telling_keys(olds, news)
    if keys is not None:
        old, new = (index(entries, keys) for entries in (olds, news))
        return [Pair(old.get(key), new.get(key), _named(keys, key)) for key in {**old, **new}]
    twice = (olds if len(olds) > 1 else news)[0]
    raise UsageError(
        f"{twice.name} occurs several times on one side with the same configuration: "
        "compare single runs, or give the runs a tag= that tells them apart"
    )


def telling_keys(*sides: Sequence[Entry], columns: Sequence[str] = COLUMNS) -> Key | None:
    """What tells the entries of one subject apart; None where nothing does.

    Nothing more where it occurs once a side, else the backend, else also what differs of `columns` and configuration.
    """
    for keys in ((), ("backend",), ("backend", *_differing(sides, columns))):
        if all(len(index(entries, keys)) == len(entries) for entries in sides):
            return keys
    return None


def index(entries: Iterable[Entry], keys: Sequence[str]) -> dict[Key, Entry]:
    """The entries by their values of `keys`: columns, or dotted keys of the configuration."""
    return {tuple(_value(entry, key) for key in keys): entry for entry in entries}


def _value(entry: Entry, key: str) -> str:
    if key in entry.row or "." not in key:
        return str(entry.row.get(key) or UNSET)
    return flat(entry.config).get(key, UNSET)


def _named(keys: Sequence[str], found: Key) -> dict[str, str]:
    return {key: value for key, value in zip(keys, found, strict=True) if value != UNSET}


def _differing(sides: Iterable[Sequence[Entry]], columns: Sequence[str]) -> list[str]:
    """Columns and dotted keys of the configuration in which the rows of one side differ."""
    found: dict[str, None] = {}
    for entries in sides:
        facts = [flat(entry.config) for entry in entries]
        paths = [path for fact in facts for path in fact if not path.startswith("choices.")]
        readers: list[tuple[Iterable[str], Callable[[int, str], str]]] = [
            (columns, lambda i, key, e=entries: _value(e[i], key)),  # type: ignore[misc]
            (paths, lambda i, key, f=facts: f[i].get(key, UNSET)),  # type: ignore[misc]
        ]
        for keys, read in readers:
            found |= {key: None for key in keys if len({read(i, key) for i in range(len(entries))}) > 1}
    return list(found)


def _apart(base: Side, new: Side, keys: Sequence[str]) -> str:
    """In which key two sides differ altogether."""
    for key in keys:
        one, other = ({value for entry in side.entries for value in values(entry, [key])} for side in (base, new))
        if not one & other:
            return f"{key} is {_few(one)} there and {_few(other)} here"
    return "no combination of " + ", ".join(keys) + " occurs on both sides"


def _few(values: set[str]) -> str:
    shown = sorted(value or UNSET for value in values)
    return ", ".join(shown[:FEW]) + (f", ... ({len(shown)})" if len(shown) > FEW else "")
