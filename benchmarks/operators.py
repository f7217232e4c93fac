"""How many samples of operators a second the operator experiment measures, eager against eager, on small inputs.

python benchmarks/operators.py [suite] [most elements]

Takes the input sets of a suite's log that hold at most so many elements (10 000), a few per operator, prepares and
measures them in this process for a minute, and prints samples per second, of wall time and of CPU time.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from runner.backends.eager import Eager
from runner.cells import Cell
from runner.devices.cpu import Cpu
from runner.errors import Unsupported
from runner.measure.settings import Measure
from runner.measure.tuning import Tuning
from runner.operators import catalogue
from runner.operators.catalogue import Recorded
from runner.operators.inputs import resolve
from runner.operators.session import Session
from runner.operators.values import InputSet

PER_OPERATOR = 5
ENOUGH_S = 60.0


def context(folder: str) -> Any:
    """What a child's context has, as far as a session asks."""
    config = {"precision": {"name": "fp32", "dtype": "float32"}, "model": {"name": "benchmark"}}
    return SimpleNamespace(
        cell=Cell(config),
        backend=Eager(),
        device=Cpu(),
        measure=Measure(),
        tuning=Tuning(2, None),
        seed=0,
        artifacts=Path(folder),
        phase=lambda _: nullcontext(),
        table=lambda *_: None,
        note_flags=lambda *_: None,
    )


def main(suite: str = "torchbench", most: str = "10000") -> None:
    """Print the figure. One thread: threads that wait for each other measure what else the machine does."""
    torch.set_num_threads(1)
    found = catalogue.texts(suite, "all", Recorded.both, None)
    samples, spent, cpu = 0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name in catalogue.operators(found):
            entries = [e for e in catalogue.input_sets(found, name) if isinstance(e, InputSet)]
            small = [e for e in entries if sum(spec.numel for spec in e.tensors) <= int(most)][:PER_OPERATOR]
            try:
                session = Session(context(folder), resolve(name), guards=False)
            except Unsupported:
                continue
            began, cpu_began = time.perf_counter(), time.process_time()
            session.prepare(small)
            session.measure()
            spent, cpu = spent + time.perf_counter() - began, cpu + time.process_time() - cpu_began
            samples += sum(sample.failed is None for sample in session.samples)
            if spent > ENOUGH_S:
                break
    print(f"{samples} samples in {spent:.1f} s: {samples / spent:.1f} a second, {samples / cpu:.1f} a second of CPU")


if __name__ == "__main__":
    main(*sys.argv[1:])
