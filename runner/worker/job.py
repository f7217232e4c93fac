"""A job: what one child is asked to do, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.measure.tuning import Tuning
from runner.worker.limits import Limits


@dataclass(frozen=True)
class Job:
    """One attempt of one cell.

    `config` is the cell's config. `device` replaces its device node (type, index, cpus) where a lease chose the
    physical device; `env` is set before torch starts. `log` and `artifacts` are absolute paths.
    """

    cell_id: str
    config: Mapping[str, Any]
    log: Path
    artifacts: Path
    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    device: Mapping[str, Any] | None = None
    flags: tuple[str, ...] = ()  # words for the row that are known before it starts

    @property
    def placed(self) -> Mapping[str, Any]:
        """The device node that counts."""
        return self.config["device"] if self.device is None else self.device

    @property
    def compiles_for_cpu(self) -> bool:
        """Whether a backend may compile C++ kernels."""
        return bool(self.config.get("backend")) and self.placed["type"] == "cpu"

    @property
    def max_time_s(self) -> float:
        """The measuring budget that the default of `limits.measure_s` is computed from."""
        return float(self.config["measure"]["max_time_s"])

    def message(self, tuning: Tuning) -> dict[str, Any]:
        """The job as the child receives it, to run with these threads on these CPUs."""
        return {
            "cell_id": self.cell_id,
            "config": self.config,
            "device": self.placed,
            "options": self.options,
            "flags": self.flags,
            "artifacts": str(self.artifacts),
            "threads": tuning.threads,
            "cpus": tuning.cpus,
        }
