"""The settings of torch's compilers as they stand at one moment, to go back to for a while.

A backend sets them for the rest of its process; another backend in the same process must not inherit them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class CompilerSettings:
    """Dynamo's, AOTAutograd's and inductor's settings as they were when this object was made."""

    def __init__(self) -> None:
        self._saved = [(config, config.get_config_copy()) for config in _configs()]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Inside, the settings are those again; afterwards they are what they were before."""
        now = CompilerSettings()
        try:
            self._load()
            yield
        finally:
            now._load()

    def _load(self) -> None:
        for config, saved in self._saved:
            now = config.get_config_copy()
            for key in (key for key, value in saved.items() if now[key] != value):
                setattr(config, key, saved[key])


def _configs() -> tuple[Any, ...]:
    from torch._dynamo import config as dynamo
    from torch._functorch import config as functorch
    from torch._inductor import config as inductor

    return dynamo, functorch, inductor
