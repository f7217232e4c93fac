"""Which variations of its inputs make dynamo compile a model again, why, and what does that cost?"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from runner.cells import Cell
from runner.compiling.caches import fresh_caches, use_caches
from runner.compiling.stats import backed
from runner.errors import Unsupported
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.results.columns import Column, Phase, Row, Status

if TYPE_CHECKING:
    from runner.compiling.input_variations import Variation
    from runner.workload import Workload

#: What became of a variation.
OK, NOT_APPLICABLE, FAILED = "ok", "not_applicable", "failed"
#: Characters of an exception in the table.
LONGEST = 300
DTYPES = ("float64", "float32", "float16", "bfloat16")

COLUMNS = (
    Column("variations", int, "", "variations that were run; each has a row in variations.csv"),
    Column("recompiling", int, "", "those that made dynamo compile something again"),
    Column("recompilations", int, "", "times that a frame was compiled again"),
    Column("limit_hits", int, "", "times that dynamo refused to compile a frame once more"),
    Column("lost_s", float, "s", "time spent on compiling again"),
    Column("compile_s", float, "s", "time spent on compiling for the model's own inputs, caches empty"),
    Column("failed", int, "", "variations that eager runs and the backend does not"),
)
VARIATIONS = (
    Column("kind", str, "", "what varies; dynamo forgets everything between kinds"),
    Column("value", str, "", "how; the values of a kind are tried in this order after the model's own inputs"),
    Column("outcome", str, "", "ok, not_applicable (the model has no such thing, or eager refuses), failed"),
    Column("recompilations", int, "", "times that a frame was compiled again"),
    Column("limit_hits", int, "", "times that dynamo refused to compile a frame once more"),
    Column("seconds", float, "s", "time spent on that"),
    Column("reasons", str, "", "the guards that failed, or why it is not applicable or failed"),
)


@dataclass
class Recompiles(Experiment):
    """Compiles for the model's own inputs, and then calls it with each variation; one kind after the other."""

    columns = COLUMNS
    tables = {"variations": VARIATIONS}
    summary = ("variations", "recompiling", "recompilations", "limit_hits", "lost_s", "compile_s")

    batch_sizes: list[int] | None = None  # None: three quarters, half and a quarter of the model's own; []: none
    sequence_lengths: list[int] | None = None  # None: the same parts of the model's own; []: none
    dtypes: list[str] = field(default_factory=lambda: ["bfloat16"])
    requires_grad: bool = True
    training_flag: bool = True

    def __post_init__(self) -> None:
        for name in ("batch_sizes", "sequence_lengths"):
            if any(value < 1 for value in getattr(self, name) or ()):
                raise ValueError(f"experiment.{name}={getattr(self, name)}: give numbers above 0")
        unknown = sorted(set(self.dtypes) - set(DTYPES))
        if unknown:
            raise ValueError(f"experiment.dtypes: no dtype '{unknown[0]}', expected some of {', '.join(DTYPES)}")

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell itself; one without a backend compiles nothing."""
        return backed(cell, "experiment=recompiles compiles models")

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """One child with compiler caches of its own, so that what compiling takes depends on no earlier run."""
        with fresh_caches() as caches:
            outcome = yield Attempt(cell, {"caches": caches})
        return outcome.row

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """Each kind from a dynamo that knows nothing."""
        from runner.state import State

        state = State(workload)
        with context.phase(Phase.EAGER):
            workload.step(workload.model)
            state.restore()
        found: list[Row] = []
        use_caches(context.options["caches"])
        with context.phase(Phase.COMPILE):
            for _, group in groupby(self._variations(workload), key=lambda variation: variation.kind):
                compile_s, rows = self._kind(list(group), workload, context, state.restore)
                context.table("variations", rows)
                yield {} if found else {"compile_s": compile_s}  # later kinds find it in the compiler's caches
                found += rows
                yield totals(found)

    def _variations(self, workload: Workload) -> list[Variation]:
        from runner.compiling import input_variations as made
        from runner.dynamic import batch_sizes

        batches, lengths = self.batch_sizes, self.sequence_lengths
        length = made.length_of(workload)
        if batches is None:
            batches = list(batch_sizes(workload.batch_size or 1)[1:])
        if lengths is None:
            lengths = list(batch_sizes(length)[1:]) if length else []
        return [
            *map(made.batch_size, batches),
            *map(made.sequence_length, lengths),
            *map(made.dtype, self.dtypes),
            *([made.requires_grad()] if self.requires_grad else []),
            *([made.training_flag()] if self.training_flag else []),
        ]

    def _kind(
        self, group: Sequence[Variation], workload: Workload, context: Context, restore: Callable[[], None]
    ) -> tuple[float, list[Row]]:
        """Seconds for the model's own inputs, and a row for each variation."""
        import torch

        from runner.compiling.compilations import Compilations

        assert context.backend is not None
        torch._dynamo.reset()
        first = Compilations()
        candidate = context.backend.prepare(workload)
        workload.step(candidate)
        rows = []
        for variation in group:
            restore()
            rows.append({"kind": variation.kind, "value": variation.value, **_tried(variation, workload, candidate)})
        restore()
        return first.seconds() - sum(row.get("seconds") or 0.0 for row in rows), rows


def _tried(variation: Variation, workload: Workload, candidate: Callable[..., Any]) -> Row:
    """Columns of one variation: eager first, for what eager refuses says nothing about the backend."""
    from runner.compiling.compilations import Compilations

    try:
        with variation.made(workload) as varied:
            varied.step(varied.model)
    except Unsupported as error:
        return {"outcome": NOT_APPLICABLE, "reasons": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever a model says to inputs that it was not made for
        return {"outcome": NOT_APPLICABLE, "reasons": f"eager raised {_words(error)}"}
    compilations, failure = Compilations(), ""
    with variation.made(workload) as varied:
        try:
            varied.step(candidate)
        except Exception as error:  # noqa: BLE001 - the other variations have an answer of their own
            failure = _words(error)
    again = compilations.again()
    return {
        "outcome": FAILED if failure else OK,
        "recompilations": len([each for each in again if not each.limit_hit]),
        "limit_hits": len([each for each in again if each.limit_hit]),
        "seconds": compilations.seconds(),
        "reasons": failure or "\n".join(dict.fromkeys(each.reason for each in again)),
    }


def _words(error: Exception) -> str:
    """Type and message in one line of a size for a table."""
    return shorten(f"{type(error).__name__}: {error}", LONGEST)


def totals(rows: Sequence[Row]) -> Row:
    """Columns of the cell; its status is an error where the backend failed on something that eager does."""
    failed = [row for row in rows if row["outcome"] == FAILED]
    row: Row = {
        "variations": len([row for row in rows if row["outcome"] == OK]),
        "recompiling": len([row for row in rows if row.get("recompilations")]),
        "recompilations": sum(row.get("recompilations") or 0 for row in rows),
        "limit_hits": sum(row.get("limit_hits") or 0 for row in rows),
        "lost_s": sum(row.get("seconds") or 0.0 for row in rows),
        "failed": len(failed),
    }
    if failed:
        first = failed[0]
        words = f"with {first['kind']} {first['value']} the backend raised {first['reasons']}"
        row |= {"status": Status.RUN_ERROR.value, "phase": Phase.COMPILE.value, "error": words}
    return row
