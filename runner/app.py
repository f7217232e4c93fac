"""The Hydra entry point: configuration -> cells -> children -> rows -> summary and exit code."""

from __future__ import annotations

import atexit
import functools
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from runner import arguments, ask_torch, guard, planning, prewarm
from runner.cells import CHOICES, Cell
from runner.compiling.caches import fresh_caches
from runner.environment import Environment, describe
from runner.errors import UsageError
from runner.execute import Execution
from runner.parallel import RANKS
from runner.planning import Plan
from runner.prewarm import Prewarmed
from runner.report.plan import earlier_seconds, print_plan
from runner.report.progress import Progress
from runner.report.terminal import print_summary, shown_columns
from runner.results.columns import header
from runner.results.command import key, reproduce
from runner.results.files import RunFiles
from runner.results.reader import read_run, run_folders
from runner.results.run import RunRecord, claimed
from runner.results.status import exit_code
from runner.results.writer import WriteError
from runner.resume import left_pending, open_run
from runner.worker.servers import Servers
from runner.worker.signals import Interrupted
from runner.worker.supervise import Supervisor, make_servers


def task(cfg: DictConfig) -> None:
    """One run, or one job of a sweep. Only an interruption leaves it, by SystemExit: all else would end the sweep.

    In a launcher's process not even that: the process that waits for the jobs couldn't tell it from a crash.
    """
    directory = Path(HydraConfig.get().runtime.output_dir)
    sweep = _sweep()
    guard.admit(directory)
    try:
        _run(cfg, directory, sweep)
    except (UsageError, WriteError) as error:
        guard.refuse(error, directory if sweep else None)
    except Interrupted as stop:
        if guard.launched is not None:
            raise SystemExit(stop.exit_code) from None
    except Exception as error:  # noqa: BLE001 - a defect of ours; in a sweep the other jobs go on
        traceback.print_exc()
        guard.refuse(error, directory if sweep else None)


def _sweep() -> Path | None:
    """Folder of the sweep that this is a job of."""
    hydra = HydraConfig.get()
    return Path(hydra.sweep.dir).absolute() if hydra.mode is RunMode.MULTIRUN else None


def _run(cfg: DictConfig, directory: Path, sweep: Path | None) -> None:
    hydra = HydraConfig.get()
    sources = [Path(s.path) for s in hydra.runtime.config_sources if s.schema == "file"]
    plan = planning.make(cfg, hydra.runtime.choices, sources, _number(hydra) if sweep else None)
    prewarm.refuse(cfg, plan.experiment, hydra.overrides.task)
    ask_torch.refuse_wrong_settings(plan.cells)
    if not plan.cells:
        guard.pass_over(directory, cfg.select.shard)
    elif cfg.plan:
        print_plan(plan.cells, sys.stdout, earlier_seconds(sweep or directory), plan.limits.cell_s)
    else:
        with claimed(directory):
            _execute(cfg, plan, directory, sweep)


def _number(hydra: Any) -> int:
    """The job's number, from which its cells are dealt out to shards: the same in all shards, if they are jobs too."""
    return 0 if arguments.sweeps(guard.argv, "select.shard") else int(hydra.job.num)


def _execute(cfg: DictConfig, plan: Plan, directory: Path, sweep: Path | None) -> None:
    environment = describe(plan.cells[0].config)
    record = _record(plan, environment, HydraConfig.get(), sweep is not None)
    # In a launcher's process a used folder is that of the same job, which a batch system has started again.
    which = cfg.resume.name if cfg.resume else None if guard.launched else "missing"
    todo = open_run(directory, record, which, cfg.other_env, cfg.strict)
    files = RunFiles(directory, record, sweep)
    files.forget(todo)
    for row in left_pending(directory) if which else ():
        files.append(row)
    common = {**environment.columns, "tag": cfg.tag, "isolation": cfg.isolation.name, "env_id": record.env_id}
    command = partial(_command, record.overrides, HydraConfig.get().runtime.config_sources, plan)
    with (
        Progress(len(todo), sys.stderr, shown_columns(record), live=guard.launched is not None) as progress,
        Supervisor(cfg.isolation.name, _servers(cfg.isolation.name) if sweep else None) as supervisor,
        fresh_caches() as caches,
    ):
        chosen = [cell for cell in plan.cells if cell.cell_id in set(todo)]
        prewarmed = Prewarmed(caches)
        execution = Execution(plan.experiment, files, plan.limits, supervisor, progress, common, command, prewarmed)
        execution.run(chosen, cfg.prewarm)


@functools.cache
def _servers(isolation: str) -> Servers:
    """Kept from job to job of a sweep: to import torch takes longer than many a cell."""
    servers = make_servers(isolation)
    atexit.register(servers.close)
    return servers


def _record(plan: Plan, environment: Environment, hydra: Any, in_sweep: bool) -> RunRecord:
    spread = any(cell.config.get("parallel") for cell in plan.cells)
    return RunRecord(
        experiment=hydra.runtime.choices["experiment"],
        cells={cell.cell_id: cell.config for cell in plan.cells},
        columns=header(plan.experiment.columns),
        command=tuple(guard.argv),
        overrides=tuple(hydra.overrides.task),
        planned={cell.cell_id: cell.planned for cell in plan.cells if cell.planned},
        tables={**plan.experiment.tables, **({"ranks": RANKS} if spread else {})},
        summary=plan.experiment.summary,
        environment=environment.facts,
        env_id=environment.env_id,
        job=hydra.job.num if in_sweep else None,
    )


def _command(overrides: tuple[str, ...], sources: Any, plan: Plan, cell: Cell) -> str:
    """The command line of one cell: the job's overrides for groups it has, the model, and what `expand` decided."""
    decided = {k: v for k, v in cell.config["experiment"].items() if plan.asked.get(k) != v}
    model = str(cell.config["model"].get("asked", cell.name))  # an operator's cell is of the models that were asked for
    changes = {} if plan.experiment.names else {"model": model}
    changes |= {f"experiment.{k}": str(v) for k, v in decided.items()}
    own = [s.path for s in sources if s.provider == "command-line"]
    used = [o for o in overrides if key(o).partition(".")[0] not in set(CHOICES) - set(cell.config["choices"])]
    return reproduce(used, changes, [word for path in own for word in ("--config-dir", path)])


def finish(interrupted: int | None = None) -> int:
    """Print the summary of what this process launched, and give its exit code, from what is on disk."""
    if guard.launched is None:
        return interrupted or 0
    if guard.plan or not any(run_folders(guard.launched)):
        code = interrupted or guard.code_without_runs(guard.launched)
        guard.tidy()
        return code
    results = read_run(guard.launched)
    if results.rows or not guard.refused:
        print_summary(results, sys.stdout)
    lost = guard.lost_jobs(guard.launched)
    if lost:
        again = f"python -m runner resume {guard.launched}"
        print(f"{lost} job{'s' if lost > 1 else ''} of the sweep left nothing: {again}", file=sys.stderr)
    code = exit_code(results.rows, len(results.missing) + lost, guard.strict)
    return interrupted or max(code, guard.code_of_refusals(guard.launched))
