"""The root of the configuration, typed: what every run has, whatever its experiment.

Groups that an experiment pulls in (backend, precision, mode, ...) are None until it does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf

from runner import registry
from runner.devices.settings import DeviceSettings
from runner.errors import UsageError
from runner.measure.settings import Measure
from runner.registry import open_node
from runner.worker.limits import Limits
from runner.workload import Dynamic, Mode, Policy, Precision


class Isolation(str, Enum):
    """How a cell is kept apart from the others."""

    fork = "fork"
    spawn = "spawn"
    none = "none"


class Resume(str, Enum):
    """Which cells of a used directory are run again."""

    missing = "missing"
    failed = "failed"
    all = "all"


@dataclass
class ModelChoice:
    """What `model=NAME` composes to; a hand-written `model/NAME.yaml` may deviate in its policy."""

    name: str = MISSING
    policy: dict[str, Any] = field(default_factory=dict)


@dataclass
class ModeChoice:
    """What `mode=NAME` composes to."""

    name: Mode = Mode.inference


@dataclass
class DynamicChoice:
    """What `dynamic=NAME` composes to."""

    name: Dynamic = Dynamic.static


@dataclass
class Select:
    """Which of the chosen models are run."""

    include: Any = None  # regular expression or list of them; a model stays if one matches
    exclude: Any = None  # regular expression or list of them; a model goes if one matches
    shard: str | None = None  # i/n: the i-th of n disjoint parts of what would run
    no_skip: bool = False  # run models that the catalogue skips
    fast: bool = False  # only models whose eager step is recorded to take less than half a second
    batch_size_file: str | None = None  # lines `name,N`, or the CSV of experiment=batch_size


@dataclass
class Config:
    """Every root key and group."""

    suite: Any = MISSING
    model: ModelChoice = field(default_factory=ModelChoice)
    experiment: Any = MISSING
    backend: Any = None
    device: DeviceSettings = field(default_factory=DeviceSettings)
    precision: Precision | None = None
    mode: ModeChoice | None = None
    optimizer: Any = None
    dynamic: DynamicChoice | None = None
    parallel: Any = None
    measure: Measure = field(default_factory=Measure)
    limits: Limits = field(default_factory=Limits)
    select: Select = field(default_factory=Select)
    policy: Policy = field(default_factory=Policy)
    seed: int = 0
    tag: str = ""
    batch_size: Any = "suite"
    isolation: Isolation = Isolation.fork
    resume: Resume | None = None
    other_env: bool = False
    plan: bool = False
    strict: bool = False
    prewarm: int = 0  # compilations at a time before the measuring pass


def root_node() -> DictConfig:
    """The typed root as a config node, open for the files and overrides that follow."""
    node = open_node(Config)
    for key in node:
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            OmegaConf.set_readonly(node[key], None)
    OmegaConf.set_struct(node.policy.backend, False)  # its keys are the backend's
    return node


def conf_dir() -> Path:
    """The folder `conf/`: beside the package in a checkout, inside it when installed."""
    here = Path(__file__).parent
    packaged = here / "conf"
    return packaged if packaged.is_dir() else here.parent / "conf"


def declared(path: Path) -> dict[str, Any]:
    """A choice's file as the node that it composes to, its own values only; without `_target_` where it names none."""
    node = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    schemas = (str(entry) for entry in node.pop("defaults", []) if str(entry).startswith("/schema/"))
    for schema in schemas:
        group, _, name = schema.removeprefix("/schema/").partition("@")[0].partition("/")
        target = registry.target(group, name)
        if target:
            node.setdefault("_target_", target)
    return dict(node)


def default_node(group: str, name: str) -> dict[str, Any]:
    """The node of one of our choices, or of a plug-in's class, as it is without overrides."""
    path = conf_dir() / group / f"{name}.yaml"
    if path.is_file():
        return declared(path)
    target = registry.target(group, name)
    if target is None:
        raise UsageError(registry.unknown(group, name, [file.stem for file in path.parent.glob("*.yaml")]))
    return {"_target_": target}


def batch_size(value: Any) -> int | None:
    """The root key `batch_size` as a number; None where the suite decides."""
    if value == "suite":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise UsageError(f"batch_size={value}: give `suite` or a whole number above 0")


def patterns(key: str, value: Any) -> list[str]:
    """`select.include` and `select.exclude`: one regular expression or a list of them."""
    values = [] if value is None else [value] if isinstance(value, str) else value
    if isinstance(values, list) and all(isinstance(item, str) for item in values):
        return values
    raise UsageError(f"{key}={value}: give one regular expression or a quoted list, '{key}=[\"^resnet\",\"bert$\"]'")


def shard(value: str | None) -> tuple[int, int]:
    """`select.shard=i/n` as (i, n), 1 <= i <= n; (1, 1) when not given."""
    if value is None:
        return 1, 1
    index, slash, count = value.partition("/")
    if slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count):
        return int(index), int(count)
    raise UsageError(f"select.shard={value}: give i/n with 1 <= i <= n, for example 2/5")


def refuse_untyped(cfg: DictConfig, path: str = "") -> None:
    """Refuse keys that no dataclass declares: `+key=value` composes even under a typed root."""
    declared = OmegaConf.get_type(cfg) or dict
    known = getattr(declared, "__dataclass_fields__", None)
    for key in map(str, cfg):
        full = f"{path}{key}"
        if known is not None and key not in known and full != "hydra":
            raise UsageError(f"Key '{full}' not in '{declared.__name__}'")
        if OmegaConf.is_missing(cfg, key):
            raise UsageError(f"{full} has no value: give {full}=...")
        value = cfg[key]
        if isinstance(value, DictConfig):
            refuse_untyped(value, f"{full}.")
