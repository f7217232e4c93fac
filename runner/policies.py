"""What is particular about each model: entries of `conf/models/<suite>.yaml` and of policy files, resolved for a run.

An entry has fields of `runner.workload.Policy`, and under `where` further fields for some runs only: `training+cuda:
{tolerance: 8e-2}` holds where every word of `training+cuda` does. A later condition wins over an earlier one.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from runner import registry
from runner.cells import without_none
from runner.errors import UsageError
from runner.workload import Policy, Precision

#: Groups whose choices are words of a condition, as they are typed.
WORD_GROUPS = ("experiment", "backend", "precision", "mode", "optimizer", "dynamic", "parallel", "device")
#: Words that no group has: of a backend, of autocast, of a run on one device, and of a machine's processor.
WORDS = ("freezing", "cudagraphs", "export", "amp", "single_process", "x86_64", "aarch64", "arm64")
#: Modes of torch.compile that use CUDA graphs.
_GRAPH_MODES = ("reduce-overhead", "max-autotune")


@dataclass(frozen=True)
class Situation:
    """What is true of a run, and every word that may be asked for."""

    true: frozenset[str]
    known: frozenset[str]

    def holds(self, condition: str, where: str) -> bool:
        """Whether all words of `condition` are true; raises UsageError for a word that nothing is called."""
        words = [word.strip() for word in condition.split("+")]
        strange = next((word for word in words if word not in self.known), None)
        if strange is not None:
            raise UsageError(f"{where}: {registry.unknown('condition', strange, self.known)}")
        return self.true.issuperset(words)


def situation(plain: Mapping[str, Any], choices: Mapping[str, str], device: str, folders: Iterable[Path]) -> Situation:
    """What is true of a run on `device`, whose configuration and choices are given."""
    true = {choices[group] for group in WORD_GROUPS if group != "device" and choices.get(group)}
    true |= {device, platform.machine(), *_of_backend(plain.get("backend"))}
    if (plain.get("precision") or {}).get("autocast"):
        true.add("amp")
    if choices.get("parallel") in {None, "single"}:
        true.add("single_process")
    files = (path for folder in folders for group in WORD_GROUPS for path in (folder / group).glob("*.yaml"))
    return Situation(frozenset(true), frozenset({*WORDS, *true, *(path.stem for path in files)}))


def _of_backend(node: Mapping[str, Any] | None) -> set[str]:
    """Words about the backend's settings."""
    if not node:
        return set()
    settings = [node, *(node.get(key) or {} for key in ("options", "config"))]
    found = {
        "freezing": any(own.get("freezing") for own in settings),
        "cudagraphs": _uses_graphs(node),
        "export": getattr(registry.locate(node["_target_"]), "exports", False),
    }
    return {word for word, value in found.items() if value}


def _uses_graphs(node: Mapping[str, Any]) -> bool:
    """Whether the backend's settings switch CUDA graphs on; the first that says something wins, as in inductor."""
    options, config = (node.get(key) or {} for key in ("options", "config"))
    mode = True if node.get("mode") in _GRAPH_MODES else None
    said = (_graphs_of_triton(options), node.get("cudagraphs"), mode, _graphs_of_triton(config))
    return bool(next((value for value in said if value is not None), node.get("name") == "cudagraphs"))


def _graphs_of_triton(settings: Mapping[str, Any]) -> Any:
    """Inductor's setting `triton.cudagraphs`, dotted or nested; None where it isn't given."""
    nested = settings.get("triton")
    return settings.get("triton.cudagraphs", nested.get("cudagraphs") if isinstance(nested, Mapping) else None)


def read_file(path: str) -> dict[str, dict[str, Any]]:
    """The entries of a policy file, which looks like `conf/models/<suite>.yaml`."""
    try:
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"suite.policy_file={path} can't be read: {str(error).splitlines()[0]}") from error
    if not isinstance(entries, dict) or not all(isinstance(entry or {}, dict) for entry in entries.values()):
        raise UsageError(f"suite.policy_file={path}: give model names with their policies, as conf/models/*.yaml has")
    return {str(name): entry or {} for name, entry in entries.items()}


#: A model's entries, each with the place it is from.
Entries = Sequence[tuple[str, Mapping[str, Any]]]


def entries_of(
    suite: str, catalogue: Mapping[str, Mapping[str, Any]], path: str | None, known: Sequence[str]
) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    """Model -> its entries, of the catalogue and of the policy file at `path`, which may name `known` models only."""
    found = {name: [(f"models/{suite}.yaml: {name}", entry)] for name, entry in catalogue.items()}
    for name, entry in (read_file(path) if path else {}).items():
        if name not in known:
            raise UsageError(f"suite.policy_file={path}: {registry.unknown(f'model of suite {suite}', name, known)}")
        found.setdefault(name, []).append((f"{path}: {name}", entry))
    return found


def resolve(entries: Entries, given: Mapping[str, Any], at: Situation) -> dict[str, Any]:
    """The policy that holds: of each entry in order its plain fields, then what `where` adds; then `given`.

    Keys without a value are left out. Raises UsageError for a field or a condition that there is not.
    """
    policy: dict[str, Any] = {}
    for place, entry in entries:
        own = dict(entry)
        conditions = own.pop("where", None) or {}
        policy |= _typed(own, place)
        for condition, fields in conditions.items():
            named = f"{place}: where {condition}"
            typed = _typed(fields or {}, named)
            policy |= typed if at.holds(condition, named) else {}
    own = _given(given)
    return policy | (_typed(own, "on the command line") if own else {})


#: Fields that were checked, by their text: a few stand at many models, and a check takes longer than all the rest.
_checked: dict[str, dict[str, Any]] = {}


def _typed(fields: Mapping[str, Any], place: str) -> dict[str, Any]:
    text = repr(fields)
    try:
        if text not in _checked:
            _checked[text] = _given(asdict(registry.build_as(Policy, fields)))
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error
    return _checked[text]


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something: neither null nor, for the backend's settings, empty."""
    return {key: value for key, value in without_none(fields).items() if value != {}}


def adapted(config: Mapping[str, Any], policy: Mapping[str, Any], folders: Iterable[Path]) -> dict[str, Any]:
    """A cell's configuration with the precision, the optimizer and the backend's settings that its policy wants."""
    config = {**config, "choices": dict(config["choices"])}
    precision, optimizer = policy.get("precision"), policy.get("optimizer")
    if precision and config.get("precision"):
        config["precision"] = _precision(precision, folders)
        config["choices"]["precision"] = precision
    if optimizer and config.get("optimizer"):
        config["optimizer"] = _optimizer(optimizer, config["optimizer"])
        config["choices"]["optimizer"] = optimizer
    if policy.get("backend") and config.get("backend"):
        config["backend"] = _filled(config["backend"], policy["backend"])
        registry.build(config["backend"])
    return config


def _precision(name: str, folders: Iterable[Path]) -> dict[str, Any]:
    files = {path.stem: path for folder in folders for path in (folder / "precision").glob("*.yaml")}
    if name not in files:
        raise UsageError(f"policy.precision: {registry.unknown('precision', name, files)}")
    return asdict(registry.build_as(Precision, yaml.safe_load(files[name].read_text(encoding="utf-8"))))


def _optimizer(name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer `name` with the learning rate that was asked for."""
    target = registry.target("optimizer", name)
    if target is None:
        raise UsageError(f"policy.optimizer: there is no optimizer named '{name}'")
    if target == asked["_target_"]:
        return dict(asked)
    own = registry.build({"_target_": target, **({"lr": asked["lr"]} if "lr" in asked else {})})
    return {**asdict(own), "_target_": target}


def _filled(node: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """`node` with the values of `wanted` where it has none; what a backend has no key for is left out."""
    filled = dict(node)
    for key, value in wanted.items():
        if isinstance(value, Mapping) and isinstance(filled.get(key), Mapping):
            filled[key] = {**value, **filled[key]}
        elif key in filled and filled[key] is None:
            filled[key] = value
    return filled
