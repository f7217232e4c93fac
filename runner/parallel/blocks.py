"""Which parts of a model are sharded as a unit: its own repeated blocks, or those that are large enough."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Wrap(str, Enum):
    """How the units are chosen."""

    blocks = "blocks"  # members of a list or sequence that has several of one class: layers of a transformer
    size = "size"  # by parallel.min_params
    none = "none"  # the whole model is one unit


def units(model: torch.nn.Module, wrap: Wrap, min_params: int) -> list[torch.nn.Module]:
    """The parts of `model`, none of them inside another, in order; the model itself isn't among them."""
    if wrap is Wrap.none:
        return []
    return _outermost(model, _blocks(model) if wrap is Wrap.blocks else _large(model, min_params))


def _blocks(model: torch.nn.Module) -> set[torch.nn.Module]:
    import torch

    found: set[torch.nn.Module] = set()
    for module in model.modules():
        if isinstance(module, (torch.nn.ModuleList, torch.nn.Sequential)):
            members = [child for child in module if _own_parameters(child)]
            repeated = {kind for kind, count in Counter(map(type, members)).items() if count > 1}
            found.update(child for child in members if type(child) in repeated)
    return found


def _large(model: torch.nn.Module, min_params: int) -> set[torch.nn.Module]:
    return {
        module
        for module in model.modules()
        if module is not model and sum(p.numel() for p in module.parameters()) >= min_params
    }


def _own_parameters(module: torch.nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _outermost(module: torch.nn.Module, chosen: set[torch.nn.Module]) -> list[torch.nn.Module]:
    """Those of `chosen` below `module`; containers without a forward are looked into."""
    import torch

    found: list[torch.nn.Module] = []
    for child in module.children():
        container = isinstance(child, (torch.nn.ModuleList, torch.nn.ModuleDict))
        found += [child] if child in chosen and not container else _outermost(child, chosen)
    return list(dict.fromkeys(found))
