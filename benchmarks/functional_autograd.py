"""What the experiment's own measuring costs beside a bare loop of the same calls.

python benchmarks/functional_autograd.py [calls]

The call is vjp of a small transformer whose width makes it take about 10 ms. The engine looks at the machine and puts
the random state back, as it does in the experiment; its cost is the time of its run that is neither in the calls nor in
freeing what they returned, which a bare loop does too and is timed in one. Totals of two loops, which would say it more
simply, differ by several percent from second to second on a shared machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from runner.derivatives import FUNC, FUNCTIONAL, problem
from runner.devices.cpu import Cpu
from runner.loaders._building import Entry, build
from runner.measure.clock import TorchDevice, WallClock
from runner.measure.engine import Side, measure
from runner.measure.probe import HostProbe, matmul_canary
from runner.measure.settings import Measure
from runner.measure.tuning import available_cpus
from runner.timing import seeding
from runner.workload import LoadRequest, Workload

TARGET_S = 0.010
REPEATS = 21
WIDTHS = (24, 48, 96, 144, 192, 288, 384, 576)


def model(width: int) -> Workload:
    """A language model of this width."""
    options = {"width": width, "heads": 4, "feed_forward": 2 * width, "length": 16}
    return build("transformer", Entry("causal_transformer:build", 4, 4, options), LoadRequest())


def seconds(call: Callable[[], Any], calls: int = 1) -> float:
    """Wall time of so many calls."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - began


def freeing(call: Callable[[], Any], calls: int) -> float:
    """Seconds that it takes to free what so many calls return."""
    spent = 0.0
    for _ in range(calls):
        out = call()
        began = time.perf_counter()
        del out
        spent += time.perf_counter() - began
    return spent


def sides() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Both interfaces' vjp, of about TARGET_S a call."""
    for width in WIDTHS:
        found = problem(model(width), "vjp", seed=0)
        functional, func = (lambda: FUNCTIONAL["vjp"].of(found)), (lambda: FUNC["vjp"].of(found))  # noqa: B023
        seconds(functional, 3), seconds(func, 3)
        if min(seconds(functional) for _ in range(5)) >= TARGET_S:
            return functional, func
    raise SystemExit("no width is slow enough")


def main() -> None:
    """Print the engine's own share of the time of a bare loop."""
    pairs = int(sys.argv[1]) // 2 if len(sys.argv) > 1 else 40
    functional, func = sides()
    settings = Measure(min_pairs=pairs, max_pairs=pairs, rel_ci=1e-6, futility=1e9, block=1, max_time_s=600)
    device, clock, threads = Cpu(), WallClock(), torch.get_num_threads()
    canary = matmul_canary(device.torch_name, device.synchronize)
    probe = HostProbe(clock, threads=threads, cores=len(available_cpus()), canary=canary)
    engine = partial(
        measure, clock=clock, device=TorchDevice(device), probe=probe, reset_rng=seeding(device.torch_name, seed=0)
    )
    shares = []
    for repeat in range(REPEATS):
        freed_s = freeing(functional, pairs) + freeing(func, pairs)
        measured = engine(Side(functional), Side(func), settings, seed=repeat, name="")
        inside_s = sum(float(measured.samples()[f"wall_{side}"].sum()) for side in "ab")
        bare_s = inside_s + freed_s
        shares.append(measured.row()["measure_s"] / bare_s - 1)
        each_ms, freed_ms = (1e3 * total / pairs / 2 for total in (inside_s, freed_s))
        print(f"{each_ms:.2f} ms a call and {freed_ms:.2f} to free its result, {shares[-1]:.2%} beside them")
    print(f"median {100 * statistics.median(shares):.2f} %, at most 2 % are meant; {threads} threads")


if __name__ == "__main__":
    main()
