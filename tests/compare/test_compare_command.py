"""`python -m runner compare` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.compare.command import main

UPSTREAM = "dev,name,batch_size,speedup,abs_latency\ncpu,a,8,{},8.5\ncpu,b,8,1.5,2.5\n"


def test_regression_and_formats(maker: Any, capsys: Any) -> None:
    """Exit code 3 in every format; what machines read is alone on standard output."""
    base, new = maker.run({"a": {}}), maker.run({"a": {"speedup": 1.2}})
    for format_, beginning in (
        ("terminal", "model"),
        ("md", "### speedup: 1 regressed"),
        ("csv", "suite,"),
        ("json", "{"),
    ):
        assert main([str(base), str(new), "--format", format_]) == 3
        assert capsys.readouterr().out.startswith(beginning)
    assert main([str(base), str(new), "--margin", "30"]) == 0
    assert main([str(base), str(base)]) == 0


def test_unlike_is_refused_unless_asked_for(maker: Any, capsys: Any) -> None:
    """Other threads are another question."""
    base, new = str(maker.run({"a": {}})), str(maker.run({"a": {"threads": 8}}))
    assert main([base, new]) == 2
    assert "unlike with unlike: threads: 2 then, 8 now; --unlike" in capsys.readouterr().err
    assert main([base, new, "--unlike"]) == 0
    assert "unlike: threads: 2 then, 8 now" in capsys.readouterr().out


def test_dynamobench_files(tmp_path: Path, maker: Any, capsys: Any) -> None:
    """Upstream's CSVs are compared with each other and with ours; without intervals nothing is flagged unasked."""
    paths = [tmp_path / "old.csv", tmp_path / "new.csv"]
    for path, speedup in zip(paths, (1.5, 1.2), strict=True):
        path.write_text(UPSTREAM.format(speedup))
    assert main([str(path) for path in paths]) == 0
    said = capsys.readouterr()
    assert "no interval is known for 2 of these cells, so nothing is flagged there; --margin-alone" in said.out
    assert "old.csv is no CSV of this runner's" in said.err
    assert main([*map(str, paths), "--margin-alone"]) == 3
    assert "they are judged by the margin alone, which calls noise a change" in capsys.readouterr().out
    assert main([str(paths[0]), str(maker.run({"a": {}, "b": {}}))]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "nowhere"], "no such file"),
        (["one"], "give two results"),
        (["one", "two", "three"], "give two results"),
        (["a", "b", "--margin", "0"], "'0' is no percentage: give a number between 0 and 100"),
        (["a", "b", "--margin", "3%"], "'3%' is no percentage: give a number between 0 and 100"),
        (["--git", "HEAD~1..HEAD", "--output", "file"], "file is no folder: give a new or an empty one with --output"),
        (["a", "b", "--adjust", "none"], "invalid choice"),
        (["a", "b", "--", "model=mlp"], "arguments after -- are for --git"),
        (["a", "--git", "HEAD~1.."], "leave BASE and NEW out"),
    ],
)
def test_bad_usage(words: list[str], said: str, capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Exit code 2 and a sentence, without a traceback."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    try:
        code = main(words)
    except SystemExit as left:
        code = left.code  # type: ignore[assignment]
    assert code == 2
    assert said in capsys.readouterr().err


def test_a_model_that_can_not_be_loaded_any_more(maker: Any, capsys: Any) -> None:
    """One line and exit code 1, although its new row has no batch size."""
    lost = {"status": "load_error", "error": "no such file"}
    runs = [str(maker.run({"a": row}, config={"batch_size": None})) for row in ({"batch_size": 8}, lost)]
    assert main(runs) == 1
    assert "ok -> load_error: no such file" in " ".join(capsys.readouterr().out.split())


def test_latency_needs_several_processes(maker: Any, capsys: Any) -> None:
    """Absolute latencies of single processes are refused."""
    run = str(maker.run({"a": {}}))
    assert main([run, run, "--metric", "latency"]) == 2
    assert "measure.processes=3" in capsys.readouterr().err


def test_means_need_their_column(maker: Any, capsys: Any) -> None:
    """Rows of another experiment have no mean, whether it is asked for as a metric or as a table."""
    run = str(maker.run({"a": {}}))
    for words in (("--metric", "mean"), ("--format", "autograd")):
        assert main([run, run, *words]) == 2
        assert "column mean" in capsys.readouterr().err


def test_gate(maker: Any, tmp_path: Path, capsys: Any) -> None:
    """Expectations alone, and beside a comparison; the worse exit code counts."""
    run, expected = str(maker.run({"a": {}})), tmp_path / "expected.csv"
    assert main([run, "--update-expected", str(expected)]) == 0
    assert main([run, "--expect", str(expected)]) == 0
    assert "expectations: 2 PASS" in capsys.readouterr().out
    expected.write_text(expected.read_text().replace("pass", "fail_accuracy"))
    assert main([run, run, "--expect", str(expected), "--format", "json"]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["exit_code"] == 0
    assert "IMPROVED" in said.err


def test_candidates_that_can_not_be_measured_again_keep_their_verdict(maker: Any, tmp_path: Path, capsys: Any) -> None:
    """Where nothing is recorded of how to run a side, --remeasure says so and the first stage counts."""
    base, new = maker.run({"a": {}}), maker.run({"a": {"speedup": 1.2}})
    words = [str(base), str(new), "--remeasure", "--output", str(tmp_path / "again")]
    assert main(words) == 3
    said = capsys.readouterr().out
    assert "measured again in fresh processes: 0 of 1 candidates" in said
    assert "not measured again: a: nothing is recorded of how to run it" in said


@pytest.mark.parametrize("module", ["runner.compare.command", "runner.history.command", "runner.rerun"])
def test_nothing_heavy_is_imported(module: str) -> None:
    """The command line is answered without torch, numpy or pandas."""
    code = (
        f"import sys, {module}; print([m for m in ('torch', 'pandas', 'numpy', 'scipy', 'hydra') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
