"""What an experiment's `run` is given, in this process, with nothing around it; and the toys as modules."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from runner import registry
from runner.cells import Cell
from runner.experiment import Experiment
from runner.results.columns import COMMON, Phase, Row
from runner.workload import LoadRequest, Mode, Policy, Precision, Workload

TOYS = Path(__file__).parent.parent / "fixtures" / "toys"


@dataclass
class NearbyDevice:
    """A CPU that tells its memory."""

    free: int | None = None

    def free_memory_bytes(self) -> int | None:
        """As configured."""
        return self.free


@dataclass
class NearbyContext:
    """Implements as much of runner.experiment.Context as a check needs."""

    cell: Cell
    backend: Any
    artifacts: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: NearbyDevice = field(default_factory=NearbyDevice)
    flags: list[str] = field(default_factory=list)
    tables: list[Row] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Kept."""
        self.phases.append(phase)
        yield

    def note_flags(self, *flags: str) -> None:
        """Kept."""
        self.flags += flags

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Kept."""
        self.tables += [{"table": name, **row} for row in rows]

    def artifact(self, name: str) -> Path:
        """In the test's folder."""
        self.artifacts.mkdir(parents=True, exist_ok=True)
        return self.artifacts / name


@dataclass
class Done:
    """What a run gave."""

    row: Row
    context: NearbyContext


PRECISIONS = {
    "fp32": Precision(),
    "bf16": Precision("bf16", "bfloat16"),
    "amp": Precision("amp_bf16", "bfloat16", autocast=True),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other would take most of the time of such small models."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The toys' module of known mistakes; their distribution is known meanwhile, whatever was looked up before."""
    monkeypatch.syspath_prepend(str(TOYS))
    registry._plugins.cache_clear()
    yield importlib.import_module("toys.wrong")
    registry._plugins.cache_clear()


@pytest.fixture
def perform(tmp_path: Path) -> Callable[..., Done]:
    """`perform(experiment, suite, model, backend, ...)` runs one cell here."""

    def run(
        experiment: Experiment,
        suite: Any,
        model: str,
        backend: Any,
        mode: str = "inference",
        precision: str = "fp32",
        batch_size: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Done:
        path = f"{type(suite).__module__}.{type(suite).__qualname__}"
        config = {"suite": {"_target_": path}, "model": {"name": model}, "mode": {"name": mode}}
        context = NearbyContext(Cell(config), backend, tmp_path / "artifacts" / "cell", options or {})
        request = LoadRequest(Mode(mode), batch_size, "cpu", 0, Policy())
        workload: Workload = suite.load(model, request).cast(PRECISIONS[precision])
        if mode == "training":
            workload.optimizer = torch.optim.SGD(workload.parameters().values(), lr=0.01)
        row: Row = {}
        for values in experiment.run(workload, context):  # type: ignore[arg-type]
            row |= values
        names = {column.name for column in (*COMMON, *experiment.columns)}
        assert set(row) <= names, set(row) - names
        return Done(row, context)

    return run

