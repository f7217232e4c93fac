"""What tells rows of one name apart where no column of every table does: batch size, then keys of the configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runner.results.columns import Row

UNSET = "unset"
#: Nodes of a cell's configuration whose keys are said by columns, or are the same for all cells of one name.
ELSEWHERE = ("choices.", "model.")


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Leaves of nested plain data by their dotted path, each as text."""
    found: dict[str, str] = {}
    for key, value in node.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{path}.")
        else:
            found[path] = value if isinstance(value, str) else json.dumps(value)
    return found


def tells_apart(rows: Sequence[Row], key: str) -> bool:
    """Whether rows of one name differ in this column."""
    return len({(row.get("name"), row.get(key)) for row in rows}) > len({row.get("name") for row in rows})


def labelled(
    rows: Sequence[Row], configs: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> tuple[list[Row], list[str]]:
    """The rows with the settings that tell those apart which `keys` don't, and the names of these settings.

    `configs` are the rows' cells, empty where unknown. No more settings are taken than tell the most rows apart.
    """
    places = [(row.get("name"), *(row.get(key) for key in keys)) for row in rows]
    if len(set(places)) == len(rows):
        return list(rows), []
    facts = [settings(row, config) for row, config in zip(rows, configs, strict=True)]
    found: list[str] = []
    for key in dict.fromkeys(["batch_size", *(key for fact in facts for key in fact)]):
        finer = [(*place, fact.get(key, UNSET)) for place, fact in zip(places, facts, strict=True)]
        if len(set(finer)) > len(set(places)):
            places, found = finer, [*found, key]
    dotted = [key for key in found if "." in key]
    return [{**row, **{k: fact.get(k, UNSET) for k in dotted}} for row, fact in zip(rows, facts, strict=True)], found


def settings(row: Row, config: Mapping[str, Any]) -> dict[str, str]:
    """The configuration by dotted key as far as no column says it; of a row without one its batch size.

    That is the one key without a dot, a column of every row: the root's `seed` is another one than the column of timed
    rows, and is `config.seed` here.
    """
    if not config:
        return {"batch_size": str(row.get("batch_size") or "")}
    found = {key: value for key, value in flat(config).items() if not key.startswith(ELSEWHERE)}
    return {key if "." in key or key == "batch_size" else f"config.{key}": value for key, value in found.items()}
