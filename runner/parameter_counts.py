"""Counts models' parameters without building them: on torch's meta device, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Count:
    """Parameters of a model; None, and why, where they can't be counted."""

    name: str
    parameters: int | None = None
    why: str = ""


def count(suite: Mapping[str, Any], names: Sequence[str]) -> Iterator[Count]:
    """Counts of a suite's models, in order; `suite` is its configuration with `_target_`.

    A model that ends the process costs its own count only: the next ones are counted in a new one.
    """
    left = list(names)
    while left:
        asked = json.dumps({"suite": dict(suite), "names": left})
        command = [sys.executable, "-m", "runner.parameter_counts"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(asked)
            child.stdin.close()
            for line in child.stdout:
                yield Count(**json.loads(line))
                left.pop(0)
        if left:
            yield Count(left.pop(0), why=f"ended its process with code {child.returncode}")


def main() -> None:
    """Read the request from stdin; print a line of JSON per model."""
    import os

    from runner import registry

    answers = os.fdopen(os.dup(1), "w")  # what the models print goes nowhere
    os.dup2(2, 1)
    asked = json.load(sys.stdin)
    loader = registry.build(asked["suite"])
    for name in asked["names"]:
        print(json.dumps(asdict(_count(loader, name))), file=answers, flush=True)


def _count(loader: Any, name: str) -> Count:
    from runner.workload import LoadRequest

    try:
        workload = loader.load(name, LoadRequest(device="meta"))
        parameters = list(workload.parameters().values())
    except Exception as error:  # noqa: BLE001 - a model's own code may raise anything
        return Count(name, why=str(error).strip().partition("\n")[0] or type(error).__name__)
    number = total(parameters)
    return Count(name, number, "its parameters get their shapes in the first call only" if number is None else "")


def total(parameters: Sequence[torch.Tensor]) -> int | None:
    """How many numbers they are; None where some get their shapes in the model's first call only."""
    from torch.nn.parameter import UninitializedParameter

    if any(isinstance(parameter, UninitializedParameter) for parameter in parameters):
        return None
    return sum(parameter.numel() for parameter in parameters)


if __name__ == "__main__":
    main()
