"""What the experiment's own measuring costs beside a bare loop of the same calls.

python benchmarks/functional_autograd.py [calls]

The call is vjp of a small transformer whose width makes it take about 10 ms. One run of the engine makes as many
calls as a loop without it; both alternate, since the machine's other work changes more from second to second. The
engine looks at the machine and puts the random state back, as it does in the experiment.
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
REPEATS = 7
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
    """Print the share of the time that is not in the calls."""
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
        bare_s = seconds(functional, pairs) + seconds(func, pairs)
        measured = engine(Side(functional), Side(func), settings, seed=repeat, name="")
        inside_s = sum(float(measured.samples()[f"wall_{side}"].sum()) for side in "ab")
        row = measured.row()
        shares.append(row["measure_s"] / inside_s - 1)
        bare_ms, inside_ms = (1e3 * total / pairs / 2 for total in (bare_s, inside_s))
        print(f"{bare_ms:.2f} ms a call in a bare loop, {inside_ms:.2f} in the engine, {shares[-1]:.2%} around them")
    print(f"median {100 * statistics.median(shares):.2f} %, at most 2 % are meant; {threads} threads")


if __name__ == "__main__":
    main()
