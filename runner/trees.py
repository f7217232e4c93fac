"""Nested values of any kind as flat dicts from path to leaf, which are easy to compare and to copy."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from runner.workload import children_of


@dataclass(frozen=True)
class Container:
    """Stands in a flat tree for a container: what it is and what it holds."""

    kind: str
    keys: tuple[str, ...]


class Flat(dict[str, Any]):
    """A tree as a dict from path to leaf; containers are entries too, so that equal dicts mean equal structure."""


def flatten(value: Any, name: str = "") -> Flat:
    """`value` as a flat tree below the path `name`.

    Lists, tuples and deques are one kind, all mappings another. An object of a type that defines no equality is
    looked into through its attributes (distributions, key-value caches, detection boxes).
    """
    if isinstance(value, Flat):
        return value
    flat = Flat()
    _flatten(value, name, flat, ())
    return flat


def _flatten(value: Any, name: str, flat: Flat, above: tuple[int, ...]) -> None:
    kind = _container_kind(value)
    if not kind or id(value) in above:
        flat[name] = value if not kind else Container("cycle", ())
        return
    children = list(_children(value))
    flat[name] = Container(kind, tuple(sorted(key for key, _ in children)))
    for key, child in children:
        _flatten(child, name + key, flat, (*above, id(value)))


def _container_kind(value: Any) -> str:
    """Name of the kind of container; empty for a leaf."""
    if isinstance(value, Mapping):
        return "mapping"
    if isinstance(value, (list, tuple, deque)):
        return "sequence"
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic, type)) or not hasattr(value, "__dict__"):
        return ""
    has_equality = any("__eq__" in vars(kind) for kind in type(value).__mro__[:-1])
    attributes = hasattr(type(value), "__dataclass_fields__") or not has_equality
    return type(value).__qualname__ if attributes and not callable(value) else ""


def _children(value: Any) -> Iterable[tuple[str, Any]]:
    found = children_of(list(value) if isinstance(value, deque) else value)
    return found or ([] if isinstance(value, (Mapping, list, tuple, deque)) else _attributes(value))


def _attributes(value: Any) -> Iterable[tuple[str, Any]]:
    return [(f".{key}", child) for key, child in vars(value).items()]
