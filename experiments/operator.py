"""How much faster does a backend run single operators, on the inputs that models call them with?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import registry
from runner.against import EAGER, against_columns, further
from runner.cells import Cell, without_none
from runner.errors import Unsupported, UsageError
from runner.experiment import Context, Experiment
from runner.operators import catalogue
from runner.operators.catalogue import Choose, Recorded
from runner.operators.report import COLUMNS, SAMPLES, conclusion, row_columns, row_of
from runner.results.columns import Phase, Row

if TYPE_CHECKING:
    from runner.workload import Workload

PRECISIONS = ("fp64", "fp32", "fp16", "bf16")
POLICY = ("channels_last", "tolerance")


@dataclass
class Operator(Experiment):
    """A cell per operator of a log: eager against the backend for its input sets, forward and backward."""

    columns = COLUMNS
    tables = {"operator_samples": SAMPLES}
    summary = ("speedup_p20", "speedup", "speedup_p80", "weighted_p50", "samples", "share_pct", "backend_roofline")
    share_child = True
    needs_model = False
    one_process = True

    op: str = "all"  # all, an overload (aten.add.Tensor), a packet (aten.add), or a pattern (aten.*norm*)
    max_samples: int = 15  # input sets that are measured of each operator
    start_idx: int = 0  # input sets that are passed over, of the most frequent first
    choose: Choose = Choose.frequent  # the most frequent ones, or evenly over all of them
    recorded: Recorded = Recorded.both  # logs of which mode
    input_file: str | None = None  # a log of one's own instead of the suite's
    guards: bool = False  # time dynamo's look-up too, not only the code that it compiled
    against: list[str] = field(default_factory=lambda: [EAGER])  # eager, then further backends to compare with

    def __post_init__(self) -> None:
        for name, least in (("max_samples", 1), ("start_idx", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"experiment.{name} is {getattr(self, name)}: it must be at least {least}")
        self._others = further(self.against)
        self.columns = (*COLUMNS, *(column for name in self._others for column in row_columns(name)))
        self.tables = {
            "operator_samples": (*SAMPLES, *(column for name in self._others for column in against_columns(name)))
        }

    @classmethod
    def conclude(cls, rows: Sequence[Row], missing: int) -> Iterable[str]:  # noqa: ARG003 - they are counted already
        """The share of input sets that was measured, why the others were not, and the extremes."""
        return conclusion(rows)

    def gather(self, cells: Sequence[Cell], plain: Mapping[str, Any]) -> Iterable[Cell]:
        """One cell per operator of the selected models' logs, in the place of the models' cells."""
        _refuse(plain)
        models = plain["model"]["name"]
        if all(cell.planned for cell in cells) and "has no model" in str(cells and cells[0].planned):
            return cells
        if self.input_file is not None and models != "all":
            raise UsageError("experiment.input_file is one log, of no model in particular: leave model=all")
        file = None if self.input_file is None else str(Path(self.input_file).absolute())
        found = self._texts(cells[0].config["choices"]["suite"], models, file)
        if file is None:
            _refuse_fields(plain["suite"])
        names = catalogue.matching(self.op, catalogue.operators(found))
        shared = self._shared(cells[0], file, plain)
        return [_cell(shared, name, models, catalogue.digest(found, name)) for name in names]

    def _texts(self, suite: str, models: str, file: str | None) -> tuple[tuple[str, str], ...]:
        found = catalogue.texts(suite, models, self.recorded, file)
        if not found:
            raise UsageError(
                f"the operator log of suite {suite} holds nothing of model={models} with "
                f"experiment.recorded={self.recorded.value}: record it with experiment=record_operators"
            )
        return found

    def _shared(self, model: Cell, file: str | None, plain: Mapping[str, Any]) -> Cell:
        """What the operators' cells have in common: of a model's cell nothing that is the model's own."""
        given = {key: plain["policy"].get(key) for key in POLICY}
        config = {
            **model.config,
            "policy": given if any(value is not None for value in given.values()) else None,
            "backend": plain["backend"],
            "precision": plain["precision"],
            "choices": {**model.config["choices"], "precision": plain["precision"]["name"]},
            # Eager alone is what every operator is compared with: it is no part of a cell's identity.
            "experiment": {
                **plain["experiment"],
                "input_file": file,
                "against": self.against if self._others else None,
            },
        }
        config.pop("batch_size", None)
        return replace(model, config=without_none(config), planned=None)

    def run(self, workload: Workload | None, context: Context) -> Iterable[Row]:  # noqa: ARG002 - there is none
        """Compile and check all samples, then time them one after the other."""
        from runner.operators.inputs import resolve
        from runner.operators.session import Session

        config = context.cell.config
        found = catalogue.texts(config["choices"]["suite"], config["model"]["asked"], self.recorded, self.input_file)
        entries = catalogue.input_sets(found, context.cell.name)
        places = catalogue.chosen(len(entries), self.start_idx, self.max_samples, self.choose)
        yield {"source": "operator log", "recorded": len(entries), "selected": len(places)}
        if not places:
            raise Unsupported(self._nothing(context.cell.name, len(entries)))
        with context.phase(Phase.LOAD):
            operator = resolve(context.cell.name)
        session = Session(context, operator, self.guards, self._others)
        session.prepare([entries[place] for place in places])
        session.measure()
        yield row_of(session.samples, len(places), session.facts(), self._others)

    def _nothing(self, operator: str, recorded: int) -> str:
        """Why no input set of the operator is measured."""
        if recorded:
            told = f"experiment.start_idx={self.start_idx} leaves no input set of {operator}"
            return f"{told}: the log has {recorded}, give a smaller number"
        return f"the log names {operator} and has no input set of it: record some with experiment=record_operators"


def _cell(shared: Cell, name: str, asked: str, digest: str) -> Cell:
    config = {**shared.config, "model": {"name": name, "asked": asked, "log": digest}}
    return Cell(config).with_field("experiment", op=name)


def _refuse(plain: Mapping[str, Any]) -> None:
    """Raise UsageError for keys of a run that mean nothing for operators."""
    sizes = {"batch_size": plain["batch_size"] != "suite", "select.batch_size_file": plain["select"]["batch_size_file"]}
    for key in (key for key, said in sizes.items() if said):
        raise UsageError(f"experiment=operator takes no {key}: the inputs have the sizes that were recorded")
    if plain["precision"]["name"] not in PRECISIONS:
        raise UsageError(
            f"experiment=operator takes no precision={plain['precision']['name']}: what autocast calls is recorded in "
            f"the log; there are {', '.join(PRECISIONS)}"
        )
    for key in (key for key in ("include", "exclude", "fast", "no_skip") if plain["select"][key]):
        why = "takes the models' logs together: choose them by model="
        raise UsageError(f"experiment=operator {why}, not select.{key}")
    strange = sorted(key for key, value in plain["policy"].items() if value not in (None, {}) and key not in POLICY)
    known = ", ".join(f"policy.{key}" for key in POLICY)
    if strange:
        raise UsageError(f"experiment=operator takes no policy.{strange[0]}; there are {known}")
    if plain["suite"].get("policy_file"):
        raise UsageError(f"experiment=operator takes no suite.policy_file: an operator is no model; there are {known}")


def _refuse_fields(suite: Mapping[str, Any]) -> None:
    """Raise UsageError for a field of the suite: its log was recorded of the models as they are without.

    A default that is made (`suite.checkout` is that of a variable) may differ without anyone's asking for it.
    """
    loader = registry.build(suite)
    usual = {one.name: one.default for one in fields(loader) if one.default is not MISSING}
    for key in (key for key, value in usual.items() if getattr(loader, key) != value):
        raise UsageError(
            f"experiment=operator takes no suite.{key}: the suite's log was recorded without; record one with "
            f"experiment=record_operators suite.{key}={suite[key]} and give experiment.input_file=FILE"
        )
