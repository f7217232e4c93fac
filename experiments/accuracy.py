"""Is the backend right on this model? Two training or inference steps against eager and an fp64 reference."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import registry
from runner.cells import Cell
from runner.compiling.stats import Mark, explanation
from runner.determinism import ENVIRONMENT, as_asked
from runner.errors import UsageError
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.loaders import CheckDefaults
from runner.results import verdicts
from runner.results.columns import Column, Phase, Row, Status
from runner.results.tensors import TENSOR_COLUMNS, Comparison

if TYPE_CHECKING:
    from runner.check import Check
    from runner.verdict import Verdict
    from runner.workload import Workload

#: Outcomes that the minifier and the bisector look into.
BACKEND_FAILED = frozenset({Status.WRONG_OUTPUT, Status.COMPILE_ERROR, Status.RUN_ERROR})
#: What a dashboard counts as passed.
PASSED = (verdicts.PASS, "pass_due_to_skip")
#: Columns in which the rows of one pass rate agree.
CONFIGURATION = ("suite", "dev", "backend", "precision", "mode", "tag")
REPRO_FOLDER = "minified"
#: What the children that look into a failure find.
AID_COLUMNS = ("repro", "repro_fails", "bisected")
#: What two results must have in common to be compared bit by bit; the backend may differ.
SUBJECT = ("suite", "model", "device", "precision", "mode", "batch_size", "optimizer", "seed")

COLUMNS = (
    Column("tolerance", float, "", "absolute and relative tolerance of the comparison"),
    Column("rmse_eager", float, "", "of the worst tensor: root mean square distance of eager from the reference"),
    Column("rmse_backend", float, "", "of the worst tensor: the same distance of the backend"),
    Column("rmse_allowed", float, "", "of the worst tensor: largest rmse_backend that counts as right"),
    Column("cosine", float, "", "of the worst tensor: cosine similarity of backend and eager"),
    Column("eager_noise", float, "", "largest root mean square difference of a tensor between two eager runs"),
    Column("tensors", int, "", "tensors and other values that were compared"),
    Column("tensors_wrong", int, "", "those that differ; each has a row in tensors.csv"),
    Column("runs", int, "", "times that the backend compiled and ran"),
    Column("passes", int, "", "those that passed"),
    Column("eval_mode", bool, "", "whether the model was in eval mode, in training too"),
    Column("determinism", str, "", "settings for repeatable numbers that were in force, separated by ;"),
    Column("repro", str, "", "script of torch's minifier, relative to the run's folder"),
    Column("repro_fails", bool, "", "whether that script, run once, fails as the cell did"),
    Column("bisected", str, "", "what torch's bisector blames: backend:subsystem:application"),
)


class Kind(str, Enum):
    """What is asked of the backend."""

    close = "close"  # as near as tolerance, reference and eager's own noise ask
    bitwise = "bitwise"  # that, and the same bits in every run
    batch_invariant = "batch_invariant"  # the same bits for a sample in every batch size


@dataclass
class Accuracy(Experiment):
    """Every run starts from the same weights, inputs and random numbers, and takes `iterations` steps."""

    columns = COLUMNS
    tables = {"tensors": (Column("run", int, "", "which run of the backend, from 1"), *TENSOR_COLUMNS)}
    summary = ("accuracy", "reference", "tolerance", "max_abs_err", "max_rel_err", "worst_tensor")

    check: Kind = Kind.close
    iterations: int = 2
    eager_repeats: int = 2  # eager runs; from two on, the model's own noise is known
    runs: int | None = None  # compile and run so often; the majority counts. check=bitwise: all must agree. None: 1
    deterministic: bool = True
    eval_mode: bool | None = None  # None: as the suite has it
    save_outputs: str | None = None  # folder for what the backend gave
    compare_outputs_with: str | None = None  # such a folder; every bit must agree
    minify: bool = False  # a small script for a failing cell, by torch's minifier
    minify_s: float = 120.0  # what it may take; the smallest script until then counts
    bisect: bool = False  # the part of the compiler that makes a cell fail
    explain: bool = False  # dynamo's summary line in the log

    def __post_init__(self) -> None:
        for name in ("iterations", "eager_repeats", "runs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"experiment.{name}={value}: give a number above 0")

    @classmethod
    def conclude(cls, rows: Sequence[Row], missing: int) -> Iterable[str]:
        """The pass rate of each configuration; of several, cells without a row belong to none that is known."""
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            groups.setdefault(tuple(str(row.get(key) or "") for key in CONFIGURATION), []).append(row)
        for words, group in groups.items():
            where = f" ({' '.join(filter(None, words))})" if len(groups) > 1 else ""
            yield pass_rate(group, missing if len(groups) == 1 else 0, where)
        if missing and len(groups) > 1:
            yield f"{missing} more cell{'s' if missing > 1 else ''} without a row, in none of these pass rates"

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell with the suite's batch size for a check, where neither the command nor the policy names one."""
        invariance = self.check is Kind.batch_invariant
        if invariance and (cell.config.get("mode") or {}).get("name") == "training":
            raise UsageError("experiment.check=batch_invariant compares outputs of inference: use mode=inference")
        defaults = defaults_of(cell)
        batch_size = defaults.invariance_batch_size if invariance else defaults.batch_size
        fixed = cell.config.get("policy", {}).get("fixed_batch_size")
        if batch_size and not fixed and not cell.config.get("batch_size"):
            cell = replace(cell, config={**cell.config, "batch_size": batch_size})
        return (cell,)

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """One child; for a cell that failed one more each for the minifier and the bisector."""
        env = ENVIRONMENT if self.deterministic else {}
        outcome = yield Attempt(cell, self._folders(), env)
        row = outcome.row
        for aid in ("minify", "bisect"):
            if getattr(self, aid) and outcome.status in BACKEND_FAILED:
                found = yield Attempt(cell, {"aid": aid, "wrong": outcome.status is Status.WRONG_OUTPUT}, env)
                row |= {name: found.values[name] for name in AID_COLUMNS if name in found.values}
                ended = "" if found.status is Status.OK else f"{aid}_{found.status.value}"
                words = ";".join(filter(None, [row.get("flags"), found.values.get("flags"), ended])).split(";")
                row["flags"] = ";".join(dict.fromkeys(words))
        return row

    def _folders(self) -> dict[str, str]:
        """Paths as seen from where the command was given."""
        given = {"save": self.save_outputs, "compare": self.compare_outputs_with}
        return {key: str(Path(path).absolute()) for key, path in given.items() if path}

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """What one of the cell's children is for."""
        with ExitStack() as stack:
            applied = stack.enter_context(as_asked(workload, context.seed, wanted=self.deterministic))
            self._set_mode(workload, context.cell)
            yield {"eval_mode": not getattr(workload.model, "training", False), "determinism": applied.words}
            steps = {"minify": self._minify, "bisect": self._bisect}.get(context.options.get("aid", ""), self._check)
            yield from steps(workload, context)
        context.note_flags(*applied.flags)

    def _set_mode(self, workload: Workload, cell: Cell) -> None:
        import torch

        known = (self.eval_mode, workload.policy.eval_mode, defaults_of(cell).eval_mode)
        wanted = next(value for value in known if value is not None)
        if wanted and isinstance(workload.model, torch.nn.Module):
            workload.model.eval()

    def _check(self, workload: Workload, context: Context) -> Iterator[Row]:
        if self.check is Kind.batch_invariant:
            yield from self._invariance(workload, context)
            return
        with self._opened(workload, context) as opened:
            with context.phase(Phase.EAGER):
                verdict = opened.baseline()
            runs = []
            if verdict is None:
                mark = Mark.now()
                runs = self._runs(opened, context)
                if self.explain:
                    print(explanation(mark.statistics_since()))
                verdict = majority(runs)
            context.note_flags(*verdict.flags)
            yield {**verdict.row(), **magnitudes(verdict), "eager_noise": opened.noise}
            yield {"runs": len(runs), "passes": sum(v.ok for v in runs)} if runs else {}
            if verdict.ok and verdict.result is not None:
                with context.phase(Phase.CHECK):
                    yield self._bits(runs, context)

    def _opened(self, workload: Workload, context: Context) -> Check:
        from runner.check import Check, CheckSettings

        free = context.device.free_memory_bytes()
        return Check(workload, CheckSettings(context.seed, self.iterations, self.eager_repeats, free_bytes=free))

    def _runs(self, opened: Check, context: Context) -> list[Verdict]:
        """Verdicts of all runs; a run that raises is the last one."""
        from runner.recheck import compiled_anew

        found: list[Verdict] = []
        candidate: Callable[..., Any] | None = None
        times = self.runs or opened.workload.policy.check_runs or 1
        for _ in range(max(times, 2) if self.check is Kind.bitwise else times):
            if candidate is None or self.check is not Kind.bitwise:
                candidate, failure = compiled_anew(opened, context)
                if failure is not None:
                    return [*found, failure]
            with context.phase(Phase.CHECK):
                verdict = opened.judge(candidate)
            keep = not found or self.check is Kind.bitwise
            found.append(verdict if keep else replace(verdict, result=None))
            context.table("tensors", tensor_rows(found[-1].comparison, len(found)))
            if found[-1].status not in (Status.OK, Status.WRONG_OUTPUT, Status.CHECK_ERROR):
                break
        return found

    def _bits(self, runs: list[Verdict], context: Context) -> Row:
        """Comparison bit by bit between the runs, and with a file; the outputs are saved."""
        from runner import saved_outputs
        from runner.verdict import Verdict

        assert runs[0].result is not None
        path = saved_outputs.file_of(Path(), context.cell.name, self._subject(context))
        others = [saved_outputs.portable(v.result) for v in runs[1:] if v.result] if self.check is Kind.bitwise else []
        if "compare" in context.options:
            others.append(saved_outputs.load(context.options["compare"] / path))
        first = saved_outputs.portable(runs[0].result)
        if "save" in context.options:
            saved_outputs.save(runs[0].result, context.options["save"] / path)
        for i, other in enumerate(others):
            comparison = saved_outputs.bitwise(other, first)
            context.table("tensors", tensor_rows(comparison, i + 2))
            if not comparison.ok:
                reference, tolerance = runs[0].reference, runs[0].tolerance
                wrong = Verdict("not_bitwise_equivalent", comparison.reason, reference, tolerance, comparison)
                return {**wrong.row(), **magnitudes(replace(wrong, worst=comparison.worst))}
        return {}

    def _subject(self, context: Context) -> dict[str, str]:
        config = context.cell.config
        own = {"iterations": self.iterations, "eval_mode": self.eval_mode, "deterministic": self.deterministic}
        return {key: repr(value) for key, value in ({k: config.get(k) for k in SUBJECT} | own).items()}

    def _invariance(self, workload: Workload, context: Context) -> Iterator[Row]:
        from runner.batch_invariance import invariance

        assert context.backend is not None
        with context.phase(Phase.COMPILE):
            found = invariance(workload, context.backend.prepare, context.seed)
        context.table("tensors", tensor_rows(found.comparison, 1))
        yield found.row()

    def _minify(self, workload: Workload, context: Context) -> Iterator[Row]:
        """The script, and whether it fails too; in the phase check, whose limit bounds the minifier."""
        from runner import minify
        from runner.check import default_tolerance

        assert context.backend is not None
        prepare, wrong = context.backend.prepare, context.options["wrong"]
        folder = context.artifact(REPRO_FOLDER)
        with context.phase(Phase.CHECK):
            tolerance = default_tolerance(workload)
            action = lambda: workload.step(prepare(workload))  # noqa: E731
            if not minify.minify(action, folder, tolerance, self.minify_s, wrong=wrong):
                context.note_flags("nothing_to_minify")
                return
            yield {"repro": str((folder / minify.SCRIPT).relative_to(context.artifacts.parent.parent))}
            yield {"repro_fails": minify.reproduces(folder, self.minify_s, wrong=wrong)}

    def _bisect(self, workload: Workload, context: Context) -> Iterator[Row]:
        """In the phase compile, for that is what takes the time."""
        from runner.bisection import bisect

        backend = context.backend
        assert backend is not None
        with context.phase(Phase.COMPILE), self._opened(workload, context) as opened:
            if opened.baseline() is None:
                yield {"bisected": bisect(lambda: opened.judge(backend.prepare(workload)).ok)}


def defaults_of(cell: Cell) -> CheckDefaults:
    """What the cell's suite says about checks of its models."""
    suite = registry.locate(cell.config["suite"]["_target_"])
    defaults: CheckDefaults = getattr(suite, "check_defaults", CheckDefaults())
    return defaults


def majority(runs: Sequence[Verdict]) -> Verdict:
    """The verdict that most runs share in being right or not; one that raised counts as all."""
    failed = [v for v in runs if not v.ok]
    passed = [v for v in runs if v.ok]
    raised = [v for v in failed if v.status in (Status.COMPILE_ERROR, Status.RUN_ERROR, Status.OOM)]
    return (raised or (passed if len(passed) > len(runs) // 2 else failed))[0]


def magnitudes(verdict: Verdict) -> Row:
    """Columns of the worst tensor, and the counts."""
    worst, comparison = verdict.worst, verdict.comparison
    names = ("rmse_eager", "rmse_backend", "rmse_allowed", "cosine")
    row: Row = {name: getattr(worst, name) for name in names} if worst else {}
    counts = {"tensors": len(comparison.tensors), "tensors_wrong": len(comparison.failures)}
    return {"tolerance": verdict.tolerance, **row, **(counts if comparison.tensors else {})}


def tensor_rows(comparison: Comparison, run: int) -> list[Row]:
    """Rows of tensors.csv: those that differ."""
    return [{"run": run, **row} for row in comparison.rows(failures_only=True)]


def pass_rate(rows: Sequence[Row], missing: int, where: str) -> str:
    """`pass rate: 95.0 % (19 of 20 cells: ...)`, of all cells that were asked for, whatever became of them."""
    words = Counter(re.sub(r"\d+$", "N", row.get("accuracy") or row["status"]) for row in rows)
    words.update({"no row": missing} if missing else {})
    total = words.total()
    passed = sum(words[word] for word in PASSED)
    noisy = words[verdicts.PASS_WITHIN_EAGER_NOISE]
    more = f"; with {verdicts.PASS_WITHIN_EAGER_NOISE} {100 * (passed + noisy) / total:.1f} %" if noisy else ""
    found = ", ".join(f"{n} {word}" for word, n in words.most_common())
    return f"pass rate{where}: {100 * passed / total:.1f} % ({passed} of {total} cells{more}): {found}"
