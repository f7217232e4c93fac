"""The Hydra entry point: configuration -> cells -> children -> rows -> summary and exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from runner import guard, planning
from runner.cells import Cell
from runner.environment import describe
from runner.errors import UsageError
from runner.execute import Execution
from runner.report.plan import print_plan
from runner.report.progress import Progress
from runner.report.terminal import print_summary, shown_columns
from runner.results.columns import header
from runner.results.command import reproduce
from runner.results.files import RunFiles
from runner.results.reader import read_run, run_folders
from runner.results.run import RunRecord
from runner.results.status import exit_code
from runner.results.writer import WriteError
from runner.resume import open_run
from runner.worker.limits import Limits
from runner.worker.signals import Interrupted
from runner.worker.supervise import Supervisor


def task(cfg: DictConfig) -> None:
    """One run, or one job of a sweep. Raises nothing but the SystemExit of an interruption: Hydra would end the sweep."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    try:
        _run(cfg, directory)
    except (UsageError, WriteError) as error:
        guard.refuse(directory, error)
    except Interrupted as stop:
        raise SystemExit(stop.exit_code) from None


def _run(cfg: DictConfig, directory: Path) -> None:
    hydra = HydraConfig.get()
    sources = [Path(s.path) for s in hydra.runtime.config_sources if s.schema == "file"]
    plan = planning.make(cfg, hydra.runtime.choices, sources)
    if cfg.plan:
        print_plan(plan.cells, sys.stdout)
        return
    sweep = Path(hydra.sweep.dir).absolute() if hydra.mode is RunMode.MULTIRUN else None
    environment = describe(plan.cells[0].config)
    record = RunRecord(
        experiment=hydra.runtime.choices["experiment"],
        cells={cell.cell_id: cell.config for cell in plan.cells},
        columns=header(plan.experiment.columns),
        command=tuple(guard.argv),
        overrides=tuple(hydra.overrides.task),
        planned={cell.cell_id: cell.planned for cell in plan.cells if cell.planned},
        tables=plan.experiment.tables,
        summary=plan.experiment.summary,
        environment=environment.facts,
        env_id=environment.env_id,
        job=hydra.job.num if sweep else None,
    )
    todo = open_run(directory, record, cfg.resume and cfg.resume.name, cfg.other_env, cfg.strict)
    files = RunFiles(directory, record, sweep)
    files.forget(todo)
    limits: Limits = OmegaConf.to_object(cfg.limits)
    common = {**environment.columns, "tag": cfg.tag, "isolation": cfg.isolation.name, "env_id": record.env_id}
    command = partial(_command, record.overrides, hydra.runtime.config_sources, plan.asked)
    with (
        Progress(len(todo), sys.stderr, shown_columns(record)) as progress,
        Supervisor(cfg.isolation.name) as supervisor,
    ):
        execution = Execution(plan.experiment, files, limits, supervisor, progress, common, command)
        execution.run([cell for cell in plan.cells if cell.cell_id in set(todo)])


def _command(overrides: tuple[str, ...], sources: Any, asked: Mapping[str, Any], cell: Cell) -> str:
    """The command line of one cell: the job's overrides, the model, and what `expand` decided."""
    decided = {k: v for k, v in cell.config["experiment"].items() if asked.get(k) != v}
    changes = {"model": cell.name, **{f"experiment.{k}": str(v) for k, v in decided.items()}}
    own = [s.path for s in sources if s.provider == "command-line"]
    return reproduce(overrides, changes, [word for path in own for word in ("--config-dir", path)])


def finish(interrupted: int | None = None) -> int:
    """Print the summary of what this process launched, and give its exit code, from the rows on disk."""
    if guard.launched is None or guard.plan:
        return interrupted or 0
    if not any(run_folders(guard.launched)):
        return interrupted or guard.code_without_runs(guard.launched)
    results = read_run(guard.launched)
    print_summary(results, sys.stdout)
    code = exit_code(results.rows, len(results.missing), guard.strict)
    return interrupted or max(code, guard.refused)
