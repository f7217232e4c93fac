"""`report` on the command line: formats, bad input, exit codes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.accuracy import Accuracy
from runner.report.main import main
from runner.results.columns import header
from runner.results.files import RunFiles
from runner.results.run import RunRecord


@pytest.fixture(autouse=True)
def collecting():
    """The command switches garbage collection off, for its process."""
    import gc

    yield
    gc.enable()


def test_importing_it_loads_neither_torch_nor_tables():
    """`--help` and usage errors need neither torch nor pandas, scipy or numpy."""
    code = (
        "import sys, runner.report.main, runner.report.watch, runner.report.sources, runner.report.figures\n"
        "print([name for name in ('torch', 'pandas', 'scipy', 'numpy', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_subcommand(cli):
    """`python -m runner report` is there, and explains itself."""
    done = cli("report", "--help")
    assert (done.returncode, done.stdout.startswith("usage: python -m runner report")) == (0, True)


def test_terminal(results, capsys: pytest.CaptureFixture[str]):
    """The four figures, then models, failures and flags."""
    run = results(
        {"a": {"speedup": 2.0, "flags": "load"}, "b": {"status": "oom", "phase": "memory", "error": "no room"}}
    )
    assert main([str(run)]) == 0
    text = capsys.readouterr().out
    for words in (
        "50.0 % (1/2)",
        "2.0000x (n=1)",
        "left out of the means: 1 failed",
        "oom in memory",
        "no room",
        "load",
    ):
        assert words in text
    assert text.index("Models") < text.index("Failures by message") < text.index("Flags")


def test_what_the_experiment_concludes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The lines that an experiment ends its run with are in the report, of each run; in Markdown they are code."""
    for folder, verdict in (("before", "pass"), ("after", "fail_accuracy")):
        cells = {f"{name * 12}": {"model": {"name": name}} for name in "ab"}
        record = RunRecord("accuracy", cells, header(Accuracy.columns), summary=Accuracy.summary)
        files = RunFiles(tmp_path / folder, record.write(tmp_path / folder))
        files.append({"cell_id": "a" * 12, "name": "a", "status": "ok", "accuracy": verdict})
    assert main([str(tmp_path / "before")]) == 0
    assert "pass rate: 50.0 % (1 of 2 cells" in capsys.readouterr().out
    assert main([str(tmp_path / "before"), str(tmp_path / "after"), "--format", "md"]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if line.startswith("    pass rate: ")]
    assert [line.split(" % ")[0] for line in said] == ["    pass rate: 50.0", "    pass rate: 0.0"]
    assert all(lines[lines.index(line) - 1] == "" for line in said)


def test_only_so_many_rows(results, capsys: pytest.CaptureFixture[str]):
    """Of too many rows the slowest are shown, and what isn't is said."""
    run = results({f"m{i}": {"speedup": 3.0 - i / 10} for i in range(5)})
    assert main([str(run), "--rows", "2"]) == 0
    text = capsys.readouterr().out
    assert "2 of 5 rows" in text
    assert ("m4" in text, "m0" in text) == (True, False)


def test_markdown_of_hostile_text(results, capsys: pytest.CaptureFixture[str]):
    """No name or message can end a cell, start markup or mention somebody."""
    run = results({"a|b": {"status": "crashed", "error": "<img src=x> @octocat *bold* `x` [l](http://e.org)"}})
    main([str(run), "--format", "md"])
    text = capsys.readouterr().out
    assert "a\\|b" in text
    assert "\\<img" in text
    assert (" <img" in text, "@octocat" in text, " *bold" in text, "[l](" in text) == (False, False, False, False)


def test_csv_has_every_row_with_all_columns(results, capsys: pytest.CaptureFixture[str]):
    """The rows of all runs under one header, as text that reads back as the same numbers."""
    run = results({"a": {"speedup": 1.2345678901234567}, "b": {"status": "oom"}, "lost": None})
    main([str(run), "--format", "csv"])
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["name"] for row in rows] == ["a", "b"]
    assert (float(rows[0]["speedup"]), rows[1]["speedup"], rows[0]["from"]) == (1.2345678901234567, "", str(run))


def test_json(results, capsys: pytest.CaptureFixture[str]):
    """One object with the figures; nan is null, so that every reader takes it."""
    run = results({"a": {"speedup": 2.0}, "b": {"speedup": float("nan")}})
    main([str(run), "--format", "json"])
    [found] = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["experiments"]
    assert (found["groups"][0]["speedup"]["center"], found["rows"][1]["speedup"]) == (2.0, None)
    assert (found["groups"][0]["passed"], found["groups"][0]["attempted"]) == (2, 2)


def test_hud_records(results, capsys: pytest.CaptureFixture[str]):
    """Batch size and dtype are the row's; a number of a wrong result isn't reported; one line, one object."""
    run = results(
        {
            "a": {"speedup": 2.0, "batch_size": 256, "compile_s": 7.5},
            "w": {"status": "wrong_output", "accuracy": "fail_accuracy", "speedup": 9.0},
        }
    )
    main([str(run), "--format", "hud"])
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    of_a = {r["metric"]["name"]: r for r in records if r["model"]["name"] == "a"}
    assert of_a["speedup"]["metric"]["benchmark_values"] == [2.0]
    assert of_a["compilation_latency"]["metric"]["benchmark_values"] == [7.5]
    assert of_a["accuracy"]["metric"]["extra_info"]["benchmark_values"] == ["pass"]
    benchmark = of_a["speedup"]["benchmark"]
    assert (benchmark["extra_info"]["batch_size"], benchmark["dtype"], benchmark["mode"]) == (
        256,
        "bfloat16",
        "inference",
    )
    assert of_a["speedup"]["model"] == {"name": "a", "type": "OSS model", "backend": "inductor", "origins": ["timm"]}
    assert [r["metric"]["name"] for r in records if r["model"]["name"] == "w"] == ["accuracy"]


def test_dynamobench_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Its files are accepted, and the missing intervals are said."""
    path = tmp_path / "perf.csv"
    path.write_text("dev,name,batch_size,speedup,abs_latency\ncpu,a,8,2.0,1.0\n")
    assert main([str(path)]) == 0
    text = capsys.readouterr().out
    assert "written by dynamobench" in text
    assert "without intervals" in text


def test_output_file(results, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """`--output` writes there and nowhere else."""
    out = tmp_path / "report.md"
    assert main([str(results({"a": {}})), "--format", "md", "--output", str(out)]) == 0
    assert (out.read_text()[:10], capsys.readouterr().out) == ("## speedup", "")


def test_rebuild(results, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A sweep's lost files come back from its jobs."""
    for i, backend in enumerate(("inductor", "eager")):
        results({"a": {}}, f"sweep/{i}", "sweep", i, backend=backend)
    before = (tmp_path / "sweep" / "speedup.csv").read_text()
    (tmp_path / "sweep" / "speedup.csv").unlink()
    assert main([str(tmp_path / "sweep"), "--rebuild"]) == 0
    assert (tmp_path / "sweep" / "speedup.csv").read_text() == before
    assert "2 rows gathered" in capsys.readouterr().err


def test_cut_and_damaged_lines(results, capsys: pytest.CaptureFixture[str]):
    """A half-written last line is not read, a damaged one is counted; the rest is reported."""
    run = results({"a": {}, "b": {}})
    path = run / "speedup.csv"
    head, a, b = path.read_text().splitlines()
    path.write_text(f"{head}\n{a}\nrubbish\n{b[:50]}")
    assert main([str(run)]) == 0
    text = capsys.readouterr().out
    assert "1 damaged line ignored" in text
    assert "1 without a row yet: b" in text


def bad_inputs(folder: Path) -> dict[str, list[str]]:
    """What each sentence has to say, and the arguments that ask for it."""
    (folder / "empty").mkdir()
    (folder / "foreign").mkdir()
    (folder / "foreign" / "run.json").write_text("[1, 2]")
    (folder / "future").mkdir()
    (folder / "future" / "run.json").write_text('{"format": 99}')
    return {
        "there is no such file or folder": ["nope"],
        "holds no run": ["empty"],
        "isn't the record of a run": ["foreign"],
        "use a newer runner": ["future"],
    }


@pytest.mark.parametrize(
    "says", ["there is no such file or folder", "holds no run", "isn't the record of a run", "use a newer runner"]
)
def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], says: str):
    """One sentence on standard error and exit code 2, nothing on standard output."""
    monkeypatch.chdir(tmp_path)
    assert main(bad_inputs(tmp_path)[says]) == 2
    out, err = capsys.readouterr()
    assert (out, says in err, len(err.splitlines())) == ("", True, 1)


def test_output_that_cannot_be_written(results, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A folder that isn't there is named."""
    assert main([str(results({"a": {}})), "--output", str(tmp_path / "no" / "x.md")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_rebuild_of_a_single_run(results, capsys: pytest.CaptureFixture[str]):
    """There is nothing to gather, and that is said."""
    assert main([str(results({"a": {}})), "--rebuild"]) == 2
    assert "no sweep" in capsys.readouterr().err


def test_a_reader_that_stops_reading(results, cli, tmp_path: Path):
    """`report ... | head -1` ends without a traceback."""
    run = results({f"m{i}": {} for i in range(300)})
    command = f"{sys.executable} -m runner report {run} --rows 0 --format json | head -c 10"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.stderr == ""
