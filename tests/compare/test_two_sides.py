"""Comparisons that measure: two commits, and a second stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runner.compare import worktrees
from runner.errors import UsageError
from runner.results.reader import read_run

NET = """
import torch


class Net(torch.nn.Module):
    def get_example_inputs(self):
        return (torch.randn(4, 4),)

    def forward(self, x):
        for _ in range({times}):
            x = torch.tanh(x)
        return x
"""
FEW = ("measure.max_pairs=10", "measure.warmup_max_pairs=3", "measure.retry_unconverged=0")
RUN = ("suite=module", "suite.path=net.py", "suite.class_name=Net", "backend=eager", *FEW)


def git(folder: Path, *words: str) -> str:
    """Run git as a user whose name is set."""
    name = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *name, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits of a model; the second one does 400 times as much. In the folder there are further changes."""
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    git(folder, "init", "--quiet")
    for times in (1, 400):
        (folder / "models" / "net.py").write_text(NET.format(times=times))
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", f"{times} times")
    (folder / "models" / "net.py").write_text("this is not even Python (")
    return folder


def test_two_commits(repository: Path, start: Any) -> None:
    """Each side measures its own commit, in the folder that the command was started in; the checkout stays as it is.

    A model of 4 us is compared with itself on both sides: with the usual margin noise would decide on the exit code.
    """
    words = ("compare", "--git", "HEAD~1..HEAD", "--margin", "50", "--output", "../../out", "--", *RUN)
    done = start(repository / "models", *words)
    assert done.returncode == 0, done.stderr
    assert "changes that are not committed" in done.stderr
    out = repository.parent / "out"
    latencies, commits = [], []
    for side in ("base", "new"):
        (run,) = read_run(out / side).runs
        latencies.append(run.rows[0]["abs_latency"])
        commits.append(run.record.environment["git"]["project"]["commit"])
    assert latencies[1] > 20 * latencies[0]
    assert commits == [git(repository, "rev-parse", name) for name in ("HEAD~1", "HEAD")]
    assert (repository / "models" / "net.py").read_text().startswith("this is not")
    assert git(repository, "worktree", "list").count("\n") == 0
    assert git(repository, "branch", "--list").count("\n") == 0


def test_an_interrupted_comparison(repository: Path, start: Any, wait_for: Any) -> None:
    """SIGTERM reaches the run that is being measured, and the work trees are removed all the same."""
    slow = ("measure.min_pairs=2000", "measure.max_pairs=2000", "measure.rel_ci=0.0001")
    words = ("compare", "--git", "HEAD~1..HEAD", "--output", "out", "--", *RUN[:4], *slow, "suite.path=models/net.py")
    with start.background(repository, *words) as process:
        wait_for((repository / "out" / "base" / "0001" / "run.json").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 143
    assert git(repository, "worktree", "list").count("\n") == 0
    assert "Traceback" not in (repository / "err.txt").read_text()


def test_a_refused_run_leaves_no_work_tree(repository: Path, start: Any) -> None:
    """What the run says is passed on, with its exit code, and the work trees are removed."""
    done = start(repository, "compare", "--git", "HEAD~1..HEAD", "--", "bakend=eager")
    assert done.returncode == 2
    assert "bakend" in done.stderr
    assert git(repository, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize(
    ("span", "said"),
    [("HEAD", "BASE..HEAD"), ("..HEAD", "BASE..HEAD"), ("HEAD..HEAD", "both are commit"), ("nosuch..HEAD", "nosuch")],
)
def test_bad_spans(repository: Path, span: str, said: str) -> None:
    """What is not two commits is refused in one sentence."""
    with pytest.raises(UsageError, match=said):
        worktrees.commits(repository, span)


def test_words_that_compare_sets_itself(tmp_path: Path) -> None:
    """Sweeps and the keys that split a run are refused before anything is measured."""
    for words in (["--multirun"], ["select.shard=1/2"], ["hydra.run.dir=x"]):
        with pytest.raises(UsageError, match="compare --git"):
            worktrees.measure_both({}, words, tmp_path)


def test_a_second_stage_takes_back_what_noise_did(tmp_path: Path, start: Any) -> None:
    """A candidate is measured again on both sides from its recorded command, and judged by that alone."""
    new = tmp_path / "new"
    done = start(tmp_path, "model=mlp", "backend=eager", *FEW, f"hydra.run.dir={new}")
    assert done.returncode == 0, done.stderr
    base = tmp_path / "base"
    base.mkdir()
    (base / "run.json").write_bytes((new / "run.json").read_bytes())
    (row,) = read_run(new).rows
    head, line = (new / "speedup.csv").read_text().splitlines()
    fields = dict(zip(head.split(","), range(head.count(",") + 1), strict=True))
    values = line.split(",")
    values[fields["speedup"]] = repr(row["speedup"] * 1e6)
    (base / "speedup.csv").write_text("\n".join([head, ",".join(values), ""]))
    assert start(tmp_path, "compare", "base", "new").returncode == 3
    done = start(tmp_path, "compare", "base", "new", "--remeasure", "--output", "again", "--format", "json")
    facts = json.loads(done.stdout)
    assert done.returncode == facts["exit_code"]
    assert facts["notes"] == ["measured again in fresh processes: 1 of 1 candidates"]
    assert facts["cells"][0]["base"] < 1000
    found = read_run(tmp_path / "again").runs
    assert sorted(run.directory.name for run in found) == ["base", "new"]
    assert all(run.rows[0]["n_processes"] == 3 for run in found)
    assert os.path.commonpath([str(run.directory) for run in found]).endswith("again/remeasured/001")
