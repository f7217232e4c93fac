"""From the composed configuration to the run's cells: the suite's models, their policy, the experiment's expansion."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from runner import batch_sizes, catalog, config, policies, recorded, registry
from runner.arguments import default_suite
from runner.cells import CHOICES, Cell, Selection, unique, without_none
from runner.devices import detect
from runner.errors import UsageError
from runner.experiment import Experiment
from runner.measure.settings import Measure
from runner.parallel import NPROC_WITHOUT_ACCELERATOR
from runner.results.columns import Status
from runner.worker.devices import GENERIC
from runner.worker.environment import tuning_of
from runner.worker.limits import Limits

#: Seconds that an eager step of a model may take for select.fast.
FAST_S = 0.5


@dataclass(frozen=True)
class Plan:
    """What a run will do. `asked` is the experiment's configuration before it was expanded to cells."""

    experiment: Experiment
    asked: Mapping[str, Any]
    limits: Limits
    cells: list[Cell]


def make(cfg: DictConfig, choices: Mapping[str, str], folders: list[Path], job: int | None) -> Plan:
    """All cells that the configuration asks for, in catalogue order; a UsageError when there are none.

    In a sweep, of which this is the `job`, another suite may know a name that the suite does not, and other jobs may
    have the cells of a shard: what is a usage error otherwise is a skipped cell, or a plan without cells.
    """
    config.refuse_untyped(cfg)
    plain = cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
    _refuse_wrong_values(plain)
    selection = _selection(plain)
    suite = choices["suite"]
    experiment: Experiment = registry.build(plain["experiment"])
    _refuse_processes(experiment, plain, choices)
    if experiment.names:
        _refuse_models(plain, choices)
    loader = None if experiment.names else registry.build(plain["suite"])
    known = list(loader.names() if loader else experiment.names)
    catalogue = {} if experiment.names else catalog.models_file(suite, folders)
    shared = _shared(plain, choices)
    _refuse_device_clock(shared)
    entries = policies.entries_of(suite, catalogue, plain["suite"].get("policy_file"), known)
    models = Models(plain, choices, shared, entries, folders)
    found: list[Cell] = []
    names = selection.models(catalog.listed(loader, catalogue, known), known)
    strange = [name for name in names if name not in known]
    if strange and job is None:
        raise UsageError(registry.unknown(f"model of suite {suite}", strange[0], known))
    if plain["select"]["fast"] and names:
        names = models.fast(names)
    for name in names:
        found += _settle(models.cell(name), name in known, experiment, selection)
    whole = unique(experiment.gather(found, plain))
    cells = selection.part(whole, job or 0)
    if not whole or (job is None and not cells):
        raise UsageError(_nothing_selected(selection, suite, known))
    return Plan(experiment, plain["experiment"], registry.build_as(Limits, plain["limits"]), cells)


def _refuse_wrong_values(plain: Mapping[str, Any]) -> None:
    """Build what the children will build, so that a value out of bounds costs one sentence and not a row each."""
    registry.build_as(Measure, plain["measure"])
    device = {**plain["device"], "type": detect.resolve(plain["device"]["type"])}
    registry.build({**device, "_target_": registry.target("device", device["type"]) or GENERIC})
    tuning_of(plain)
    for group in ("backend", "optimizer", "parallel"):
        if plain[group]:
            registry.build(plain[group])


def _refuse_device_clock(shared: Mapping[str, Any]) -> None:
    """Raise UsageError for the clock of a device that is known to have none; of others the child finds out."""
    if shared["measure"]["clock"] == "device" and shared["device"]["type"] == "cpu":
        raise UsageError("measure.clock=device needs timing events and device=cpu has none: use measure.clock=wall")


def _refuse_processes(experiment: Experiment, plain: Mapping[str, Any], choices: Mapping[str, str]) -> None:
    """Raise UsageError for several processes where there can't be more than one."""
    several = plain["measure"]["processes"] > 1
    if experiment.one_process and several:
        raise UsageError(
            f"measure.processes={plain['measure']['processes']}: experiment={choices['experiment']} chooses its "
            "processes itself, add measure.processes=1"
        )
    if plain["isolation"] == "none" and (several or experiment.fresh_starts):
        raise UsageError("isolation=none has one process for all, and this run needs fresh ones: use fork or spawn")


def _refuse_models(plain: Mapping[str, Any], choices: Mapping[str, str]) -> None:
    """Raise UsageError for a key that says something about models where the experiment has none."""
    given = {
        "suite": choices["suite"] != default_suite(),
        "model": plain["model"]["name"] != "all",
        "batch_size": plain["batch_size"] != "suite",
        **{f"select.{key}": plain["select"][key] for key in ("no_skip", "fast", "batch_size_file")},
        **{f"policy.{key}": value not in (None, {}) for key, value in plain["policy"].items()},
    }
    for key in (key for key, said in given.items() if said):
        told = f"experiment={choices['experiment']} measures something of its own and no models"
        raise UsageError(f"{told}: leave {key} out")


@dataclass
class Models:
    """Makes the cells of single models. `entries` are their policies (see `entries_of`), `shared` what they share."""

    plain: Mapping[str, Any]
    choices: Mapping[str, str]
    shared: Mapping[str, Any]
    entries: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]
    folders: Sequence[Path]

    def __post_init__(self) -> None:
        device = self.shared["device"]["type"]
        self._situation = policies.situation(self.plain, self.choices, device, self.folders)
        self._sizes = self._read_sizes()

    def _read_sizes(self) -> dict[str, int]:
        """Batch sizes of `select.batch_size_file`."""
        path = self.plain["select"]["batch_size_file"]
        if path is None:
            return {}
        if self.shared["batch_size"]:
            raise UsageError("batch_size=N and select.batch_size_file say the same thing: give one of them")
        choices = self.shared["choices"]
        run = {key: choices.get(key) for key in batch_sizes.SAME if key != "dev"}
        return batch_sizes.read(path, {**run, "dev": self.shared["device"]["type"]})

    def fast(self, names: Sequence[str]) -> list[str]:
        """Those that `select.fast=true` keeps; a UsageError when there are none."""
        mode, device = (self.shared["mode"] or {}).get("name", "inference"), self.shared["device"]["type"]
        seconds = recorded.eager_seconds(self.choices["suite"], device, mode)
        quick = [name for name in names if seconds.get(name, FAST_S) < FAST_S]
        kept = [name for name in quick if not self.policy(name).get("slow")]
        if not kept:
            found = {name: seconds[name] for name in names if name in seconds}
            chosen = f"{len(names)} chosen model{'s' if len(names) > 1 else ''} of suite {self.choices['suite']}"
            raise UsageError(_none_fast(chosen, f"on {device} in {mode}", found, slow=bool(quick)))
        return kept

    def policy(self, name: str) -> dict[str, Any]:
        """A model's policy: the backend's, its entries, `model/NAME.yaml`, then `policy.*`; without null keys."""
        backend = self.plain["backend"]
        usual = getattr(registry.locate(backend["_target_"]), "policy_defaults", {}) if backend else {}
        own = (f"model/{name}.yaml", self.plain["model"]["policy"])
        entries = [("policy_defaults of the backend", usual), *self.entries.get(name, ()), own]
        return policies.resolve(entries, self.plain["policy"], self._situation)

    def cell(self, name: str) -> Cell:
        """The model's cell before the experiment expands it."""
        policy = self.policy(name)
        asked = self.shared["batch_size"] or self._sizes.get(name)
        batch_size = asked or self._batch_size(policy)
        settled = {"batch_size_inference", "batch_size_training", *(["batch_divisor"] if batch_size else [])}
        policy = {key: value for key, value in policy.items() if key not in settled}
        config = policies.adapted(self.shared, policy, self.folders)
        full = {**config, "model": {"name": name}, "batch_size": batch_size, "policy": policy or None}
        cell = Cell(without_none(full))
        if asked and policy.get("fixed_batch_size"):
            return cell.skipped(f"{name} has a fixed batch size: leave batch_size=suite", Status.UNSUPPORTED)
        return cell

    def _batch_size(self, policy: Mapping[str, Any]) -> int | None:
        """The policy's own; None = the loader's, which divides it by `policy.batch_divisor`."""
        mode = (self.shared["mode"] or {}).get("name", "inference")
        own = policy.get(f"batch_size_{mode}")
        return own and max(1, own // policy.get("batch_divisor", 1))


def _selection(plain: Mapping[str, Any]) -> Selection:
    select = plain["select"]
    include = config.patterns("select.include", select["include"])
    exclude = config.patterns("select.exclude", select["exclude"])
    for pattern in (*include, *exclude):
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(f"select: '{pattern}' is not a regular expression: {error}") from error
    return Selection(plain["model"]["name"], include, exclude, select["no_skip"], config.shard(select["shard"]))


def _shared(plain: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, Any]:
    """The part of a cell's config that all models of this run have in common."""
    training = (plain["mode"] or {}).get("name") == "training"
    own = {group: choices[group] for group in CHOICES if plain.get(group) and choices.get(group)}
    if plain["backend"]:
        own["backend"] = getattr(registry.build(plain["backend"]), "label", own["backend"])
    if not training:
        own.pop("optimizer", None)
    varies = (plain["dynamic"] or {}).get("name") not in {None, "static"}  # static inputs leave no trace in a cell
    if not varies:
        own.pop("dynamic", None)
    parallel = _parallel(plain, choices)
    if not parallel:
        own.pop("parallel", None)
    return {
        "choices": own,
        "suite": {key: value for key, value in plain["suite"].items() if key != "policy_file"},
        "experiment": plain["experiment"],
        "backend": plain["backend"],
        "device": {**plain["device"], "type": detect.resolve(plain["device"]["type"])},
        "precision": plain["precision"],
        "mode": plain["mode"],
        "optimizer": plain["optimizer"] if training else None,
        "dynamic": plain["dynamic"] if varies else None,
        "parallel": parallel,
        "batch_size": config.batch_size(plain["batch_size"]),
        "measure": plain["measure"],
        "seed": plain["seed"],
    }


def _parallel(plain: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, Any] | None:
    """The node `parallel` with its number of processes; None for `single`, which leaves no trace in a cell."""
    node = plain["parallel"]
    if not node or choices.get("parallel") == "single":
        return None
    kind = detect.resolve(plain["device"]["type"])
    known = NPROC_WITHOUT_ACCELERATOR if kind == "cpu" else len(detect.visible(kind))
    nproc = node["nproc"] or max(1, known)
    if nproc > 1 and plain["isolation"] == "none":
        raise UsageError(
            f"isolation=none runs everything in one process and parallel={choices['parallel']} needs {nproc}: "
            "use isolation=fork or spawn, or parallel=single"
        )
    if plain["measure"]["clock"] == "device":
        raise UsageError(
            f"measure.clock=device reads each rank's own time and parallel={choices['parallel']} goes by the wall "
            "clock, on which the ranks agree: leave measure.clock out"
        )
    return {**node, "nproc": nproc}


def _settle(cell: Cell, known: bool, experiment: Experiment, selection: Selection) -> list[Cell]:
    """The cells that one model stands for, or the one row that says why it does not run."""
    if not known:
        return [cell.skipped(f"suite {cell.config['choices']['suite']} has no model {cell.name}")]
    policy = cell.config.get("policy", {})
    if policy.get("skip") and not selection.no_skip:
        return [cell.skipped(policy["skip"])]
    if cell.planned is not None:
        return [cell]
    try:
        return list(experiment.expand(cell))
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - a defect in an experiment costs its cell only
        traceback.print_exception(error)
        return [cell.skipped(f"the experiment's own code failed: {error}", Status.INTERNAL_ERROR)]


def _none_fast(chosen: str, where: str, seconds: Mapping[str, float], *, slow: bool) -> str:
    """Why `select.fast=true` leaves nothing."""
    if not seconds:
        return f"select.fast=true leaves nothing: no eager step of the {chosen} is recorded {where}"
    if slow:
        return f"select.fast=true leaves nothing: those of the {chosen} that are fast {where} are slow by their policy"
    name = min(seconds, key=lambda name: seconds[name])
    return (
        f"select.fast=true leaves nothing: of the {chosen}, {len(seconds)} are recorded {where}, "
        f"the fastest, {name}, with an eager step of {seconds[name]:.3g} s and not below {FAST_S} s"
    )


def _nothing_selected(selection: Selection, suite: str, known: list[str]) -> str:
    if catalog.is_pattern(selection.model) and not Selection(selection.model).models([], known):
        return f"model={selection.model} matches no model of suite {suite}; see them with model=all plan=true"
    return f"no cell selected: suite={suite} model={selection.model} {selection.words}; see all with plan=true"
