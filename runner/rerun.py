"""`python -m runner rerun RUN`: cells of an earlier run once more, exactly as run.json has them, and a comparison."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError

if TYPE_CHECKING:
    from runner.cells import Cell
    from runner.compare.judge import Comparison
    from runner.compare.sides import Entry
    from runner.results.reader import Run
    from runner.results.run import RunRecord

EPILOG = """\
Exit code: 0 reproduced within the interval, 3 not reproduced, 2 bad usage, 1 a cell failed, or has other numbers of a
kind that is not compared.
"""
#: Nodes of a cell's configuration that name their class.
BUILT = ("suite", "experiment", "backend", "optimizer", "parallel")


def main(argv: Sequence[str]) -> int:
    """Run the cells again and compare; returns the exit code."""
    try:
        return rerun(parser().parse_args(argv))
    except KeyboardInterrupt as stop:  # Python's own has no exit code: it comes where no cell runs
        code: int = getattr(stop, "exit_code", 130)
        return code


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m runner rerun",
        description="Run cells of RUN again, as its run.json has them, and compare the results with the old ones.",
        epilog=EPILOG,
    )
    made.add_argument("run", type=Path, help="folder of a run, or of a sweep when --cell is given")
    made.add_argument("--cell", metavar="ID", help="cell_id of the one cell to run; default: all of the run's")
    made.add_argument("--output", type=Path, metavar="DIR", help="new folder for the results; default: in outputs/")
    return made


def rerun(given: argparse.Namespace) -> int:
    """What the arguments ask for; returns the exit code."""
    from runner.results.writer import WriteError

    try:
        old = find(given.run.absolute(), given.cell)
        directory = _execute(old, given.output or _fresh())
        comparison = _compare(old, directory)
    except (UsageError, WriteError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return verdict(comparison)


def find(directory: Path, cell_id: str | None) -> Run:
    """The run that is meant, reduced to the cell that is meant. Raises UsageError."""
    from runner.results.reader import read_run

    if not directory.is_dir():
        raise UsageError(f"{directory}: there is no such folder")
    runs = read_run(directory).runs
    if cell_id is None:
        if len(runs) > 1:
            raise UsageError(f"{directory} holds {len(runs)} runs: name one of their folders, or a --cell")
        return runs[0]
    holding = [run for run in runs if cell_id in run.record.cells]
    if len(holding) != 1:
        known = ", ".join(list(runs[0].record.cells)[:5])
        raise UsageError(
            f"cell {cell_id} is in {len(holding)} of the runs in {directory}: "
            + ("name the folder of one of them" if holding else f"take one of the column cell_id, such as {known}")
        )
    run = holding[0]
    record = replace(run.record, cells={cell_id: run.record.cells[cell_id]})
    return replace(run, record=record, rows=tuple(row for row in run.rows if row["cell_id"] == cell_id))


def cells_of(record: RunRecord) -> list[Cell]:
    """The cells, checked against the schemas of this version. Raises UsageError for what doesn't fit them."""
    from runner import registry
    from runner.cells import Cell
    from runner.measure.settings import Measure
    from runner.workload import Policy

    cells = [Cell(config, record.planned.get(cell_id)) for cell_id, config in record.cells.items()]
    for cell, cell_id in zip(cells, record.cells, strict=True):
        if cell.cell_id != cell_id:
            raise UsageError(f"cell {cell_id} of run.json is not what was run: its configuration now is {cell.cell_id}")
        for node in (cell.config[name] for name in BUILT if cell.config.get(name)):
            registry.build(node)
        registry.build_as(Measure, cell.config["measure"])
        registry.build_as(Policy, cell.config.get("policy") or {})
    return cells


def _execute(old: Run, output: Path) -> Path:
    """Run the cells of `old` into a new folder, which is returned."""
    from runner import registry
    from runner.environment import describe
    from runner.execute import Execution
    from runner.report.progress import Progress
    from runner.report.terminal import shown_columns
    from runner.results.files import RunFiles
    from runner.results.run import claimed
    from runner.worker.supervise import Supervisor

    directory = output.absolute()
    cells = cells_of(old.record)
    _enter(Path(old.record.cwd))
    environment = describe(cells[0].config)
    command = ("rerun", os.fspath(old.directory), *(["--cell", *old.record.cells] if len(cells) == 1 else []))
    record = replace(old.record, command=command, job=None, cwd="", started="")
    record = replace(record, environment=environment.facts, env_id=environment.env_id).write(directory)
    before = {row["cell_id"]: row for row in old.rows}
    first = next(iter(old.rows), {})
    isolation = first.get("isolation") or "fork"
    common = {**environment.columns, "tag": first.get("tag"), "isolation": isolation, "env_id": record.env_id}
    files = RunFiles(directory, record)
    with (
        claimed(directory),
        Progress(len(cells), sys.stderr, shown_columns(record)) as progress,
        Supervisor(isolation) as supervisor,
    ):
        for node, members in by_experiment(cells):
            Execution(
                experiment=registry.build(node),
                files=files,
                limits=limits_of(old.record.overrides),
                supervisor=supervisor,
                progress=progress,
                common=common,
                command=lambda cell: str(before.get(cell.cell_id, {}).get("command") or ""),
            ).run(members)
    return directory


def by_experiment(cells: Sequence[Cell]) -> list[tuple[Mapping[str, Any], list[Cell]]]:
    """The cells by the configuration of their experiment: `expand` may have given each its own."""
    groups: list[tuple[Mapping[str, Any], list[Cell]]] = []
    for cell in cells:
        node = cell.config["experiment"]
        members = next((members for known, members in groups if known == node), None)
        if members is None:
            groups.append((node, [cell]))
        else:
            members.append(cell)
    return groups


def limits_of(overrides: Sequence[str]) -> Any:
    """The limits that the run was given: they are no part of a cell, and its overrides say them one by one."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from runner import registry
    from runner.worker.limits import Limits

    names = {f"limits.{field.name}" for field in fields(Limits)}
    words = [word for word in overrides if word.partition("=")[0] in names]
    parsed = OverridesParser.create().parse_overrides(words)
    return registry.build_as(Limits, {o.key_or_group.removeprefix("limits."): o.value() for o in parsed})


def verdict(comparison: Comparison) -> int:
    """3 where something is not as it was, 1 where a cell failed and did so before or can't be judged, else 0."""
    from runner.compare.judge import Verdict, untold

    moved = {Verdict.REGRESSED, Verdict.IMPROVED}
    news = [finding.pair.new for finding in comparison.findings]
    failed = any(new is None or new.failed for new in news)
    differs = any(
        f.verdict in moved or (f.verdict is Verdict.STATUS_CHANGED and f.pair.new and not f.pair.new.failed)
        for f in comparison.findings
    )
    unknown = any(map(untold, comparison.findings))
    told = "same status; its numbers are not compared" if unknown else "reproduced within the interval"
    print(f"rerun: {'not reproduced' if differs else 'a cell failed' if failed else told}")
    return 3 if differs else int(failed or unknown)


def _compare(old: Run, directory: Path) -> Comparison:
    from runner.compare import likeness, render
    from runner.compare.join import Pair
    from runner.compare.judge import Settings, judge, speedup_of
    from runner.compare.sides import side_of
    from runner.results.reader import read_one

    by_id: dict[str, list[Entry | None]] = {cell_id: [None, None] for cell_id in old.record.cells}
    for place, run in enumerate((old, read_one(directory))):
        for entry in side_of(run.directory, [run]).entries if run.rows else ():
            by_id[entry.row["cell_id"]][place] = entry
    pairs = [Pair(before, now, {}) for before, now in by_id.values()]
    comparison = judge(pairs, Settings(margin_alone=True), speedup_of)
    render.to_terminal(comparison, likeness.differences(pairs), sys.stdout)
    print(f"results in {directory}")
    return comparison


def _enter(cwd: Path) -> None:
    """Go where the run was started: its configuration may name files by relative paths."""
    if cwd.is_dir():
        os.chdir(cwd)
    else:
        print(f"the run was started in {cwd}, which is gone: relative paths are read from here", file=sys.stderr)


def _fresh() -> Path:
    from datetime import datetime

    return Path("outputs") / f"{datetime.now().astimezone():rerun-%Y-%m-%d-%H-%M-%S}"
