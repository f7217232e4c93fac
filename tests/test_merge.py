"""Shards: together they are the whole run, and `merge` makes one of them."""

from __future__ import annotations

import json
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


def test_a_sweep_is_the_whole(cli: Any, shards: Path, tmp_path: Path, toys: tuple[str, str]) -> None:
    """`model=glob(...)` makes a job of each model, and together they have the cells of one run, each once."""
    words = [word for word in WORDS if not word.startswith("model=")]
    done = cli(*toys, "--multirun", *words, "model=glob(toy*)", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert cells(tmp_path / "sweep") == cells(shards / "whole")


def test_shards_of_a_sweep_are_the_whole(cli: Any, shards: Path, tmp_path: Path, toys: tuple[str, str]) -> None:
    """Jobs of one cell each go to all shards: every cell is in one of them, and none of them has all."""
    words = [word for word in WORDS if not word.startswith("model=")]
    for number in (1, 2):
        place = (f"select.shard={number}/2", f"hydra.sweep.dir={number}")
        done = cli(*toys, "--multirun", *words, "model=glob(toy*)", *place)
        assert done.returncode == 0, done.stderr
        assert "left nothing" not in done.stderr
    parts = [cells(tmp_path / "1"), cells(tmp_path / "2")]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == cells(shards / "whole")
    again = cli("resume", "2")
    assert again.returncode == 0, again.stderr
    assert cells(tmp_path / "2") == parts[1]


def test_mixed_configurations_are_refused(cli: Any, shards: Path) -> None:
    """Runs that were configured differently are no shards of one; the sentence says what differs."""
    done = cli("merge", str(shards / "1"), str(shards / "other"))
    assert done.returncode == 2
    assert "seed=1" in done.stderr


def test_a_cell_twice_is_refused(cli: Any, shards: Path) -> None:
    """Overlapping runs are no shards."""
    done = cli("merge", str(shards / "1"), str(shards / "1"))
    assert done.returncode == 2
    assert "both have the cell of" in done.stderr


def test_nothing_to_merge(cli: Any, tmp_path: Path) -> None:
    """A folder without a run, and a target that is in use."""
    (tmp_path / "merged").mkdir()
    done = cli("merge", "merged")
    assert done.returncode == 2
    assert "holds no run" in done.stderr
