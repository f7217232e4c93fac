"""One process, one device."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Single:
    """The usual cell."""
