"""Refuses a model that can't fit before it is loaded: what its parameters need against free memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from runner import recorded, registry
from runner.errors import Unsupported
from runner.measure.cgroups import free_bytes

if TYPE_CHECKING:
    from runner.devices import Device

#: Bytes of a number in each dtype that parameters are kept in; models are built in float32.
ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def refuse_too_big(config: Mapping[str, Any], name: str, device: Device) -> None:
    """Raise `Unsupported`, with the figures, where the model of a cell needs more memory than there is.

    Only models whose parameters are known are looked at, and only what is certain counts: parameters, in training
    gradients and the optimizer's states too, no activations.
    """
    count = known_parameters(config, name)
    if count is None:
        return
    needed, words = need(count, config)
    places = {config["device"]["type"]: (needed, device.free_memory_bytes())}
    places.setdefault("cpu", (count * ITEM_BYTES["float32"], free_bytes()))
    for place, (size, free) in places.items():
        if free is not None and size > free:
            what = words if size == needed else "weights, which are made there"
            raise Unsupported(
                f"{name} does not fit: {count:.3g} parameters need {size / 1e9:.1f} GB ({what}), "
                f"{free / 1e9:.1f} GB are free on {place}"
            )


def known_parameters(config: Mapping[str, Any], name: str) -> int | None:
    """The recorded number, for a model in its suite's own size; else what its loader says, where it can tell."""
    if _as_recorded(config["suite"]):
        found = recorded.parameters(config["choices"].get("suite", "")).get(name)
        if found is not None:
            return found
    loader = registry.build(config["suite"])
    return loader.parameters(name) if hasattr(loader, "parameters") else None


def need(count: int, config: Mapping[str, Any]) -> tuple[int, str]:
    """Bytes that `count` parameters need at least in a cell, and what they are for."""
    precision = config.get("precision") or {}
    dtype = "float32" if precision.get("autocast") else precision.get("dtype", "float32")
    loading, item = count * ITEM_BYTES["float32"], ITEM_BYTES[dtype]
    if (config.get("mode") or {}).get("name") != "training":
        return max(loading, count * item), f"weights in {dtype if item > 4 else 'float32'}"
    optimizer = registry.build(config["optimizer"]) if config.get("optimizer") else None
    states = optimizer.states if optimizer else 0
    return max(loading, count * item * (2 + states)), f"weights, gradients and {states} optimizer states in {dtype}"


def _as_recorded(suite: Mapping[str, Any]) -> bool:
    """Whether a suite's fields, which may scale its models, are the defaults that parameters were counted with."""
    fields = getattr(registry.locate(suite["_target_"]), "resizing", ())
    default = OmegaConf.to_container(registry.open_node(registry.locate(suite["_target_"])), enum_to_str=True)
    assert isinstance(default, dict)
    return all(suite.get(key, default[key]) == default[key] for key in fields)
