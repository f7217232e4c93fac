"""Fixtures for backends: their rows from outside, and one of them in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from runner import registry
from runner.results.reader import read_run
from runner.workload import Mode, Workload

NETS = Path(__file__).parent.parent / "fixtures" / "backend_nets.py"
#: All jobs in one process: starting one for each takes most of the time.
WORDS = ("--multirun", "isolation=none", "suite=module", f"suite.path={NETS}", "measure.threads=1")
Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def rows_of(start: Any) -> Callable[..., Rows]:
    """`rows_of(folder, *args)`: rows of a sweep by the column backend."""

    def run(folder: Path, *args: str) -> Rows:
        done = start(folder, *WORDS, *args, "hydra.sweep.dir=out")
        assert done.returncode in (0, 1), done.stderr
        return {row["backend"]: row for row in read_run(folder / "out").rows}

    return run


@pytest.fixture
def prepared() -> Callable[..., Callable[..., Any]]:
    """`prepared(backend, model, *args, training=..., **keys)`: the callable under test."""

    def prepare(name: str, model: Any, /, *args: Any, training: bool = False, **keys: Any) -> Callable[..., Any]:
        workload = Workload("tiny", model, args, mode=Mode.training if training else Mode.inference)
        backend = registry.build({"_target_": registry.target("backend", name), **keys})
        return backend.prepare(workload)  # type: ignore[no-any-return]

    return prepare


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    """Dynamo's, AOTAutograd's and inductor's settings and programs are this test's own."""
    from torch._dynamo import config as dynamo
    from torch._functorch import config as functorch
    from torch._inductor import config as inductor

    configs = (dynamo, functorch, inductor)
    before = [config.get_config_copy() for config in configs]
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    for config, saved in zip(configs, before, strict=True):
        now = config.get_config_copy()
        for key in saved:
            if now[key] != saved[key]:
                setattr(config, key, saved[key])
