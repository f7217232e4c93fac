"""The public surface as a snapshot: groups, options, keys with their defaults, columns of each experiment.

After a change that is meant: `UPDATE_SNAPSHOTS=1 python -m pytest tests/test_surface.py`, and a line in the changelog.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from runner import registry
from runner.catalog import SCHEMA_GROUPS
from runner.config import conf_dir, root_node
from runner.results.columns import COMMON, header

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = "UPDATE_SNAPSHOTS=1 python -m pytest tests/test_surface.py"


def options(group: str) -> list[str]:
    """Names of a group's configurations."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def fields(cls: Any) -> dict[str, Any]:
    """Keys of a schema with their defaults."""
    node = OmegaConf.to_container(registry.open_node(registry.schema(cls)), enum_to_str=True)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items() if key != "_target_"}


def described(group: str) -> dict[str, Any]:
    """Name -> its keys, for a group whose members are classes of ours."""
    found = {name: registry.target(group, name) for name in options(group)}
    return {name: fields(registry.locate(path)) for name, path in found.items() if path}


def groups() -> dict[str, Any]:
    """Group -> its configurations."""
    folders = [folder for folder in sorted(conf_dir().iterdir()) if folder.is_dir()]
    return {folder.name: options(folder.name) for folder in folders}


def keys() -> dict[str, Any]:
    """Root keys with their defaults, then those of every class that a group offers."""
    root = OmegaConf.to_container(root_node(), enum_to_str=True)
    return {"root": root, **{group: described(group) for group in SCHEMA_GROUPS}}


def columns() -> dict[str, Any]:
    """Headers of all files, in order, each column with type and unit."""

    def lines(found: Any) -> list[str]:
        return [f"{c.name}: {c.type.__name__}{f' [{c.unit}]' if c.unit else ''}" for c in found]

    result: dict[str, Any] = {"sweep": lines(COMMON)}
    for name in options("experiment"):
        path = registry.target("experiment", name)
        assert path is not None
        cls: Any = registry.locate(path)
        own = {"rows": lines(header(cls.columns)), "summary": list(cls.summary)}
        result[name] = own | {f"table {table}": lines(found) for table, found in cls.tables.items()}
    return result


@pytest.mark.parametrize("surface", [groups, keys, columns], ids=lambda function: function.__name__)
def test_the_surface_is_the_recorded_one(surface: Any) -> None:
    """What users type and what their scripts read changes on purpose only."""
    path = SNAPSHOTS / f"{surface.__name__}.yaml"
    now = yaml.safe_dump(surface(), sort_keys=False, width=110)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(now, encoding="utf-8")
    assert now == path.read_text(encoding="utf-8"), f"if the change is meant: {UPDATE}, and tell users in the changelog"
