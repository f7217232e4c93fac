"""The summary of a run."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest

from runner.measure.statistics import geometric_mean
from runner.report.terminal import log_se, print_summary
from runner.results.columns import Column, Row, header
from runner.results.files import RunFiles
from runner.results.reader import read_run
from runner.results.run import RunRecord

OWN = (
    Column("speedup", float, "x", "ratio", headline=True),
    Column("abs_latency", float, "ms", "latency", headline=True),
    Column("speedup_lo", float, "x", "lower limit"),
    Column("speedup_hi", float, "x", "upper limit"),
    Column("se_within", float, "", "standard error of the log"),
    Column("n_processes", int, "", "processes"),
    Column("verdict", str, "", "verdict"),
    Column("compile_s", float, "s", "first call"),
    Column("converged", bool, "", "narrow enough"),
)
SUMMARY = ("speedup", "verdict", "abs_latency", "compile_s")


def good(speedup: float, **values: object) -> Row:
    """A row with a measured speedup."""
    limits = {"speedup_lo": speedup / 1.02, "speedup_hi": speedup * 1.02, "se_within": 0.01}
    return {"status": "ok", "speedup": speedup, "abs_latency": 12.5, "converged": True, **limits, **values}


def summary_of(folder: Path, rows: dict[str, Row | None], summary: tuple[str, ...] = SUMMARY) -> str:
    """What is printed for a run with these rows by model name; None is a cell without a row."""
    cells = {f"{i:012d}": {"model": {"name": name}} for i, name in enumerate(rows)}
    record = RunRecord("speedup", cells, header(OWN), summary=summary).write(folder)
    files = RunFiles(folder, record)
    for (cell_id, cell), row in reversed(list(zip(cells.items(), rows.values(), strict=True))):
        if row is not None:
            files.append({"cell_id": cell_id, "name": cell["model"]["name"], **row})
    stream = io.StringIO()
    print_summary(read_run(folder), stream)
    return stream.getvalue()


def test_table_in_catalogue_order(tmp_path: Path) -> None:
    """Models in the order of run.json, with interval, unit and flags; columns without a value don't appear."""
    text = summary_of(tmp_path, {"b": good(1.5, flags="noisy", verdict="faster"), "a": good(2.0)})
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["model", "status", "speedup", "verdict", "abs_latency", "(ms)", "flags"]
    assert lines[2] == ["b", "ok", "1.500x", "[1.471,", "1.530]", "faster", "12.50", "noisy"]
    assert lines[3][:2] == ["a", "ok"]


def test_without_a_wish_the_headline_is_shown(tmp_path: Path) -> None:
    """An experiment that declares no summary gets upstream's headline columns."""
    head = summary_of(tmp_path, {"a": good(2.0)}, summary=()).splitlines()[0].split()
    assert head == ["model", "status", "speedup", "abs_latency", "(ms)"]


def test_counts_and_what_the_mean_leaves_out(tmp_path: Path) -> None:
    """Every cell is counted once; the mean leaves out wrong, failed, unconverged and lost ones, and says so."""
    rows: dict[str, Row | None] = {
        "a": good(2.0),
        "b": good(0.5),
        "wrong": {**good(9.0), "status": "wrong_output"},
        "shaky": good(9.0, converged=False),
        "dead": {"status": "crashed", "phase": "compile"},
        "absent": {"status": "unsupported", "error": "needs timm"},
        "policy": {"status": "skipped", "error": "too big"},
        "lost": None,
    }
    text = summary_of(tmp_path, rows)
    counts = "8 cells: 2 ok, 1 wrong, 1 failed, 1 unconverged, 1 unsupported, 1 skipped, 1 missing"
    assert f"speedup: {counts}\n" in text
    mean = geometric_mean([2.0, 0.5], [0.01, 0.01])
    first = f"geometric mean of 2 models: {mean.center:.4f}x, 95 % measurement interval [{mean.measurement[0]:.4f}"
    assert first in text
    assert f"suite interval [{mean.suite[0]:.4f}, {mean.suite[1]:.4f}]" in text
    assert "; left out: 1 wrong, 1 failed, 1 unconverged\n" in text
    assert "no row yet: lost\n" in text


def test_no_mean_without_speedups(tmp_path: Path) -> None:
    """Where nothing can be averaged, nothing is claimed."""
    without_interval = good(1.0, se_within=None, speedup_lo=None)
    text = summary_of(tmp_path, {"a": {"status": "ok"}, "b": good(math.inf), "c": without_interval})
    assert "geometric mean" not in text


def test_standard_error_over_processes() -> None:
    """With several processes the row's interval gives the error, as the error within one process is too small."""
    assert log_se(good(1.0)) == 0.01
    assert log_se(good(1.0, n_processes=3)) == pytest.approx(math.log(1.02) / 1.959964, rel=1e-6)


def test_failures_are_one_line_each(tmp_path: Path) -> None:
    """A failed cell has a line with status, phase, error and the log's path, unwrapped however long."""
    dead = {"status": "crashed", "phase": "compile", "error_type": "SIGSEGV", "error": "x" * 300, "log": "logs/1.log"}
    text = summary_of(tmp_path, {"dead": dead})
    assert f"\ndead  crashed in compile: SIGSEGV: {'x' * 300}  log: {tmp_path}/logs/1.log\n" in text


def test_reasons_are_given_once(tmp_path: Path) -> None:
    """Models that lack the same thing share a line."""
    rows: dict[str, Row | None] = {name: {"status": "unsupported", "error": "needs timm"} for name in "abc"}
    assert "\nunsupported: needs timm  (a, b, c)\n" in summary_of(tmp_path, rows)


def test_text_of_models_steers_nothing(tmp_path: Path) -> None:
    """Markup, escape codes and newlines in names and errors are shown and not obeyed; long names stay whole."""
    long = "long_" * 50
    rows: dict[str, Row | None] = {
        "[red]x[/red]": good(1.0),
        "a\x1b[31m\n": {"status": "run_error", "error": "[/bold]\x1b]0;title\x07"},
        long: good(1.0),
        ":smile:": good(1.0),
    }
    text = summary_of(tmp_path, rows)
    assert all(c.isprintable() or c == "\n" for c in text)
    for shown in ("[red]x[/red]", r"a\x1b[31m\n", r"[/bold]\x1b]0;title\x07", long, ":smile:"):
        assert shown in text


def test_a_sweep_says_what_differs(tmp_path: Path) -> None:
    """Columns in which rows differ are shown and have a mean each; the folder's jobs are counted."""
    for job, backend in enumerate(("inductor", "eager")):
        folder = tmp_path / str(job)
        cells = {str(n) * 12: {"model": {"name": f"m{n}"}} for n in range(2)}
        record = RunRecord("speedup", cells, header(OWN), summary=SUMMARY, job=job)
        files = RunFiles(folder, record.write(folder), tmp_path)
        for n in range(2):
            files.append({"cell_id": str(n) * 12, "name": f"m{n}", "backend": backend, "suite": "demo", **good(1.5)})
    stream = io.StringIO()
    print_summary(read_run(tmp_path), stream)
    text = stream.getvalue()
    assert text.splitlines()[0].split()[:3] == ["model", "backend", "status"]
    assert "speedup (backend inductor), geometric mean of 2 models: 1.5000x" in text
    assert "speedup (backend eager), geometric mean" in text
    assert f"results in {tmp_path}: speedup.csv, sweep.csv, 2 job folders\n" in text


def test_cells_that_look_alike_show_their_id(tmp_path: Path) -> None:
    """Two rows of one model that differ in a setting without a column are told apart by cell_id."""
    cells = {letter * 12: {"model": {"name": "m"}} for letter in "ab"}
    files = RunFiles(tmp_path, RunRecord("speedup", cells, header(OWN)).write(tmp_path))
    for cell_id in cells:
        files.append({"cell_id": cell_id, "name": "m", **good(1.0)})
    stream = io.StringIO()
    print_summary(read_run(tmp_path), stream)
    assert stream.getvalue().splitlines()[0].split()[:3] == ["model", "cell_id", "status"]


def test_configurations_of_one_model_have_a_mean_each(tmp_path: Path) -> None:
    """Settings in which rows of one name differ are shown and are no models: batch size, then keys of the cell."""
    cells, rows = {}, []
    for n in range(8):
        model, size, malloc = "ab"[n % 2], (1, 8)[n // 2 % 2], ("inherit", "no_trim")[n // 4]
        config = {"model": {"name": model}, "batch_size": size, "measure": {"malloc": malloc, "rel_ci": 0.01 * n // 4}}
        cells[f"{n:012d}"] = config
        rows.append({"cell_id": f"{n:012d}", "name": model, "batch_size": size, **good(1.0 + n // 2)})
    RunFiles(tmp_path, RunRecord("speedup", cells, header(OWN), summary=SUMMARY).write(tmp_path)).rows.append(*rows)
    stream = io.StringIO()
    print_summary(read_run(tmp_path), stream)
    text = stream.getvalue()
    assert text.splitlines()[0].split()[:4] == ["model", "batch_size", "measure.malloc", "status"]
    assert "speedup (batch_size 1, measure.malloc inherit), geometric mean of 2 models: 1.0000x" in text
    assert "speedup (batch_size 8, measure.malloc no_trim), geometric mean of 2 models: 4.0000x" in text
    assert text.count("geometric mean of") == 4


def test_any_encoding(tmp_path: Path) -> None:
    """A stream that knows ASCII only gets escapes instead of an exception."""
    cells = {"a" * 12: {"model": {"name": "模"}}}
    files = RunFiles(tmp_path, RunRecord("speedup", cells, header(OWN)).write(tmp_path))
    files.append({"cell_id": "a" * 12, "name": "模", **good(1.0)})
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii")
    print_summary(read_run(tmp_path), stream)
    stream.flush()
    assert rb"\u6a21" in buffer.getvalue()


def test_damaged_lines_are_mentioned(tmp_path: Path) -> None:
    """Lines that couldn't be read are counted in the summary."""
    cells = {"a" * 12: {"model": {"name": "m"}}}
    files = RunFiles(tmp_path, RunRecord("speedup", cells, header(OWN)).write(tmp_path))
    files.append({"cell_id": "a" * 12, "name": "m", **good(1.0)})
    with files.rows.path.open("a") as file:
        file.write("half a row\n")
    stream = io.StringIO()
    print_summary(read_run(tmp_path), stream)
    assert "\n1 damaged line ignored\n" in stream.getvalue()
