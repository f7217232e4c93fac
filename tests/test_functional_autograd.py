"""Experiment `autograd_functional` as it is typed: cells, rows, the third side, and what is refused."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.autograd_functional import Api, AutogradFunctional, Task, combined
from runner.cells import Cell
from runner.config import conf_dir
from runner.errors import UsageError
from runner.loaders.functional_autograd import EVERYTHING
from runner.results.reader import read_run

FEW = ("measure.max_pairs=10", "measure.warmup_max_pairs=2", "measure.retry_unconverged=0", "measure.threads=1")


def planned(done: Any) -> list[tuple[str, str]]:
    """Model and task of each cell that plan=true prints."""
    assert done.returncode == 0, done.stdout + done.stderr
    return [tuple(line.split()[:2]) for line in done.stdout.splitlines() if re.search(r"[0-9a-f]{12} .*\brun\s*$", line)]


def cell(**config: Any) -> Cell:
    """A cell of the suite."""
    suite = {"_target_": "runner.loaders.functional_autograd.FunctionalAutograd"}
    choices = {"suite": "functional_autograd", "experiment": "autograd_functional"}
    return Cell({"choices": choices, "suite": suite, "model": {"name": "detr"}, "experiment": {}, **config})


def expanded(experiment: AutogradFunctional, **config: Any) -> list[tuple[str, str]]:
    """Task and interface of the cells that one stands for."""
    cells = experiment.expand(cell(**config))
    return [(c.config["experiment"]["task"], c.config["experiment"]["api"]) for c in cells]


def test_ten_tasks() -> None:
    """Each task is a file of the group, which chooses experiment and suite too."""
    assert {path.stem for path in (conf_dir() / "task").glob("*.yaml")} == set(EVERYTHING)
    assert {task.value for task in Task} == {*EVERYTHING, "recommended"}


def test_a_sweep_over_tasks(cli: Any) -> None:
    """`task` brings its suite and experiment with it, and each job has both interfaces."""
    found = planned(cli("--multirun", "model=resnet18,detr", "task=vjp,jvp", "plan=true"))
    assert found == [(model, task) for model in ("resnet18", "detr") for task in ("vjp", "jvp") for _ in range(2)]


def test_the_whole_suite(cli: Any) -> None:
    """Each model has its recommended tasks, each twice."""
    found = planned(cli("experiment=autograd_functional", "suite=functional_autograd", "plan=true"))
    assert len(found) == 2 * (6 * 3 + 2 * 10 + 1)
    assert [task for model, task in found if model == "deepspeech"] == ["vjp", "vjp"]
    assert {task for model, task in found if model == "ppl_simple_reg"} == set(EVERYTHING)


def test_a_glob_over_models(cli: Any) -> None:
    """Models by glob, tasks and interfaces as lists: a job each."""
    words = ("model=glob(ppl_*)", "task=hessian,hessian_fwdrev", "experiment.api=functional,func")
    found = planned(cli("--multirun", *words, "plan=true"))
    assert sorted(found) == sorted((f"ppl_{m}_reg", t) for m in ("simple", "robust") for t in ("hessian", "hessian_fwdrev") for _ in "ab")


def test_slow_tasks() -> None:
    """run_slow_tasks makes ten of three, as cells that are the same as those asked for one by one."""
    assert {task for task, _ in expanded(AutogradFunctional(run_slow_tasks=True))} == set(EVERYTHING)
    (slow,) = (c for c in AutogradFunctional(run_slow_tasks=True, api=Api.func).expand(cell()) if c.config["experiment"]["task"] == "hvp")
    (asked,) = AutogradFunctional(Task.hvp, Api.func).expand(cell())
    assert slow.cell_id == asked.cell_id
    with pytest.raises(ValueError, match="widens task=recommended, not task=vjp"):
        AutogradFunctional(Task.vjp, run_slow_tasks=True)


def test_the_third_side() -> None:
    """A backend adds a cell and leaves the others as they are without one."""
    with_backend = {"backend": {"_target_": "x"}, "choices": {**cell().config["choices"], "backend": "inductor"}}
    alone = list(AutogradFunctional(Task.vjp).expand(cell()))
    beside = list(AutogradFunctional(Task.vjp).expand(cell(**with_backend)))
    assert [c.config["experiment"]["api"] for c in beside] == ["functional", "func", "compiled"]
    assert [c.cell_id for c in beside[:2]] == [c.cell_id for c in alone]
    with pytest.raises(UsageError, match="api=compiled needs a backend"):
        expanded(AutogradFunctional(Task.vjp, Api.compiled))
    with pytest.raises(UsageError, match="api=func takes no backend"):
        expanded(AutogradFunctional(Task.vjp, Api.func), **with_backend)


def test_another_suite() -> None:
    """A suite that recommends nothing gets the usual three."""
    demo = {"suite": {"_target_": "runner.loaders.demo.Demo"}}
    assert {task for task, _ in expanded(AutogradFunctional(), **demo)} == {"vjp", "vhp", "jvp"}


def test_rows(cli: Any, tmp_path: Path) -> None:
    """A row for each interface: times, a checked ratio with its interval, the cost in forward passes, a command."""
    done = cli("model=ppl_simple_reg", "task=hvp", *FEW, "hydra.run.dir=out")
    assert done.returncode == 0, done.stdout + done.stderr
    functional, func = read_run(tmp_path / "out").rows
    assert (functional["api"], functional["against"], functional["speedup"]) == ("functional", "forward", None)
    assert (func["api"], func["against"], func["accuracy"], func["status"]) == ("func", "functional", "pass", "ok")
    assert func["ratio_to_functional_lo"] <= func["ratio_to_functional"] <= func["ratio_to_functional_hi"]
    assert func["ratio_to_functional"] == pytest.approx(1 / func["speedup"])
    for row in (functional, func):
        assert row["mean"] > 0
        assert row["var"] > 0
        assert row["samples"] == row["n_pairs"] == 10
        assert row["median_lo_ms"] <= row["median_ms"] == row["abs_latency"] <= row["median_hi_ms"]
        assert row["forward_ratio"] > 0
        assert (row["task"], row["num_parameters"], row["peak_mem"] >= 0) == ("hvp", 11, True)
        assert row["command"].split()[-1] == f"experiment.api={row['api']}"
    names = (tmp_path / "out" / "autograd_functional.csv").read_text().splitlines()[0].split(",")
    assert names[4:6] == ["mean", "var"]


def test_two_runs_are_compared(cli: Any, tmp_path: Path) -> None:
    """Rows of both interfaces are judged by their pairs; upstream's tables have their means."""
    for name in ("base", "new"):
        words = ("model=transformer", "suite.size=small", "task=vjp", "device=cpu", *FEW, f"hydra.run.dir={name}")
        assert cli(*words).returncode == 0
    # The machine's other work makes ratios of calls this short wander: only twice the time counts here.
    done = cli("compare", "base", "new", "--margin", "99", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads(done.stdout)["cells"]
    assert {(cell["experiment.api"], cell["note"]) for cell in cells} == {("functional", "1 / forward_ratio"), ("func", "")}
    assert all(cell["change_lo"] < cell["change"] < cell["change_hi"] for cell in cells)
    assert cli("compare", "base", "base").returncode == 0
    means = [repr(row["mean"]) for row in read_run(tmp_path / "base").rows]
    table = cli("report", "base", "--format", "autograd").stdout.splitlines()
    assert [line.split(" | ")[1:3] for line in table[2:]] == [["vjp", means[0]], ["functorch vjp", means[1]]]
    both = cli("compare", "base", "new", "--format", "autograd", "--margin", "99")
    assert both.returncode == 0, both.stderr
    assert [line.split(" | ")[1] for line in both.stdout.splitlines()[2:4]] == ["vjp", "functorch vjp"]


def test_what_can_not_be_had(cli: Any, tmp_path: Path) -> None:
    """A Hessian that can't fit and a derivative that torch does not have are rows that say so."""
    words = ("suite.size=small", "model=deepspeech", "experiment.api=func", *FEW)
    cli("task=jvp", *words, "hydra.run.dir=jvp")
    (row,) = read_run(tmp_path / "jvp").rows
    assert (row["status"], row["mean"]) == ("unsupported", None)
    assert row["error"].startswith("torch.func.jvp can't differentiate deepspeech: ")
    cli("task=hessian", "model=wav2letter", "experiment.api=func", *FEW, "hydra.run.dir=hessian")
    (row,) = read_run(tmp_path / "hessian").rows
    assert row["status"] == "unsupported"
    assert "26187278 parameters needs a matrix of 2743094116197136 bytes" in row["error"]


def test_another_suites_model(cli: Any, tmp_path: Path) -> None:
    """Any model will do."""
    done = cli("experiment=autograd_functional", "suite=torchbench", "model=lennard_jones", "experiment.task=jvp", *FEW, "hydra.run.dir=out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["status"] for row in read_run(tmp_path / "out").rows] == ["ok", "ok"]


@pytest.mark.slow
def test_compiled(cli: Any, tmp_path: Path) -> None:
    """The third row is the compiled torch.func, checked and measured against the plain one."""
    done = cli("model=ppl_robust_reg", "task=hvp", "backend=inductor", *FEW, "hydra.run.dir=out")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_run(tmp_path / "out").rows
    assert [(row["api"], row["backend"], row["against"]) for row in rows] == [
        ("functional", "", "forward"),
        ("func", "", "functional"),
        ("compiled", "inductor", "func"),
    ]
    assert rows[2]["unique_graphs"] == 1
    assert rows[2]["accuracy"] == "pass"
    assert rows[2]["compile_s"] > rows[2]["mean"]
    assert "backend" not in rows[1]["command"]
    assert "backend=inductor" in rows[2]["command"]


@pytest.mark.slow
def test_every_small_model(cli: Any, tmp_path: Path) -> None:
    """All nine models, all their tasks, both interfaces: each is a good row."""
    words = ("experiment=autograd_functional", "suite=functional_autograd", "suite.size=small", "measure.max_time_s=1")
    done = cli(*words, *FEW, "hydra.run.dir=out", timeout=1800)
    rows = read_run(tmp_path / "out").rows
    assert {row["status"] for row in rows} == {"ok"}, done.stdout
    assert len(rows) == 78


def test_processes_are_pooled() -> None:
    """Of several processes: the ratios' interval is over them, mean and variance are of all samples."""
    one = {"speedup": 2.0, "ratio_to_functional": 0.5, "forward_ratio": 3.0, "median_ms": 1.0, "samples": 2, "mean": 1.5, "var": 0.5}
    other = {**one, "speedup": 8.0, "ratio_to_functional": 0.125, "mean": 3.5}
    row = combined([one, other], {"ci_level": 0.95, "practical": 0.01, "rel_ci": 0.02})
    assert row["speedup"] == pytest.approx(4.0)
    assert row["ratio_to_functional"] == pytest.approx(0.25)
    assert row["ratio_to_functional_lo"] < 0.25 < row["ratio_to_functional_hi"]
    assert (row["samples"], row["mean"], row["var"]) == (4, 2.5, pytest.approx(5 / 3))
    assert (row["n_processes"], row["process"]) == (2, None)


def test_processes_that_are_compared_with_the_forward_pass() -> None:
    """Rows without a speedup are judged by their ratio to it, and know how far it is from process to process."""
    one = {"speedup": None, "forward_ratio": 3.0, "se_within": 0.001, "rel_hw": 0.002, "converged": True}
    common = {"median_ms": 1.0, "samples": 2, "mean": 1.5, "var": 0.5, "noisy": False}
    rows = [{**common, **one, "forward_ratio": ratio} for ratio in (3.0, 3.3, 3.6)]
    row = combined(rows, {"ci_level": 0.95, "practical": 0.01, "rel_ci": 0.02})
    assert row["forward_ratio"] == pytest.approx((3.0 * 3.3 * 3.6) ** (1 / 3))
    assert row["rel_hw"] == pytest.approx(math.log(row["forward_ratio_hi"] / row["forward_ratio"]))
    assert (row["speedup"], row["converged"], row["between_sd"] > 0.05) == (None, True, True)
