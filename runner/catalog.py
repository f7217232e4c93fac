"""Serves model names and schemas to Hydra as configs, so that neither needs a file.

`model=resnet18`, patterns, `glob()` and completion work over the names of the chosen suites, which `choose` sets
before Hydra sees the arguments; `schema/<group>/<name>` is the dataclass of that name, imported when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from runner import registry
from runner.config import ModelChoice, conf_dir, declared, root_node
from runner.errors import UsageError

SCHEMA_GROUPS = ("suite", "backend", "optimizer", "parallel", "experiment")


@dataclass
class Catalogue:
    """The model names that the arguments chose from.

    `listed` are what `all` and a bare `*` mean; `known` is every name that may be typed. A catalogue that is not
    `complete` lacks the names of a suite that could not be asked.
    """

    listed: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)  # what glob() and completion see
    complete: bool = True

    def check(self, name: str) -> None:
        """Raise when `name` is neither `all`, nor a pattern, nor known.

        Not in a catalogue that is incomplete: what is wrong there is the suite or a field of it, which is named later.
        """
        if self.complete and name != "all" and not is_pattern(name) and name not in self.known:
            raise CompactHydraException(registry.unknown("model", name, self.known))


current = Catalogue()


def is_pattern(name: str) -> bool:
    """Whether a model name is to be matched inside the run."""
    return "*" in name or "?" in name


def models_file(suite: str, folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The suite's listed models with their policy, from the first `models/<suite>.yaml` in `folders`."""
    for folder in folders:
        path = folder / "models" / f"{suite}.yaml"
        if path.is_file():
            entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            return {str(name): entry or {} for name, entry in entries.items()}
    return {}


def listed(loader: Any, entries: Iterable[str], known: Sequence[str]) -> list[str]:
    """What `all` means: what the loader lists, where it does; else the models' file, as far as known; else all.

    A file may list models that only some settings of the suite have, such as those of a checkout.
    """
    own = list(loader.listed()) if hasattr(loader, "listed") else []
    return own or [name for name in entries if name in known] or list(known)


def config_folders(extra: str | None = None) -> list[Path]:
    """Folders that hold configuration files, the user's first."""
    return [*([Path(extra).absolute()] if extra else []), conf_dir()]


class CatalogSource(ConfigSource):
    """Hydra's view of the catalogue and the schemas. Its methods are called with the keyword `config_path`."""

    @staticmethod
    def scheme() -> str:
        """Prefix of the source's address in the search path."""
        return "catalog"

    def available(self) -> bool:
        """Whether the source can be read."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether `config_path` is a folder here."""
        path = config_path.strip("/")
        return path in {"", "model", "schema", *(f"schema/{group}" for group in SCHEMA_GROUPS)}

    def is_config(self, config_path: str) -> bool:
        """Whether `config_path` is a config here; any name under `model/` is, until it is loaded."""
        path = _stem(config_path)
        if path.startswith("model/"):
            return len(path) > len("model/")
        return path == "schema/base" or _schema_target(path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Names under a group, for glob() and completion."""
        if config_path.strip("/") != "model" or results_filter is ObjectType.GROUP:
            return []
        return ["all", *current.offered] if results_filter is None else current.offered

    def load_config(self, config_path: str) -> ConfigResult:
        """The config of one name."""
        path = _stem(config_path)
        if path.startswith("model/"):
            name = path.removeprefix("model/")
            current.check(name)
            node = OmegaConf.structured(ModelChoice)
            node.name = name
            return self._result(path, node, package="model")
        if path == "schema/base":
            return self._result(path, root_node(), package="_global_")
        target = _schema_target(path)
        assert target is not None
        return self._result(path, _schema(path, target), package=None)

    def _result(self, path: str, node: Any, package: str | None) -> ConfigResult:
        return ConfigResult(
            provider=self.provider, path=f"catalog://{path}", config=node, header={"package": package}
        )


class CatalogSearchPath(SearchPathPlugin):
    """Puts the catalogue last, so that a user's `model/NAME.yaml` wins.

    The provider's name matters: `--config-dir` is inserted before the first provider called "schema".
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append our source."""
        search_path.append("schema", "catalog://")


def register() -> None:
    """Make Hydra know the source; once per process."""
    Plugins.instance().register(CatalogSource)
    Plugins.instance().register(CatalogSearchPath)


def choose(suites: dict[str, dict[str, Any]], offered_only_listed: bool, folders: Iterable[Path]) -> None:
    """Narrow the catalogue to `suites` (name -> fields typed as `suite.FIELD=...`)."""
    folders = list(folders)
    current.listed, current.known, current.complete = [], [], True
    for suite, fields in suites.items():
        loader = _loader(suite, fields, folders)
        if loader is None:
            current.complete = False
            continue
        known = list(loader.names())
        current.known += known
        current.listed += listed(loader, models_file(suite, folders), known)
    current.known = list(dict.fromkeys([*current.listed, *current.known]))
    current.offered = list(dict.fromkeys(current.listed)) if offered_only_listed else current.known


def _loader(suite: str, fields: dict[str, Any], folders: list[Path]) -> Any:
    """The suite's loader, or None when Hydra or the planning will refuse the choice with a better message than ours."""
    for folder in folders:
        path = folder / "suite" / f"{suite}.yaml"
        if not path.is_file():
            continue
        node = declared(path)
        try:
            return registry.build({**node, **fields}) if "_target_" in node else None
        except UsageError:
            return None
    return None


def _stem(config_path: str) -> str:
    return config_path.strip("/").removesuffix(".yaml")


def _schema_target(path: str) -> str | None:
    schema, _, rest = path.partition("/")
    group, _, name = rest.partition("/")
    if schema != "schema" or group not in SCHEMA_GROUPS or not name:
        return None
    return registry.target(group, name)


def _schema(path: str, target: str) -> Any:
    try:
        return registry.open_node(registry.schema(registry.locate(target)))
    except Exception as error:  # a plug-in's class may be anything; say which one
        raise CompactHydraException(f"{path.removeprefix('schema/')}: {error}") from error
