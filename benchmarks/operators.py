"""How fast the operator experiment goes, and how much of the logs it can run; in this process, eager against eager.

python benchmarks/operators.py speed SUITE [--elements 10000]
python benchmarks/operators.py coverage SUITE [--mib 64] [--op PATTERN] [--smallest N] [--device cuda]

`speed` takes the input sets that hold at most so many elements, a few per operator, prepares and measures them for a
minute, and prints samples per second, of wall time and of CPU time. `coverage` makes and runs all input sets up to a
size without measuring, and prints the share that can be measured and why the others can't.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from runner.backends.eager import Eager
from runner.cells import Cell
from runner.devices import Device
from runner.devices.cpu import Cpu
from runner.devices.cuda import Cuda
from runner.errors import Unsupported
from runner.measure.settings import Measure
from runner.measure.tuning import Tuning
from runner.operators import catalogue
from runner.operators.catalogue import Recorded
from runner.operators.inputs import resolve
from runner.operators.outcome import Reason
from runner.operators.session import Session
from runner.operators.values import BadLine, InputSet
from runner.timing import Timer

PER_OPERATOR = 5
ENOUGH_S = 60.0
EXAMPLES = 3
DEVICES: dict[str, type[Device]] = {"cpu": Cpu, "cuda": Cuda}


def context(folder: str, device: Device) -> Any:
    """What a child's context has, as far as a session asks."""
    config = {"precision": {"name": "fp32", "dtype": "float32"}, "model": {"name": "benchmark"}}
    return SimpleNamespace(
        cell=Cell(config),
        backend=Eager(),
        device=device,
        measure=Measure(),
        tuning=Tuning(2, None),
        seed=0,
        artifacts=Path(folder),
        phase=lambda _: nullcontext(),
        table=lambda *_: None,
        note_flags=lambda *_: None,
        expect_call=lambda _: None,
    )


def sections(suite: str, pattern: str = "all") -> Iterator[tuple[str, Sequence[InputSet | BadLine]]]:
    """The operators of a suite's log with their input sets."""
    found = catalogue.texts(suite, "all", Recorded.both, None)
    for name in catalogue.matching(pattern, catalogue.operators(found)):
        yield name, catalogue.input_sets(found, name)


def speed(given: argparse.Namespace) -> None:
    """Samples per second. One thread: threads that wait for each other measure what else the machine does."""
    torch.set_num_threads(1)
    samples, spent, cpu = 0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        Timer(context(folder, Cpu()))  # imports what the children of a run find imported
        for name, entries in sections(given.suite):
            known = [e for e in entries if isinstance(e, InputSet)]
            small = [e for e in known if sum(spec.numel for spec in e.tensors) <= given.elements][:PER_OPERATOR]
            try:
                session = Session(context(folder, Cpu()), resolve(name), guards=False)
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


def coverage(given: argparse.Namespace) -> None:
    """The share of input sets that can be made and run, and the others by their reason."""
    torch.set_num_threads(1)
    tried, large, failures = 0, 0, Counter[str]()
    examples: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, entries in sections(given.suite, given.op):
            fitting = [e for e in entries if nbytes(e) <= given.mib << 20]
            large += len(entries) - len(fitting)
            taken = fitting if given.smallest is None else sorted(fitting, key=nbytes)[: given.smallest]
            tried += len(taken)
            for reason, text in failing(name, taken, context(folder, DEVICES[given.device]())):
                failures[reason] += 1
                examples.setdefault(reason, []).append(f"{name}: {text}")
            print(f"{name}: {len(taken)}", flush=True)
    done = tried - failures.total()
    print(f"{given.suite}: {done} of {tried} ({100 * done / tried:.2f} %); {large} larger than {given.mib} MiB")
    for reason, count in failures.most_common():
        print(f"{count} {reason}", *examples[reason], sep="\n  ")


def failing(name: str, entries: Sequence[InputSet | BadLine], child: Any) -> Iterator[tuple[str, str]]:
    """Reason and text for each input set of which something fails."""
    try:
        session = Session(child, resolve(name), guards=False)
    except Unsupported as error:
        yield from [(Reason.NO_OPERATOR.value, str(error))] * len(entries)
        return
    session.prepare(entries)
    broken = {s.row["input_set"]: (s.failed, s) for s in session.samples if s.failed is not None}
    for failed, sample in broken.values():
        yield failed.reason.value, f"{sample.direction.value} {sample.entry.text[:200]} {failed.text[:200]}"


def nbytes(entry: InputSet | BadLine) -> int:
    """Bytes of the recorded tensors."""
    specs = [] if isinstance(entry, BadLine) else entry.tensors
    return sum(spec.numel * getattr(torch, spec.dtype).itemsize for spec in specs)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function in (speed, coverage):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.add_argument("suite", choices=catalogue.suites())
        command.set_defaults(run=function)
        if function is speed:
            command.add_argument("--elements", type=int, default=10_000, help="most elements of an input set")
        else:
            command.add_argument("--mib", type=int, default=64, help="largest input set")
            command.add_argument("--op", default="all", help="as experiment.op")
            command.add_argument("--smallest", type=int, help="only so many input sets of an operator")
            command.add_argument("--device", choices=DEVICES, default="cpu", help="where they run")
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
