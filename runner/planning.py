"""From the composed configuration to the run's cells: the suite's models, their policy, the experiment's expansion."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from runner import catalog, config, registry
from runner.cells import CHOICES, Cell, Selection, unique, without_none
from runner.devices import detect
from runner.errors import UsageError
from runner.experiment import Experiment
from runner.measure.settings import Measure
from runner.results.columns import Status
from runner.worker.devices import GENERIC
from runner.worker.limits import Limits
from runner.workload import Policy


@dataclass(frozen=True)
class Plan:
    """What a run will do. `asked` is the experiment's configuration before it was expanded to cells."""

    experiment: Experiment
    asked: Mapping[str, Any]
    limits: Limits
    cells: list[Cell]


def make(cfg: DictConfig, choices: Mapping[str, str], folders: list[Path], in_sweep: bool) -> Plan:
    """All cells that the configuration asks for, in catalogue order; a UsageError when there are none.

    A name that the suite does not know is a usage error too, but in a sweep: there another suite may know it.
    """
    config.refuse_untyped(cfg)
    plain = cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
    _refuse_wrong_values(plain)
    selection = _selection(plain)
    suite = choices["suite"]
    experiment: Experiment = registry.build(plain["experiment"])
    catalogue = {} if experiment.names else catalog.models_file(suite, folders)
    known = list(experiment.names or registry.build(plain["suite"]).names())
    shared = _shared(plain, choices)
    found: list[Cell] = []
    names = selection.models(list(catalogue) or known, known)
    strange = [name for name in names if name not in known]
    if strange and not in_sweep:
        raise UsageError(registry.unknown(f"model of suite {suite}", strange[0], known))
    for name in names:
        cell = _cell(shared, name, policy_of(catalogue.get(name, {}), plain, f"models/{suite}.yaml: {name}"))
        found += _settle(cell, name in known, experiment, selection)
    cells = selection.part(unique(found))
    if not cells:
        raise UsageError(_nothing_selected(selection, suite, known))
    return Plan(experiment, plain["experiment"], registry.build_as(Limits, plain["limits"]), cells)


def _refuse_wrong_values(plain: Mapping[str, Any]) -> None:
    """Build what the children will build, so that a value out of bounds costs one sentence and not a row each."""
    registry.build_as(Measure, plain["measure"])
    device = {**plain["device"], "type": detect.resolve(plain["device"]["type"])}
    registry.build({**device, "_target_": registry.target("device", device["type"]) or GENERIC})
    for group in ("backend", "optimizer"):
        if plain[group]:
            registry.build(plain[group])


def policy_of(entry: Mapping[str, Any], plain: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A model's policy: its catalogue entry, then `model/NAME.yaml`, then `policy.*`; without null keys."""
    try:
        listed: Policy = registry.build_as(Policy, entry)
        own: Policy = registry.build_as(Policy, plain["model"]["policy"])
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    given = without_none(plain["policy"])
    policy: dict[str, Any] = without_none({**asdict(listed), **without_none(asdict(own)), **given})
    return policy


def _selection(plain: Mapping[str, Any]) -> Selection:
    select = plain["select"]
    include = config.patterns("select.include", select["include"])
    exclude = config.patterns("select.exclude", select["exclude"])
    for pattern in (*include, *exclude):
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(f"select: '{pattern}' is not a regular expression: {error}") from error
    return Selection(
        plain["model"]["name"], include, exclude, select["no_skip"], config.shard(select["shard"])
    )


def _shared(plain: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, Any]:
    """The part of a cell's config that all models of this run have in common."""
    training = (plain["mode"] or {}).get("name") == "training"
    own = {group: choices[group] for group in CHOICES if plain.get(group) and choices.get(group)}
    if plain["backend"]:
        own["backend"] = getattr(registry.build(plain["backend"]), "label", own["backend"])
    if not training:
        own.pop("optimizer", None)
    return {
        "choices": own,
        "suite": plain["suite"],
        "experiment": plain["experiment"],
        "backend": plain["backend"],
        "device": {**plain["device"], "type": detect.resolve(plain["device"]["type"])},
        "precision": plain["precision"],
        "mode": plain["mode"],
        "optimizer": plain["optimizer"] if training else None,
        "batch_size": config.batch_size(plain["batch_size"]),
        "measure": plain["measure"],
        "seed": plain["seed"],
    }


def _cell(shared: Mapping[str, Any], name: str, policy: dict[str, Any]) -> Cell:
    mode = (shared["mode"] or {}).get("name", "inference")
    sizes = {
        "inference": policy.pop("batch_size_inference", None),
        "training": policy.pop("batch_size_training", None),
    }
    batch_size = shared["batch_size"] or sizes[mode]
    full = {**shared, "model": {"name": name}, "batch_size": batch_size, "policy": policy or None}
    return Cell(without_none(full))


def _settle(cell: Cell, known: bool, experiment: Experiment, selection: Selection) -> list[Cell]:
    """The cells that one model stands for, or the one row that says why it does not run."""
    if not known:
        return [cell.skipped(f"suite {cell.config['choices']['suite']} has no model {cell.name}")]
    reason = cell.config.get("policy", {}).get("skip")
    if reason and not selection.no_skip:
        return [cell.skipped(reason)]
    try:
        return list(experiment.expand(cell))
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - a defect in an experiment costs its cell only
        traceback.print_exception(error)
        return [cell.skipped(f"the experiment's own code failed: {error}", Status.INTERNAL_ERROR)]


def _nothing_selected(selection: Selection, suite: str, known: list[str]) -> str:
    if catalog.is_pattern(selection.model) and not Selection(selection.model).models([], known):
        return f"model={selection.model} matches no model of suite {suite}; see them with model=all plan=true"
    return f"no cell selected: suite={suite} model={selection.model} {selection.words}; see all with plan=true"
