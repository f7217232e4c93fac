"""Earlier speedups to put beside new ones: a run's or sweep's folder, or a CSV of ours or of dynamobench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.cells import Cell
from runner.compare.join import COLUMNS, Key, index, telling_keys, values
from runner.compare.sides import Entry, read_side
from runner.errors import UsageError
from runner.results.columns import Row

#: A cell does not know its run's tag.
TELLING = tuple(column for column in COLUMNS if column != "tag")


@dataclass(frozen=True)
class Baseline:
    """Earlier rows by subject, as far as they say it: `keys` are the columns of it that they have."""

    keys: Sequence[str]
    entries: Mapping[Key, Sequence[Entry]]

    @classmethod
    def read(cls, path: str) -> Baseline:
        """Raises UsageError where there is no speedup, or where two rows are of the same subject in all that is known.

        Rows of one subject are told apart as `compare` does: by backend, then by what differs in the configuration.
        """
        place = Path(path)
        try:
            side = read_side(place)
        except UsageError as error:
            raise UsageError(f"experiment.baseline={path}: {str(error).removeprefix(f'{place}: ')}") from error
        found: dict[Key, list[Entry]] = {}
        for entry in side.entries:
            if entry.ok and entry.row.get("speedup"):
                found.setdefault(values(entry, side.keys), []).append(entry)
        if not found:
            raise UsageError(f"experiment.baseline={path}: no row in it has a speedup")
        for entries in found.values():
            if telling_keys(entries, columns=TELLING) is None:
                raise UsageError(_alike(path, entries))
        return cls(side.keys, found)

    def columns(self, cell: Cell, row: Row) -> Row:
        """Columns baseline and speedup_vs_baseline of a cell's row; empty where the baseline has no such subject."""
        entry = self._partner(Entry({**cell.row(), **row}, cell.config))
        before, now = entry.row["speedup"] if entry else None, row.get("speedup")
        return {"baseline": before, "speedup_vs_baseline": now / before if before and now else None}

    def _partner(self, new: Entry) -> Entry | None:
        entries = self.entries.get(values(new, self.keys), ())
        keys = telling_keys(entries, columns=TELLING)
        assert keys is not None  # read() has seen to it
        ((key, _),) = index([new], keys).items()
        return index(entries, keys).get(key)


def _alike(path: str, entries: Sequence[Entry]) -> str:
    return (
        f"experiment.baseline={path}: {len(entries)} rows of {entries[0].name} that neither backend nor configuration "
        "tells apart: give a file or folder with one of them"
    )
