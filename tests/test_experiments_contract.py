"""The contract of an experiment: what toy ones may rely on, and what every one of ours must keep."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner import registry
from runner.config import conf_dir
from runner.experiment import Experiment
from runner.results.columns import COMMON, header
from runner.results.reader import Run, read_rows, read_run
from runner.results.run import RESERVED

ROOT = Path(__file__).parent.parent
OURS = sorted(path.stem for path in (ROOT / "experiments").glob("[a-z]*.py"))
Toys = tuple[str, str]


def experiment(name: str) -> type[Experiment]:
    """The class of a name."""
    path = registry.target("experiment", name)
    assert path is not None
    found = registry.locate(path)
    assert issubclass(found, Experiment)
    return found


@pytest.mark.parametrize("name", OURS)
class TestConformance:
    """What every experiment in experiments/ must keep."""

    def test_it_has_a_config(self, name: str) -> None:
        """The word that is typed is the file, and the file names the schema of that class."""
        text = (conf_dir() / "experiment" / f"{name}.yaml").read_text()
        assert f"/schema/experiment/{name}@_here_" in text

    def test_its_columns_join_the_common_ones(self, name: str) -> None:
        """No name twice, each with a meaning; the header is complete before the first row."""
        found = header(experiment(name).columns)
        assert len(found) == len(COMMON) + len(experiment(name).columns)
        assert all(column.meaning and column.type in (str, int, float, bool) for column in found)

    def test_its_tables_have_columns(self, name: str) -> None:
        """A long table has columns of its own, names none twice, and is called like nothing else."""
        for table, columns in experiment(name).tables.items():
            names = ["cell_id", "name", *(column.name for column in columns)]
            assert len(names) == len(set(names)) > 2
            assert table not in {*RESERVED, name}

    def test_its_summary_exists(self, name: str) -> None:
        """The columns that it wants to see in the summary are columns of its rows; there is at least one to see."""
        cls = experiment(name)
        names = {column.name for column in header(cls.columns)}
        assert set(cls.summary) <= names
        assert cls.summary or any(column.headline for column in cls.columns)

    def test_it_can_be_configured(self, name: str) -> None:
        """It is a documented dataclass that its defaults can make, with a schema that types its fields."""
        cls = experiment(name)
        assert cls.__doc__
        assert isinstance(registry.build({"_target_": registry.target("experiment", name)}), cls)
        assert "_target_" in registry.open_node(registry.schema(cls))

    def test_its_module_imports_no_torch(self, name: str) -> None:
        """The parent imports it, and the parent has no torch."""
        code = f"import sys, experiments.{name}; assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

    def test_it_says_how_it_runs(self, name: str) -> None:
        """`run` is its own."""
        assert experiment(name).run is not Experiment.run


def test_every_config_has_an_experiment() -> None:
    """No conf/experiment/NAME.yaml without experiments/NAME.py."""
    assert sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml")) == OURS


def test_expand(cli: Any, tmp_path: Path, toys: Toys) -> None:
    """A model stands for several cells, each with its own id and row; its command runs that cell alone."""
    done = cli(*toys, "suite=toy_suite", "experiment=toy_tasks", "model=toy1", "isolation=none", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    rows = read_run(tmp_path / "out").rows
    assert [(row["name"], row["task"], row["elements"]) for row in rows] == [("toy1", "one", 30), ("toy1", "two", 30)]
    assert len({row["cell_id"] for row in rows}) == 2
    assert [row["command"].split()[-1] for row in rows] == ["experiment.task=one", "experiment.task=two"]


def test_tables_and_samples(cli: Any, tmp_path: Path, toys: Toys) -> None:
    """Long tables carry the cell's key; samples are arrays of the cell."""
    cli(*toys, "suite=toy_suite", "experiment=toy", "model=toy1", "isolation=none", "hydra.run.dir=out")
    (row,) = read_run(tmp_path / "out").rows
    table = read_rows(tmp_path / "out" / "toy_table.csv")
    assert [(line["cell_id"], line["name"], line["part"]) for line in table] == [
        (row["cell_id"], "toy1", "first"),
        (row["cell_id"], "toy1", "second"),
    ]
    assert [line["value"] for line in table] == ["1.5", "nan"]
    with np.load(tmp_path / "out" / "samples" / f"{row['cell_id']}.npz") as samples:
        assert samples["t"].tolist() == [1.0, 2.0]


def test_attempts(cli: Any, tmp_path: Path, toys: Toys) -> None:
    """Two children a cell: the second, put off to the end of the run, has its options and variables, and a new process.

    The row so far is in pending.csv meanwhile; the final one counts.
    """
    words = ("suite=toy_suite", "experiment=toy_attempts", "model=toy*", "hydra.run.dir=out")
    done = cli(*toys, *words)
    assert done.returncode == 0, done.stderr
    rows = [row for row in read_run(tmp_path / "out").rows if row["status"] == "ok"]
    assert [row["name"] for row in rows] == ["toy1", "toy_hidden"]
    for row in rows:
        assert (row["variable"], row["again"]) == ("seen", True)
        assert row["first_pid"] != row["second_pid"]
    # forked one after the other: both first attempts ran before both second ones
    assert done.stderr.index("toy_hidden ok") < done.stderr.rindex("toy1 ok")
    assert done.stderr.count("measured again at the end") == 2
    assert (tmp_path / "out" / "pending.csv").read_text().count("\n") == 3


def test_the_only_cell_is_pending_too(cli: Any, tmp_path: Path, toys: Toys) -> None:
    """Its second attempt follows at once, and a kill meanwhile must not cost what the first one found."""
    done = cli(*toys, "suite=toy_suite", "experiment=toy_attempts", "model=toy1", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert "measured again at the end" not in done.stderr
    assert (tmp_path / "out" / "pending.csv").read_text().count("\n") == 2
    assert [row["again"] for row in read_run(tmp_path / "out").rows] == [True]


def test_a_pending_row_is_final_when_nothing_follows(cli: Any, tmp_path: Path, toys: Toys) -> None:
    """A run was killed before the second attempt: resumed, it has nothing to do and the row is in its table."""
    cli(*toys, "suite=toy_suite", "experiment=toy_attempts", "model=toy1", "hydra.run.dir=out")
    table = tmp_path / "out" / "toy_attempts.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    done = cli("resume", "out")
    assert done.returncode == 0, done.stderr
    assert [(row["name"], row["again"]) for row in read_rows(table)] == [("toy1", "false")]
    assert "finished" in cli("watch", "out", "--once").stdout


def test_share_child(cli: Any, tmp_path: Path, toys: Toys) -> None:
    """Cells share a child; one that crashes costs its own row, the next gets a new child."""
    words = ("suite=bad", "experiment=toy_shared", 'select.include=["^good","exit_3","backward","^unpick"]')
    done = cli(*toys, *words, "hydra.run.dir=out")
    assert done.returncode == 1, done.stderr
    rows = {row["name"]: row for row in read_run(tmp_path / "out").rows}
    assert {name: row["status"] for name, row in rows.items()} == {
        "good_before": "ok",
        "exit_3": "crashed",
        "unpicklable": "eager_error",
        "raises_in_backward": "ok",
        "good_after": "ok",
    }
    pids = {name: row["pid"] for name, row in rows.items()}
    assert pids["good_before"] == pids["exit_3"] != pids["unpicklable"]
    assert pids["unpicklable"] == pids["raises_in_backward"] == pids["good_after"]


#: How an experiment breaks the contract -> words of the row.
FAULTS = {
    "wrong_type": "column number takes int",
    "undeclared": "undeclared columns: numbr",
    "status": "'fine' is not a valid Status",
    "table": "toy_prats",
    "table_row": "undeclared columns: prat",
    "attempts": "can't attempt",
    "no_row": "without a valid status",
    "no_status": "without a valid status",
    "expand": "can't expand",
}


@pytest.fixture(scope="module")
def faulty(start: Any, toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """How -> a run of a faulty experiment; all are jobs of one sweep."""
    folder = tmp_path_factory.mktemp("faulty")
    words = ("--multirun", "suite=toy_suite", "experiment=toy_faulty", "isolation=none", "model='toy*'")
    done = start(folder, *toys, *words, f"experiment.how={','.join(FAULTS)}", "hydra.sweep.dir=out")
    assert done.returncode == 1, done.stderr
    return dict(zip(FAULTS, read_run(folder / "out").runs, strict=True))


@pytest.mark.parametrize("how", FAULTS)
def test_a_faulty_experiment_costs_its_cell_only(faulty: dict[str, Run], how: str) -> None:
    """What breaks the contract is an internal_error of that cell; the others have their numbers."""
    broken, skipped, good = faulty[how].rows
    assert (broken["status"], skipped["status"], good["status"]) == ("internal_error", "skipped", "ok")
    assert FAULTS[how] in broken["error"]
    assert good["number"] == 1
