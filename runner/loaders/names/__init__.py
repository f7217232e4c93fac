"""Names that only a library could list, kept in files so that listing them imports nothing.

`LIBRARY.txt` is made by `python -m runner.loaders.names LIBRARY`; its first line says from which version.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


@cache
def known(library: str) -> tuple[str, ...]:
    """Names of the models of `library`, sorted."""
    return tuple(_lines(library)[1:])


def listed_version(library: str) -> str:
    """The version of `library` that its names come from."""
    return _lines(library)[0].split()[2].rstrip(":")


def _lines(library: str) -> list[str]:
    return (FOLDER / f"{library}.txt").read_text(encoding="utf-8").splitlines()
