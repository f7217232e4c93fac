"""Inductor's own settings as keys, checked against torch's, for every backend that lowers with inductor."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported, UsageError
from runner.registry import unknown

if TYPE_CHECKING:
    from runner.workload import Workload


#: Modes that need no asking: every torch from 2.11 on has them.
MODES = frozenset({None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"})


@dataclass
class InductorSettings:
    """`config` is set in torch._inductor.config; unknown names and wrong types are refused."""

    mode: str | None = None  # one of torch._inductor.list_mode_options()
    freezing: bool | None = None  # weights become constants of the program, folded and repacked; inference only
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def asks_torch(self) -> bool:
        """Whether only torch can judge the settings."""
        return bool(self.config) or self.mode not in MODES

    def validate(self) -> None:
        """Raise UsageError for a mode or a setting that inductor doesn't have."""
        mode_options(self.mode)
        settings("backend.config", self.config)

    def settings(self, workload: Workload) -> dict[str, Any]:
        """`config` and `freezing` by inductor's names. Raises UsageError, or Unsupported for freezing in training."""
        from runner.workload import Mode

        given = settings("backend.config", self.config)
        if self.freezing is None:
            return given
        if self.freezing and (workload.mode is Mode.training or workload.grad):
            raise Unsupported("backend.freezing makes constants of the weights, which can't be trained: drop it")
        return {**given, "freezing": self.freezing}

    def apply_inductor(self, workload: Workload) -> None:
        """Set them for the rest of this process."""
        from torch._inductor import config

        for name, value in self.settings(workload).items():
            setattr(config, name, value)


def mode_options(mode: str | None) -> dict[str, Any]:
    """What a mode of torch.compile sets in inductor."""
    from torch._inductor import list_mode_options

    modes = list_mode_options()
    if mode is not None and mode not in {"default", *modes}:
        raise UsageError(f"backend.mode: {unknown('inductor mode', mode, ['default', *modes])}")
    return dict(modes.get(mode or "default", {}))


def settings(where: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in `node`, nested or dotted, by inductor's names; `where` is the key that they were given under."""
    return dict(_checked(where, key, value) for key, value in _flat(node))


def _flat(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """`{"triton": {"cudagraphs": True}}`, which is how a dotted override arrives, as dotted keys."""
    pairs: list[tuple[str, Any]] = []
    for key, value in node.items():
        path = f"{prefix}{key}"
        pairs += _flat(value, f"{path}.") if isinstance(value, Mapping) else [(path, value)]
    return pairs


def _checked(where: str, key: str, value: Any) -> tuple[str, Any]:
    from torch._inductor import config

    known = [name for name in config.get_config_copy() if name.islower() and not name.startswith("_")]
    name = key.replace("-", "_")
    if name not in known:
        raise UsageError(f"{where}: {unknown('inductor setting', key, known)}")
    wanted = config.get_type(name)  # type: ignore[attr-defined]
    if wanted is float and type(value) is int:
        value = float(value)
    if typing.get_origin(wanted) is None and isinstance(wanted, type) and not isinstance(value, wanted):
        raise UsageError(f"{where}.{key}={value}: inductor wants {wanted.__name__}")
    return name, value
