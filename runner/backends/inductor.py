"""torch.compile with inductor: modes, options, and inductor's own configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.registry import unknown

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Inductor:
    """`options` go to torch.compile, `config` to torch._inductor.config; both are checked against torch's own keys.

    CUDA graphs are off unless `cudagraphs` or `mode` ask for them.
    """

    mode: str | None = None  # default, reduce-overhead, max-autotune, max-autotune-no-cudagraphs
    fullgraph: bool = False
    dynamic: bool | None = None  # what torch.compile is told; None lets it find out
    cudagraphs: bool | None = None  # None = as mode says
    options: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The model under torch.compile; inductor's configuration is set for the rest of this process."""
        import torch
        from torch._inductor import config

        for key, value in _flat(self.config):
            setattr(config, _known("backend.config", key, config), value)
        options = {_known("backend.options", key, config): value for key, value in self._options()}
        return torch.compile(
            workload.model,
            backend="inductor",
            fullgraph=self.fullgraph,
            dynamic=self.dynamic,
            options=options or None,
        )

    def _options(self) -> list[tuple[str, Any]]:
        """The mode's options and ours: torch.compile takes a mode or options, not both."""
        from torch._inductor import list_mode_options

        modes = list_mode_options()
        if self.mode is not None and self.mode not in {"default", *modes}:
            raise UsageError(f"backend.mode: {unknown('inductor mode', self.mode, ['default', *modes])}")
        options = dict(modes.get(self.mode or "default", {}))
        if self.cudagraphs is not None:
            options["triton.cudagraphs"] = self.cudagraphs
        return [*options.items(), *_flat(self.options)]


def _flat(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """`{"triton": {"cudagraphs": True}}`, which is how a dotted override arrives, as dotted keys."""
    pairs: list[tuple[str, Any]] = []
    for key, value in node.items():
        path = f"{prefix}{key}"
        pairs += _flat(value, f"{path}.") if isinstance(value, Mapping) else [(path, value)]
    return pairs


def _known(where: str, key: str, config: Any) -> str:
    known = [name for name in config.get_config_copy() if name.islower() and not name.startswith("_")]
    if key.replace("-", "_") not in known:
        raise UsageError(f"{where}: {unknown('inductor setting', key, known)}")
    return key.replace("-", "_")
