"""From a cell's device node to the device object of the child."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runner import registry

if TYPE_CHECKING:
    from runner.devices import Device

#: A type without a module of its own is one that torch may know.
GENERIC = "runner.devices.accelerator.Accelerator"


def build_device(node: Mapping[str, Any]) -> Device:
    """The device that `node` (type, index, cpus) names; raises Unsupported where it can't be used."""
    path = registry.target("device", node["type"]) or GENERIC
    device: Device = registry.build({**node, "_target_": path})
    device.check()
    return device
