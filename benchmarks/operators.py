"""How fast the operator experiment goes, and how much of the logs it can run; in this process, eager against eager.

python benchmarks/operators.py speed SUITE [--elements 10000]
python benchmarks/operators.py coverage SUITE [--mib 64] [--op PATTERN] [--smallest N] [--every N] [--device cuda]
python benchmarks/operators.py parse FOLDER
python benchmarks/operators.py table RUN...

`speed` takes the input sets that hold at most so many elements, a few per operator, prepares and measures them for a
minute, and prints samples per second, of wall time and of CPU time. `coverage` makes and runs all input sets up to a
size without measuring, and prints the share that can be measured and why the others can't. `parse` reads all logs under
a folder, upstream's or ours, and prints what can't be read. `table` prints in Markdown what runs of
`experiment=operator`, the parts of one log, found together.
"""

from __future__ import annotations

import argparse
import itertools
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
from runner.operators.parser import parse
from runner.operators.report import conclusion
from runner.operators.session import Session
from runner.operators.values import BadLine, InputSet
from runner.results.columns import Status
from runner.results.reader import read_run
from runner.timing import Timer

PER_OPERATOR = 5
ENOUGH_S = 60.0
#: Characters of an error that a table shows.
ERROR = 200
#: Columns of a row that a table shows, and their heads.
TABLE = {
    "speedup_p20": "0.2",
    "speedup": "0.5",
    "speedup_p80": "0.8",
    "backward_p50": "backward 0.5",
    "samples": "samples",
    "eager_roofline": "eager's roofline",
    "backend_roofline": "backend's",
}
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
    tried, large, failures, place = 0, 0, Counter[str](), itertools.count(1)
    examples: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, entries in sections(given.suite, given.op):
            fitting = [e for e in entries if nbytes(e) <= given.mib << 20]
            large += len(entries) - len(fitting)
            fitting = [e for e in fitting if next(place) % given.every == 0]
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


def parse_all(given: argparse.Namespace) -> None:
    """Files, operators, input sets and calls of all logs under a folder, and the lines that can't be read."""
    files = sorted(given.folder.rglob("*.txt"))
    names: set[str] = set()
    sets, calls, bad = 0, 0, []
    for file in files:
        for name, entries in parse(file.read_text(encoding="utf-8"), file.name).items():
            known = [entry for entry in entries if isinstance(entry, InputSet)]
            names.add(name)
            sets, calls = sets + len(known), calls + sum(entry.count for entry in known)
            bad += [entry.why for entry in entries if isinstance(entry, BadLine)]
    print(f"{len(files)} files, {len(names)} operators, {sets} input sets, {calls} calls, {len(bad)} bad lines")
    for why in bad:
        print(why)


def table(given: argparse.Namespace) -> None:
    """Counts, reasons, the wrong operators, and the ends of the list, as Markdown."""
    rows = [row for run in given.runs for row in read_run(run).rows]
    print("; ".join(f"{count} {status}" for status, count in Counter(row["status"] for row in rows).most_common()))
    print(*conclusion(rows), sep="\n")
    for row in rows:
        if row["status"] != Status.OK:
            print(f"- `{row['name']}` {row['status']}: {(row['error'] or '')[:ERROR]}")
    right = [row for row in rows if row["status"] == Status.OK and row["speedup"]]
    ordered = sorted(right, key=lambda row: row["speedup"], reverse=True)
    print(f"\n| operator | {' | '.join(TABLE.values())} |", f"|{'---|' * (1 + len(TABLE))}", sep="\n")
    for row in [*ordered[: given.ends], *ordered[given.ends :][-given.ends :]]:
        cells = ["" if row[name] is None else f"{row[name]:.3g}" for name in TABLE]
        print(f"| `{row['name']}` | {' | '.join(cells)} |")


def nbytes(entry: InputSet | BadLine) -> int:
    """Bytes of the recorded tensors."""
    specs = [] if isinstance(entry, BadLine) else entry.tensors
    return sum(spec.numel * getattr(torch, spec.dtype).itemsize for spec in specs)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("parse", help=parse_all.__doc__)
    command.add_argument("folder", type=Path)
    command.set_defaults(run=parse_all)
    command = commands.add_parser("table", help=table.__doc__)
    command.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    command.add_argument("--ends", type=int, default=10, help="rows at either end")
    command.set_defaults(run=table)
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
            command.add_argument("--every", type=int, default=1, help="only every so many-th input set of the log")
            command.add_argument("--device", choices=DEVICES, default="cpu", help="where they run")
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
