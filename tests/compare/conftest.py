"""Runs that no model was run for: real records and files, with made-up numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.speedup import Speedup
from runner.cells import Cell
from runner.compare.sides import Side, read_side
from runner.results.columns import header
from runner.results.files import RunFiles
from runner.results.run import RunRecord

CONFIG: dict[str, Any] = {
    "choices": {
        "suite": "demo",
        "experiment": "speedup",
        "backend": "inductor",
        "precision": "fp32",
        "mode": "inference",
    },
    "suite": {"_target_": "runner.loaders.demo.Demo"},
    "experiment": {"_target_": "experiments.speedup.Speedup", "cache": "cold"},
    "backend": {"_target_": "runner.backends.inductor.Inductor"},
    "device": {"type": "cpu"},
    "batch_size": 8,
    "measure": {"rel_ci": 0.02, "processes": 1, "max_time_s": 30.0, "retry_unconverged": 1},
    "seed": 0,
}
ENVIRONMENT: dict[str, Any] = {
    "torch": {"version": "2.13.0"},
    "host": "node1",
    "git": {"project": {"commit": "a" * 40, "dirty": False}},
}
OK: dict[str, Any] = {
    "status": "ok", "speedup": 1.5, "speedup_lo": 1.47, "speedup_hi": 1.53, "se_within": 0.01, "n_processes": 1,
    "converged": True, "threads": 2, "malloc": "no_trim", "accuracy": "pass", "graph_breaks": 0,
}
FAILED: dict[str, Any] = {"status": "run_error", "error": "forward says no", "accuracy": "fail_to_run"}


def write(
    folder: Path,
    models: Mapping[str, Mapping[str, Any] | None],
    config: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    started: str = "",
) -> Path:
    """A run with a row for each model, on top of OK if it says no status; None: the cell has no row."""
    config, environment = {**CONFIG, **(config or {})}, {**ENVIRONMENT, **(environment or {})}
    cells = {name: Cell({**config, "model": {"name": name}}) for name in models}
    record = RunRecord(
        "speedup",
        {cell.cell_id: cell.config for cell in cells.values()},
        header(Speedup.columns),
        tables=Speedup.tables,
        summary=Speedup.summary,
        environment=environment,
        env_id="e",
        started=started,
    )
    files = RunFiles(folder, record.write(folder))
    given = {
        name: values if "status" in values else {**OK, **values}
        for name, values in models.items()
        if values is not None
    }
    files.rows.append(*({**cells[name].row(), "device_name": "CPU", **values} for name, values in given.items()))
    return folder


class Maker:
    """Writes runs below one folder and reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    def run(self, models: Mapping[str, Mapping[str, Any] | None], **more: Any) -> Path:
        """A new run's folder."""
        self.number += 1
        return write(self.folder / f"run{self.number}", models, **more)

    def side(self, models: Mapping[str, Mapping[str, Any] | None], **more: Any) -> Side:
        """A new run, read."""
        return read_side(self.run(models, **more))

    @staticmethod
    def config(**nodes: Mapping[str, Any]) -> dict[str, Any]:
        """The usual configuration, with some nodes' keys replaced."""
        return {node: {**CONFIG[node], **values} for node, values in nodes.items()}

    @staticmethod
    def together(*sides: Side) -> Side:
        """Several sides as one."""
        return dataclasses.replace(sides[0], entries=tuple(entry for side in sides for entry in side.entries))


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    """Writes made-up runs."""
    return Maker(tmp_path)


@pytest.fixture
def failed() -> dict[str, Any]:
    """Values of a failed row."""
    return dict(FAILED)
