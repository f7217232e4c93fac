"""`experiment.baseline`: which earlier row a new one is put beside, and what can't be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.speedup import Speedup
from runner.baseline import Baseline
from runner.cells import Cell
from runner.errors import UsageError
from runner.results.columns import header
from runner.results.files import RunFiles
from runner.results.run import RunRecord

CONFIG: dict[str, Any] = {
    "choices": {"suite": "demo", "experiment": "speedup", "backend": "inductor", "precision": "fp32"},
    "experiment": {"cache": "cold"},
    "backend": {"fullgraph": False},
    "device": {"type": "cpu"},
    "model": {"name": "m"},
}


def cell_of(backend: str = "inductor", fullgraph: bool = False) -> Cell:
    """A cell of model m."""
    choices = {**CONFIG["choices"], "backend": backend}
    return Cell({**CONFIG, "choices": choices, "backend": {"fullgraph": fullgraph}})


def run_of(folder: Path, cell: Cell, speedup: float, status: str = "ok") -> Path:
    """A run that measured this at batch size 8."""
    record = RunRecord("speedup", {cell.cell_id: cell.config}, header(Speedup.columns), tables={}, summary=())
    files = RunFiles(folder, record.write(folder))
    files.rows.append({**cell.row(), "status": status, "batch_size": 8, "speedup": speedup})
    return folder


def beside(path: Path, cell: Cell, batch_size: int = 8) -> tuple[Any, Any]:
    """What a row of `cell` with a speedup of 3 gets."""
    found = Baseline.read(str(path)).columns(cell, {"speedup": 3.0, "batch_size": batch_size})
    return found["baseline"], found["speedup_vs_baseline"]


def test_one_row_of_the_subject_counts_whatever_its_backend(tmp_path: Path) -> None:
    """A run of one backend is a baseline for another; a different batch size is another subject."""
    path = run_of(tmp_path / "run", cell_of("eager"), 1.5)
    assert beside(path, cell_of()) == (1.5, 2.0)
    assert beside(path, cell_of(), batch_size=4) == (None, None)


def test_several_rows_are_told_apart_by_backend(tmp_path: Path) -> None:
    """Each row of a sweep over backends has its own; a backend that is not among them has none."""
    run_of(tmp_path / "sweep" / "0", cell_of(), 2.0)
    run_of(tmp_path / "sweep" / "1", cell_of("eager"), 0.5)
    sweep = tmp_path / "sweep"
    assert [beside(sweep, cell_of(name))[0] for name in ("inductor", "eager", "aot_eager")] == [2.0, 0.5, None]


def test_then_by_what_differs_in_the_configuration(tmp_path: Path) -> None:
    """Rows of one backend with and without a setting."""
    for number, fullgraph in enumerate((False, True)):
        run_of(tmp_path / "sweep" / str(number), cell_of(fullgraph=fullgraph), 1.0 + number)
    assert [beside(tmp_path / "sweep", cell_of(fullgraph=on))[0] for on in (False, True)] == [1.0, 2.0]


def test_the_same_cell_twice_is_refused(tmp_path: Path) -> None:
    """Two runs of one configuration: neither is taken silently."""
    for number in range(2):
        run_of(tmp_path / "runs" / str(number), cell_of(), 1.0 + number)
    with pytest.raises(UsageError, match="2 rows of m that neither backend nor configuration tells apart: give"):
        Baseline.read(str(tmp_path / "runs"))


def test_rows_without_a_good_speedup_are_no_baseline(tmp_path: Path) -> None:
    """Failed ones do not make a subject ambiguous, and nothing but failed ones is refused."""
    run_of(tmp_path / "runs" / "0", cell_of(), 1.5)
    run_of(tmp_path / "runs" / "1", cell_of(), 9.0, "wrong_output")
    assert beside(tmp_path / "runs", cell_of()) == (1.5, 2.0)
    with pytest.raises(UsageError, match="no row in it has a speedup"):
        Baseline.read(str(tmp_path / "runs" / "1"))


def csv_of(path: Path, *lines: str) -> Path:
    """A file of dynamobench's."""
    path.write_text("\n".join(["dev,name,batch_size,speedup,abs_latency", *lines, ""]))
    return path


def test_a_foreign_file_is_joined_on_what_it_says(tmp_path: Path) -> None:
    """Device, name and batch size; its zeros are no speedups."""
    path = csv_of(tmp_path / "old.csv", "cpu,m,8,1.5,2", "cuda,m,8,4.0,2", "cpu,m,4,0.0,0", "cpu,n,8,7.0,2")
    assert beside(path, cell_of()) == (1.5, 2.0)
    assert beside(path, cell_of(), batch_size=4) == (None, None)
    by_name = tmp_path / "names.csv"
    by_name.write_text("name,speedup\nm,1.5\n")
    assert beside(by_name, cell_of(), batch_size=4) == (1.5, 2.0)


@pytest.mark.parametrize("header", ["dev,name,batch_size,speedup", "dev,name,batch_size,tag,speedup"])
def test_a_foreign_file_with_two_rows_of_a_model_is_refused(tmp_path: Path, header: str) -> None:
    """Also where a tag differs: a new row can't be joined on that."""
    tags = ("a,", "b,") if "tag" in header else ("", "")
    lines = [header, *(f"cpu,m,8,{tag}{i + 1}.5" for i, tag in enumerate(tags)), ""]
    (tmp_path / "old.csv").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"^experiment.baseline=.*old.csv: 2 rows of m that neither"):
        Baseline.read(str(tmp_path / "old.csv"))


def test_it_is_read_once_where_the_run_is_planned(tmp_path: Path) -> None:
    """Children build the experiment too, when the folder may have got this run's own rows."""
    path = run_of(tmp_path / "runs" / "0", cell_of(), 1.5).parent
    experiment = Speedup(baseline=str(path))
    list(experiment.expand(cell_of()))
    run_of(tmp_path / "runs" / "1", cell_of(), 9.0)
    assert Speedup(baseline=str(path)).baseline
    assert experiment._final(cell_of(), {"speedup": 3.0, "batch_size": 8})["baseline"] == 1.5
    with pytest.raises(UsageError, match="2 rows of m"):
        list(Speedup(baseline=str(path)).expand(cell_of()))


def test_the_refusal_comes_before_anything_runs(cli: Any, tmp_path: Path) -> None:
    """One sentence and exit code 2, of a plan too."""
    csv_of(tmp_path / "old.csv", "cpu,mlp,8,1.5,2", "cpu,mlp,8,1.6,2")
    done = cli("model=mlp", "experiment.baseline=old.csv", "plan=true")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "old.csv: 2 rows of mlp that neither backend nor configuration tells apart" in done.stderr
