"""From the configuration to the list of cells, and the keys that identify a cell and a result.

A cell is one point of the product (suite, model, experiment, backend, device, precision, mode, batch size, ...).
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from runner.results.columns import Row, Status

#: What decides a result, hence what `cell_id` is made of. Not here: select, tag, limits, isolation, resume, plan,
#: strict, hydra and output paths.
CELL_KEYS = (
    "choices",
    "suite",
    "model",
    "policy",
    "experiment",
    "backend",
    "device",
    "precision",
    "mode",
    "optimizer",
    "dynamic",
    "parallel",
    "batch_size",
    "measure",
    "seed",
)
#: Groups whose chosen name is part of a cell and a column of its row.
CHOICES = ("suite", "experiment", "backend", "precision", "mode", "optimizer", "dynamic", "parallel")
#: What two results are joined on, as column names.
SUBJECT = ("suite", "name", "experiment", "dev", "precision", "mode", "batch_size", "task")


@dataclass(frozen=True)
class Cell:
    """One requested measurement.

    `config` is plain data: every key that decides the result, resolved (CELL_KEYS; keys without a value are left
    out, so that a new optional key leaves old identities alone). `planned` is the outcome of a cell that needs no
    child (status skipped or unsupported, with the reason), else None.
    """

    config: Mapping[str, Any]
    planned: Row | None = field(default=None, compare=False)

    @cached_property
    def cell_id(self) -> str:
        """12 hex digits of sha256 over the canonical JSON of `config`."""
        text = json.dumps(self.config, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """Model name, or what an experiment's `expand` put in its place (an operator)."""
        return str(self.config["model"]["name"])

    def with_field(self, node: str, **values: Any) -> Cell:
        """The same cell with other values in one of its nodes: `cell.with_field("experiment", task="vjp")`."""
        changed = {**self.config.get(node, {}), **values}
        return dataclasses.replace(self, config={**self.config, node: without_none(changed)})

    def skipped(self, reason: str, status: Status = Status.SKIPPED) -> Cell:
        """The same cell, final without a child."""
        return dataclasses.replace(self, planned={"status": status.value, "error": reason})

    def row(self) -> Row:
        """The columns that are known before anything ran."""
        choices = self.config["choices"]
        return {
            "dev": self.config["device"]["type"],
            "name": self.name,
            "batch_size": self.config.get("batch_size"),
            "cell_id": self.cell_id,
            **{group: choices.get(group) for group in CHOICES},
            "task": self.config["experiment"].get("task"),
            "policy": json.dumps(self.config["policy"]) if self.config.get("policy") else None,
        }


def subject(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What a row is about, whoever measured it; two runs are joined on this."""
    return tuple("" if row.get(key) is None else str(row[key]) for key in SUBJECT)


def without_none(value: Any) -> Any:
    """`value` without the keys that have no value, at every depth."""
    if isinstance(value, Mapping):
        return {key: without_none(child) for key, child in value.items() if child is not None}
    if isinstance(value, list):
        return [without_none(child) for child in value]
    return value


@dataclass(frozen=True)
class Selection:
    """Which models of the suite are asked for; `shard` is (i, n), 1-based."""

    model: str
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    no_skip: bool = False
    shard: tuple[int, int] = (1, 1)

    def models(self, listed: Sequence[str], known: Sequence[str]) -> list[str]:
        """Names in catalogue order. `all` and a bare `*` mean the listed ones, other patterns search all known."""
        if self.model in {"all", "*"}:
            chosen = list(listed)
        elif "*" in self.model or "?" in self.model:
            ordered = dict.fromkeys([*listed, *known])
            chosen = [name for name in ordered if fnmatch.fnmatchcase(name, self.model)]
        else:
            chosen = [self.model]
        return [name for name in chosen if self._included(name)]

    @property
    def words(self) -> str:
        """The selection as it is typed, without the model."""
        given = {"include": list(self.include), "exclude": list(self.exclude), "shard": "/".join(map(str, self.shard))}
        return " ".join(f"select.{key}={value}" for key, value in given.items() if value and value != "1/1")

    def _included(self, name: str) -> bool:
        wanted = not self.include or any(re.search(p, name, re.IGNORECASE) for p in self.include)
        return wanted and not any(re.search(p, name, re.IGNORECASE) for p in self.exclude)

    def part(self, cells: Iterable[Cell], job: int = 0) -> list[Cell]:
        """The shard's cells: every n-th of those that run; the ones that don't go with the first shard.

        The count begins at the number of the `job`, so that jobs of one cell each go to all shards of a sweep.
        """
        index, count = self.shard
        if count == 1:
            return list(cells)
        chosen, runnable = [], job
        for cell in cells:
            place = runnable % count if cell.planned is None else 0
            runnable += cell.planned is None
            if place == index - 1:
                chosen.append(cell)
        return chosen


def unique(cells: Iterable[Cell]) -> list[Cell]:
    """The cells without repetitions, in order."""
    return list({cell.cell_id: cell for cell in cells}.values())
