"""How often the engine calls equal sides different, and how often it finds a planted slowdown.

python benchmarks/engine.py [repeats]

The callable is a chain of equal matrix products of about 3 ms; the slower side has 3, 5 or 10 % more of them. All
effects are interleaved in one process, so that they meet the same noise.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from runner.devices.cpu import Cpu
from runner.measure import malloc
from runner.measure.clock import TorchDevice, WallClock
from runner.measure.engine import Measurement, Side, measure
from runner.measure.settings import Malloc, Measure

LINKS, EFFECTS = 100, (0, 3, 5, 10)
TARGET_MS = 3.0


def chain(x: torch.Tensor, w: torch.Tensor, links: int) -> Callable[[], Any]:
    """`links` matrix products, one after the other."""

    def call() -> torch.Tensor:
        out = x
        for _ in range(links):
            out = out @ w
        return out

    return call


def operands() -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices whose chain takes about TARGET_MS here."""
    for size in range(32, 1024, 16):
        w = torch.linalg.qr(torch.randn(size, size)).Q
        call = chain(w, w, LINKS)
        call()
        began = time.perf_counter()
        call()
        if (time.perf_counter() - began) * 1e3 >= TARGET_MS:
            return w.clone(), w
    raise SystemExit("no matrix is slow enough")


def main() -> None:
    """Print a line per effect."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    torch.manual_seed(0)
    x, w = operands()
    malloc.apply(Malloc.no_trim)
    found: dict[int, list[Measurement]] = defaultdict(list)
    with torch.no_grad():
        for repeat in range(repeats):
            for effect in EFFECTS:
                sides = Side(chain(x, w, LINKS)), Side(chain(x, w, LINKS + effect))
                where = {"clock": WallClock(), "device": TorchDevice(Cpu())}
                found[effect].append(measure(*sides, Measure(), seed=repeat, name=f"{effect}", **where))
    print(f"{repeats} repeats of each, matrices of {len(w)}, {torch.get_num_threads()} threads, rel_ci 2 %")
    print("planted  called different  median speedup  truth   CV      median +-  converged  pairs  median MDE80")
    for effect, measured in found.items():
        report(effect, [one.row() for one in measured])


def report(effect: int, rows: list[dict[str, Any]]) -> None:
    """One line of the table."""
    different = sum(not row["speedup_lo"] <= 1 <= row["speedup_hi"] for row in rows if row["speedup_lo"])
    logs = [math.log(row["speedup"]) for row in rows]
    known = [row for row in rows if row["rel_hw"] is not None]
    print(
        f"{effect:5d} %  {different:3d} of {len(rows):3d}"
        f"        {math.exp(statistics.median(logs)):.4f}          {1 / (1 + effect / 100):.4f}"
        f"  {100 * statistics.stdev(logs):5.2f} %  {100 * statistics.median(r['rel_hw'] for r in known):6.2f} %"
        f"   {sum(bool(r['converged']) for r in rows):3d} of {len(rows)}"
        f"  {statistics.fmean(r['n_pairs'] for r in rows):5.1f}"
        f"  {100 * statistics.median(r['mde80'] for r in known):6.2f} %"
    )


if __name__ == "__main__":
    main()
