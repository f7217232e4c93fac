"""Python's garbage collector while measuring: nothing is collected inside a timed block."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runner.measure.settings import Gc

#: Collect between pairs this often, ...
PAIRS_BETWEEN_COLLECTIONS = 50
#: ... or when this many more container objects were made than freed: cycles then hold memory of the model.
GROWTH = 10_000


@contextmanager
def collector(policy: Gc) -> Iterator[Callable[[int], None]]:
    """Hold the collector back; yields the function to call between pairs with the number of pairs done."""
    if policy is Gc.inherit:
        yield lambda _pairs: None
        return
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield _collect_when_due
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def _collect_when_due(pairs: int) -> None:
    if pairs % PAIRS_BETWEEN_COLLECTIONS == 0 or gc.get_count()[0] > GROWTH:
        gc.collect()
