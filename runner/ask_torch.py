"""Settings that only torch can judge: it is asked in a process of its own, before a device is waited for."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner import registry
from runner.cells import Cell
from runner.errors import Unsupported, UsageError
from runner.worker import boot

#: Exit code of the process that found a wrong setting; it printed a sentence.
WRONG = 3


def refuse_wrong_settings(cells: Iterable[Cell]) -> None:
    """Raise UsageError for a setting of a cell's backend that the installed torch doesn't have."""
    refuse_wrong_backends(cell.config.get("backend") for cell in cells if cell.planned is None)


def refuse_wrong_backends(backends: Iterable[Mapping[str, Any] | None]) -> None:
    """The same for the nodes of backends. Takes some seconds, if there is anything to ask."""
    nodes = {json.dumps(node, sort_keys=True) for node in backends if node}
    doubtful = [node for node in sorted(nodes) if getattr(registry.build(json.loads(node)), "asks_torch", False)]
    wrong = _ask(tuple(doubtful)) if doubtful else ""
    if wrong:
        raise UsageError(wrong)


@functools.cache
def _ask(nodes: Sequence[str]) -> str:
    """What is wrong, if anything; jobs of a sweep ask once. The rows say it where torch can't be imported."""
    done = subprocess.run(
        boot.command(__name__, nodes=nodes), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout.strip().splitlines()[-1] if done.returncode == WRONG else ""


def main(nodes: Iterable[str]) -> None:
    """Judge the backends of these nodes, in the process that may import torch."""
    for node in nodes:
        try:
            registry.build(json.loads(node)).validate()
        except Unsupported:
            continue  # the cell says so
        except UsageError as error:
            print(error)
            sys.exit(WRONG)
