"""Writes the files of names from the installed libraries: `python -m runner.loaders.names timm transformers`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from runner.loaders._packages import mend_torchvision
from runner.loaders.names import FOLDER


def timm_names() -> tuple[str, Iterable[str]]:
    """Every architecture, and those `ARCHITECTURE.TAG` that give another model or other images than it alone does."""
    import timm
    from timm.models import get_pretrained_cfg

    def shape(name: str) -> tuple[Any, ...]:
        facts = get_pretrained_cfg(name)
        return (facts.input_size, facts.test_input_size, facts.num_classes) if facts else ()

    tagged = timm.list_models(pretrained=True)
    different = [name for name in tagged if "." in name and shape(name) != shape(name.partition(".")[0])]
    return timm.__version__, [*timm.list_models(), *different]


def transformers_names() -> tuple[str, Iterable[str]]:
    """Every class that one of the library's automatic classes leads to."""
    import transformers
    from transformers.models.auto import modeling_auto

    named = vars(modeling_auto).items()
    tables = [table for name, table in named if name.startswith("MODEL_") and name.endswith("_MAPPING_NAMES")]
    found = [name for table in tables for entry in table.values() for name in _flat(entry)]
    return transformers.__version__, [name for name in found if hasattr(transformers, name)]


def _flat(entry: str | tuple[str | None, ...]) -> list[str]:
    return [entry] if isinstance(entry, str) else [name for name in entry if name]


LIBRARIES: dict[str, Callable[[], tuple[str, Iterable[str]]]] = {"timm": timm_names, "transformers": transformers_names}


def main(libraries: list[str]) -> None:
    """Write the file of each of `libraries`."""
    mend_torchvision()  # both import it where they find it
    for library in libraries:
        version, names = LIBRARIES[library]()
        lines = [f"# {library} {version}: python -m runner.loaders.names {library}", *sorted(set(names))]
        (FOLDER / f"{library}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] or list(LIBRARIES))
