"""Shards: together they are the whole run, and `merge` makes one of them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runner.results.reader import read_run

WORDS = ("suite=toy_suite", "experiment=toy", "isolation=none", "model=toy*", "select.no_skip=true")


@pytest.fixture(scope="module")
def shards(start: Any, toys: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the whole run in `whole`, its shards in `1` and `2`, and one with another seed in `other`."""
    folder = tmp_path_factory.mktemp("shards")
    for name, words in {
        "whole": (),
        "1": ("select.shard=1/2",),
        "2": ("select.shard=2/2",),
        "other": ("select.shard=2/2", "seed=1"),
    }.items():
        done = start(folder, *toys, *WORDS, *words, f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stderr
    return folder


def cells(folder: Path) -> list[tuple[str, str, str]]:
    """What identifies each row."""
    return sorted((row["cell_id"], row["name"], row["status"]) for row in read_run(folder).rows)


def test_shards_are_the_whole(cli: Any, shards: Path, tmp_path: Path) -> None:
    """Merged shards have every cell of the unsharded run once, with its long tables, logs and samples."""
    done = cli("merge", str(shards / "1"), str(shards / "2"))
    assert done.returncode == 0, done.stderr
    merged = tmp_path / "merged"
    assert cells(merged) == cells(shards / "whole")
    lines = (shards / "whole" / "toy_table.csv").read_text().splitlines()
    assert sorted((merged / "toy_table.csv").read_text().splitlines()) == sorted(lines)
    assert len(list((merged / "samples").glob("*.npz"))) == len(cells(merged))
    assert "select.shard" not in " ".join(json.loads((merged / "run.json").read_text())["command"])
    again = cli("resume", "merged")
    assert again.returncode == 0, again.stderr
    assert cells(merged) == cells(shards / "whole")


def test_a_shard_is_missing(cli: Any, shards: Path, tmp_path: Path) -> None:
    """What the others have is joined, with a sentence on the one that lacks and the exit code of an incomplete run.

    `resume` can't bring its cells, and says what does.
    """
    done = cli("merge", str(shards / "2"))
    assert done.returncode == 1, done.stderr
    assert "not among these folders: select.shard=1/2;" in done.stderr
    assert cells(tmp_path / "merged") == cells(shards / "2")
    again = cli("resume", "merged")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1), again.stderr
    assert "lacks cells of its command" in again.stderr
    assert "merge again with the missing shard, or run the command anew, into another folder" in again.stderr
    assert "python -m runner resume" not in again.stderr


def test_a_sweep_is_the_whole(cli: Any, shards: Path, tmp_path: Path, toys: tuple[str, str]) -> None:
    """`model=glob(...)` makes a job of each model, and together they have the cells of one run, each once."""
    words = [word for word in WORDS if not word.startswith("model=")]
    done = cli(*toys, "--multirun", *words, "model=glob(toy*)", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert cells(tmp_path / "sweep") == cells(shards / "whole")


@pytest.fixture(scope="module")
def parts(start: Any, toys: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the shards of a sweep over models in `1` and `2`, and one with another seed in `other`."""
    folder = tmp_path_factory.mktemp("parts")
    words = [word for word in WORDS if not word.startswith("model=")]
    for name, own in {"1": ("select.shard=1/2",), "2": ("select.shard=2/2",), "other": ("seed=1",)}.items():
        done = start(folder, *toys, "--multirun", *words, "model=glob(toy*)", *own, f"hydra.sweep.dir={name}")
        assert done.returncode == 0, done.stderr
        assert "left nothing" not in done.stderr
    return folder


def test_shards_of_a_sweep_are_the_whole(cli: Any, shards: Path, parts: Path) -> None:
    """Jobs of one cell each go to all shards: every cell is in one of them, and none of them has all."""
    found = [cells(parts / name) for name in ("1", "2")]
    assert all(found)
    assert sorted(found[0] + found[1]) == cells(shards / "whole")
    again = cli("resume", str(parts / "2"))
    assert again.returncode == 0, again.stderr
    assert cells(parts / "2") == found[1]


def test_merged_shards_of_a_sweep(cli: Any, shards: Path, parts: Path, tmp_path: Path) -> None:
    """They are a sweep with each cell once, complete for `resume`, and `compare` joins each with the whole run's."""
    done = cli("merge", str(parts / "1"), str(parts / "2"))
    assert done.returncode == 0, done.stderr
    merged = tmp_path / "merged"
    whole = cells(shards / "whole")
    assert cells(merged) == whole
    with (merged / "sweep.csv").open(newline="") as file:
        assert sorted((row["cell_id"], row["name"], row["status"]) for row in csv.DictReader(file)) == whole
    before = sorted(path.name for path in merged.iterdir() if path.is_dir())
    again = cli("resume", "merged")
    assert again.returncode == 0, again.stderr
    assert "[1/" not in again.stderr
    assert before == sorted(path.name for path in merged.iterdir() if path.is_dir())
    compared = cli("compare", str(shards / "whole"), "merged")
    assert compared.returncode == 1, compared.stderr  # the toy's numbers are its process, and another one's here
    assert f"{len(whole)} inconclusive" in compared.stdout
    assert cli("report", "merged").returncode == 0


def test_a_shard_of_a_sweep_is_missing(cli: Any, shards: Path, parts: Path, tmp_path: Path) -> None:
    """Its jobs count as missing, and `resume` runs them."""
    done = cli("merge", str(parts / "1"))
    assert done.returncode == 1, done.stderr
    assert "1 job of the sweep left nothing in these folders: python -m runner resume merged" in done.stderr
    again = cli("resume", "merged")
    assert again.returncode == 0, again.stderr
    assert cells(tmp_path / "merged") == cells(shards / "whole")


def test_shards_as_jobs(cli: Any, shards: Path, tmp_path: Path, toys: tuple[str, str]) -> None:
    """A sweep over the shards themselves has each cell once, and merges to one run that can be resumed."""
    done = cli(*toys, "--multirun", *WORDS, "select.shard=1/2,2/2", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert cells(tmp_path / "sweep") == cells(shards / "whole")
    done = cli("merge", "sweep")
    assert done.returncode == 0, done.stderr
    assert cells(tmp_path / "merged") == cells(shards / "whole")
    assert (tmp_path / "merged" / "run.json").is_file()
    assert cli("resume", "merged").returncode == 0


@pytest.mark.slow
def test_jobs_of_several_cells(cli: Any, tmp_path: Path, toys: tuple[str, str]) -> None:
    """Where a job has cells in both shards they are one job again; a sweep without shards merges to itself."""
    for name, own in {"1": ("select.shard=1/2",), "2": ("select.shard=2/2",), "whole": ()}.items():
        done = cli(*toys, "--multirun", *WORDS, "seed=0,1", *own, f"hydra.sweep.dir={name}")
        assert done.returncode == 0, done.stderr
    whole = cells(tmp_path / "whole")
    for folders in (("1", "2"), ("whole",)):
        done = cli("merge", *folders, "--into", "-".join(("of", *folders)))
        assert done.returncode == 0, done.stderr
    assert cells(tmp_path / "of-1-2") == cells(tmp_path / "of-whole") == whole
    jobs = [sorted(path.name for path in (tmp_path / name).iterdir() if path.is_dir()) for name in ("of-1-2", "whole")]
    assert len(jobs[0]) == 2
    assert jobs[0] == jobs[1]


def test_mixed_configurations_are_refused(cli: Any, shards: Path) -> None:
    """Runs that were configured differently are no shards of one; the sentence says what differs."""
    done = cli("merge", str(shards / "1"), str(shards / "other"))
    assert done.returncode == 2
    assert "seed=1" in done.stderr


def test_mixed_sweeps_are_refused(cli: Any, shards: Path, parts: Path) -> None:
    """What the sweeps swept may differ from job to job, nothing else may; nor is a run a shard of a sweep."""
    done = cli("merge", str(parts / "1"), str(parts / "other"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "were configured differently: seed=1" in done.stderr
    done = cli("merge", str(parts / "1"), str(shards / "2"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is a run and" in done.stderr
    done = cli("merge", *map(str, (parts / "1").glob("*model=toy1,*")))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is one job of a sweep" in done.stderr


def test_another_environment_is_refused(cli: Any, parts: Path, tmp_path: Path) -> None:
    """Also where no job has a cell in two of the sweeps; the sentence says what differs."""
    shutil.copytree(parts / "2", tmp_path / "2")
    for path in tmp_path.glob("2/*/run.json"):
        record = json.loads(path.read_text())
        record["environment"]["deciding"]["torch"] = "1.0"
        path.write_text(json.dumps({**record, "env_id": "000000000000"}))
    done = cli("merge", str(parts / "1"), "2")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "different environments (torch: " in done.stderr
    assert " and 1.0)" in done.stderr


def test_a_cell_twice_is_refused(cli: Any, shards: Path, parts: Path) -> None:
    """Overlapping runs or sweeps are no shards."""
    for folder in (shards / "1", parts / "1"):
        done = cli("merge", str(folder), str(folder))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "both have the cell of" in done.stderr


def test_nothing_to_merge(cli: Any, tmp_path: Path) -> None:
    """A folder without a run."""
    (tmp_path / "merged").mkdir()
    done = cli("merge", "merged")
    assert done.returncode == 2
    assert "holds no run" in done.stderr


def test_a_target_that_is_no_folder(cli: Any, shards: Path, tmp_path: Path) -> None:
    """A file where the whole should go is refused, and stays as it is."""
    (tmp_path / "notes.txt").write_text("mine")
    done = cli("merge", str(shards / "1"), "--into", "notes.txt")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "notes.txt is no folder: give a new or an empty one with --into" in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"
