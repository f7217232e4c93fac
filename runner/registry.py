"""Finds suites, backends, devices and experiments by name and builds them from their configuration.

The word that is typed is the module is the class: `experiment=graph_breaks` is `experiments/graph_breaks.py` with
`class GraphBreaks`. Other packages add theirs through entry points. Looking a name up imports nothing.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import importlib.util
import re
import typing
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner.errors import UsageError

#: Config group -> package that holds our own members; the entry-point group has the same name, `runner.experiments`
#: for the package `experiments`.
PACKAGES = {
    "suite": "runner.loaders",
    "backend": "runner.backends",
    "device": "runner.devices",
    "optimizer": "runner.optimizers",
    "parallel": "runner.parallel",
    "experiment": "experiments",
}


def target(group: str, name: str) -> str | None:
    """`module.Class` that a name stands for, or None when nothing of that name is registered."""
    module = f"{PACKAGES[group]}.{name}"
    if name.isidentifier() and not name.startswith("_") and importlib.util.find_spec(module):
        return f"{module}.{''.join(word.capitalize() for word in name.split('_'))}"
    plugin = _plugins(group).get(name)
    return f"{plugin.module}.{plugin.attr}" if plugin else None


def locate(path: str) -> type:
    """Import `module.Class`; refused before the import unless the module belongs to a registered package."""
    module, _, attribute = path.rpartition(".")
    allowed = _allowed_packages()
    if not any(module == package or module.startswith(package + ".") for package in allowed):
        raise UsageError(
            f"_target_ '{path}' is outside the registered packages ({', '.join(sorted(allowed))}); "
            "register its package through an entry point"
        )
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # a plug-in's module may raise anything; say which one
        raise UsageError(f"'{path}' can't be imported: {type(error).__name__}: {error}") from error
    if not dataclasses.is_dataclass(found) or not isinstance(found, type):
        raise UsageError(f"_target_ '{path}' is not a dataclass")
    return found


def schema(cls: type) -> type:
    """The dataclass `cls` with a `_target_` field: one declaration is both the schema and what runs."""
    hints = typing.get_type_hints(cls)
    fields = [(f.name, hints[f.name], _copy(f)) for f in dataclasses.fields(cls)]
    path = f"{cls.__module__}.{cls.__qualname__}"
    extra = ("_target_", str, dataclasses.field(default=path))
    return dataclasses.make_dataclass(cls.__name__, [*fields, extra])


def open_node(cls: Any) -> DictConfig:
    """A typed config node of `cls` that can be written to, also where the dataclass is frozen."""
    node = OmegaConf.structured(cls)
    OmegaConf.set_readonly(node, None)
    for key in node:
        if not OmegaConf.is_missing(node, key) and OmegaConf.get_type(node, key) is dict:
            OmegaConf.set_struct(node[key], False)  # its keys are not ours to declare
    return typing.cast("DictConfig", node)


def build_as(cls: type, node: Mapping[str, Any]) -> Any:
    """An instance of the dataclass `cls` from plain data; a wrong key or value is a UsageError."""
    try:
        merged = OmegaConf.merge(open_node(cls), dict(node))
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UsageError(str(error).splitlines()[0]) from error
    except ValueError as error:  # the dataclass' own __post_init__
        raise UsageError(str(error)) from error


def build(node: Mapping[str, Any]) -> Any:
    """The object that a node with `_target_` describes."""
    fields = {key: value for key, value in node.items() if key != "_target_"}
    return build_as(locate(node["_target_"]), fields)


#: A list of more names than this helps nobody.
MANY = 200


def unknown(what: str, given: str, allowed: Iterable[str]) -> str:
    """Sentence for a name that is not known: suggestions when there are near ones, else the first twenty."""
    allowed = sorted(set(allowed))
    near = difflib.get_close_matches(given, allowed, n=3, cutoff=0.6)
    near += [n for n in allowed if given and given in n and n not in near][: 3 - len(near)]
    if near:
        return f"No {what} named '{given}'. Did you mean: {', '.join(near)}?"
    if len(allowed) > MANY:
        return f"No {what} named '{given}', and none of the {len(allowed)} that there are is like it"
    more = f", ... ({len(allowed)} in all)" if len(allowed) > 20 else ""
    return f"No {what} named '{given}'. Known: {', '.join(allowed[:20])}{more}"


def _copy(field: dataclasses.Field[Any]) -> Any:
    return dataclasses.field(default=field.default, default_factory=field.default_factory)


@functools.cache
def _plugins(group: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"runner.{PACKAGES[group].removeprefix('runner.')}"):
        fault = _fault(entry, found)
        if fault:
            warnings.warn(f"plug-in {group}={entry.name} ignored: {fault}", stacklevel=2)
        else:
            found[entry.name] = entry
    return found


def _fault(entry: EntryPoint, found: Mapping[str, EntryPoint]) -> str:
    """Why an entry point can't be used, as far as can be said without importing it; empty when nothing is wrong."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*", entry.value, re.ASCII):
        return f"{entry.value!r} is not module:Class"
    before = found.get(entry.name)
    return f"{before.value} has that name, and so has {entry.value}" if before and before.value != entry.value else ""


def _allowed_packages() -> set[str]:
    plugins = (entry for group in PACKAGES for entry in _plugins(group).values())
    return {*PACKAGES.values(), *(entry.module.split(".")[0] for entry in plugins)}
