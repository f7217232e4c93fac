"""The steps before Hydra sees the arguments: order of flags, the chosen suites, what `glob()` may see."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override
from hydra.errors import HydraException

from runner import catalog
from runner.config import conf_dir
from runner.errors import UsageError
from runner.results.command import key

VALUED_FLAGS = {
    *("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"),
    *("--package", "-p", "--cfg", "-c", "--experimental-rerun"),
}
INFO = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}


def flags_first(argv: Sequence[str]) -> list[str]:
    """Hydra's flags before the overrides: argparse takes overrides on one side of its flags only."""
    flags, overrides = split(argv)
    return [*flags, *overrides]


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            overrides.append(word)
        elif word in VALUED_FLAGS:
            flags += [word, *_next(words)]
        elif word in {"--info", "-i"}:
            value = next(words, "all")
            flags += [word, value if value in INFO else "all"]
            overrides += [] if value in INFO else [value]
        else:
            flags.append(word)
    return flags, overrides


def sweeps(argv: Sequence[str], name: str) -> bool:
    """Whether the arguments list several values of a key, for a job each."""
    return any(override.is_sweep_override() for override in _parse(word for word in argv if key(word) == name))


def narrow_catalogue(argv: Sequence[str]) -> None:
    """Tell the catalogue which suites the overrides choose, so that names and globs mean theirs."""
    if "-sc" in argv or "--shell-completion" in argv:
        argv = shlex.split(os.environ.get("COMP_LINE", ""), posix=True)[1:]
    folders = catalog.config_folders(_value_of(argv, "--config-dir", "-cd"))
    overrides = list(_parse(word for word in argv if "=" in word and not word.startswith("-")))
    _refuse_null_groups(overrides, folders)
    _refuse_several_models(overrides)
    suites = _chosen(overrides, "suite", folders)
    for task in _chosen(overrides, "task", folders):
        suites += _suite_of_task(task, folders) if not suites else []
    suites = suites or [default_suite()]
    catalog.choose(
        {suite: _suite_fields(overrides) for suite in suites},
        offered_only_listed=_bare_glob(overrides),
        folders=folders,
    )


def suite_and_fields(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The one suite that overrides choose, else the default one, and what they say about its fields."""
    overrides = [OverridesParser.create().parse_override(word) for word in words]
    suites = [str(override.value()) for override in overrides if override.key_or_group == "suite"]
    known = ("suite", "suite.")
    strange = next((o for o in overrides if not f"{o.key_or_group}.".startswith(known[1])), None)
    if strange is not None or len(suites) > 1 or any(override.is_sweep_override() for override in overrides):
        raise UsageError(f"{' '.join(words)}: give suite=NAME once, and suite.FIELD=VALUE")
    return suites[0] if suites else default_suite(), _suite_fields(overrides)


def _refuse_several_models(overrides: list[Override]) -> None:
    """A list, or a second `model=`, would silently run the last one only."""
    models = [override for override in overrides if override.key_or_group == "model"]
    if len(models) > 1 or any(isinstance(override.value(), list) for override in models):
        raise UsageError(
            "model takes one name or one quoted pattern in a run; several: `--multirun model=a,b` (a job each), "
            "or 'select.include=[\"^a$\",\"^b$\"]' (one run)"
        )


def _next(words: Iterator[str]) -> list[str]:
    value = next(words, None)
    return [] if value is None else [value]


def _value_of(argv: Sequence[str], *names: str) -> str | None:
    for place, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else (argv[place + 1] if place + 1 < len(argv) else None)
    return None


def _parse(words: Iterator[str]) -> Iterator[Override]:
    """The overrides that parse; Hydra reports the others better than we could."""
    parser = OverridesParser.create()
    for word in words:
        try:
            yield parser.parse_override(word)
        except HydraException:
            continue


def _refuse_null_groups(overrides: list[Override], folders: list[Path]) -> None:
    """`GROUP=null` on the command line: Hydra has a traceback for it."""
    for override in overrides:
        group = override.key_or_group
        options = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
        if override.value() is None and not override.is_delete() and (options or group == "model"):
            choices = ", ".join(sorted(options)) or "a name, a pattern in quotes, or all"
            raise UsageError(f"{group}=null: choose one of its configurations: {choices}")


def _chosen(overrides: list[Override], group: str, folders: list[Path]) -> list[str]:
    names: list[str] = []
    for override in overrides:
        if override.key_or_group == group:
            names += _values(override.value(), group, folders)
    return names


def _values(value: Any, group: str, folders: list[Path]) -> list[str]:
    if isinstance(value, ChoiceSweep):
        return [str(item) for item in value.list]
    if isinstance(value, Glob):
        options = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
        return value.filter(sorted(options))
    return [] if value is None else [str(value)]


def _suite_of_task(task: str, folders: list[Path]) -> list[str]:
    for folder in folders:
        path = folder / "task" / f"{task}.yaml"
        if path.is_file():
            defaults = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("defaults", [])
            return [
                entry["override /suite"]
                for entry in defaults
                if isinstance(entry, dict) and "override /suite" in entry
            ]
    return []


def default_suite() -> str:
    """The suite of a command that names none."""
    defaults = yaml.safe_load((conf_dir() / "main.yaml").read_text(encoding="utf-8"))["defaults"]
    return str(next(entry["suite"] for entry in defaults if isinstance(entry, dict) and "suite" in entry))


def _suite_fields(overrides: list[Override]) -> dict[str, Any]:
    """`suite.FIELD=value`; a swept field says nothing about names."""
    return {
        override.key_or_group.removeprefix("suite."): override.value()
        for override in overrides
        if override.key_or_group.startswith("suite.") and not override.is_sweep_override()
    }


def _bare_glob(overrides: list[Override]) -> bool:
    values = [override.value() for override in overrides if override.key_or_group == "model"]
    return any(isinstance(value, Glob) and value.include == ["*"] for value in values)
