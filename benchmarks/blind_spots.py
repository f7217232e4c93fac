"""Which known mistakes does `torch._dynamo.utils.same` let pass? The same mistakes as in the tests, both judgements.

    python benchmarks/blind_spots.py

prints a Markdown table. `same` is called as dynamobench's --accuracy calls it: on the last of two iterations over the
same inputs, with the loss, gradients, parameters and buffers in training (no prediction there), and a float64 reference
that is run before the random numbers are seeded. The second column seeds them first, which is the tensors' own merit.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch._dynamo.utils import same

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fixtures" / "toys")]

from toys.wrong import IN_TRAINING, How, Pair, Wrong  # noqa: E402 - the toys lie beside the tests

from runner import reference  # noqa: E402
from runner.check import check  # noqa: E402
from runner.workload import LoadRequest, Mode, Policy, Workload  # noqa: E402

TOLERANCE = {Mode.inference: 1e-4, Mode.training: 1e-3}  # suite torchbench, fp32, on an accelerator when training
SKIPPED = (How.right, How.raises, How.one_bit)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("| mistake | mode | `same` in dynamobench's way | `same`, seeded reference | `experiment=accuracy` |")
    print("|---|---|---|---|---|")
    for how in (How.right, *(h for h in How if h not in SKIPPED)):
        for mode in (Mode.training,) if how in IN_TRAINING else Mode:
            print(f"| {how.value} | {mode.value} | {' | '.join(judgements(how, mode))} |", flush=True)


def judgements(how: How, mode: Mode) -> tuple[str, str, str]:
    """What each of the three says."""
    words = [word(upstream(how, mode, seeded=seeded)) for seeded in (False, True)]
    workload = loaded(mode)
    ours = check(workload, Wrong(how).prepare(workload)).accuracy
    return words[0], words[1], ours


def word(passes: Callable[[], bool]) -> str:
    """As dynamobench has it: an exception counts as a difference."""
    try:
        return "pass" if passes() else "fail_accuracy"
    except Exception:  # noqa: BLE001
        return "fail_accuracy"


def upstream(how: How, mode: Mode, *, seeded: bool) -> Callable[[], bool]:
    """`same` on three copies of one model, each run for two iterations."""

    def passes() -> bool:
        torch.manual_seed(99)  # whatever the generator's state is when a model has been built
        workload = loaded(mode)
        wide = iterated(reference.widened(workload, torch.float64), None, seeded=seeded)
        eager = iterated(copy.deepcopy(workload), None, seeded=True)
        backend = iterated(copy.deepcopy(workload), how, seeded=True)
        return same(eager, backend, wide, tol=TOLERANCE[mode], equal_nan=False, log_error=lambda *_: None)

    return passes


def loaded(mode: Mode) -> Workload:
    """The model with two outputs, batch norm and dropout; SGD in training."""
    workload = Pair().load("pair", LoadRequest(mode, 64, "cpu", 0, Policy()))
    if mode is Mode.training:
        workload.optimizer = torch.optim.SGD(workload.parameters().values(), lr=0.01)
    return workload


def iterated(workload: Workload, how: How | None, *, seeded: bool) -> Any:
    """What dynamobench keeps of two iterations."""
    if seeded:
        torch.manual_seed(1337)
    f = Wrong(how or How.right).prepare(workload)
    for _ in range(2):
        step = workload.step(f)
    if workload.mode is Mode.inference:
        return step.output
    gradients = {name: p.grad.clone() for name, p in workload.parameters().items() if p.grad is not None}
    return [None, step.loss, gradients, dict(workload.parameters()), dict(workload.buffers())]


if __name__ == "__main__":
    main()
