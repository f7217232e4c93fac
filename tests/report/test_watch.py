"""`watch`: what a folder says of the run in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runner.report import alive, watch
from runner.results.run import claimed, record_sweep


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up runs were started on this machine."""
    import synthetic

    monkeypatch.setitem(synthetic.ENVIRONMENT, "host", os.uname().nodename)


def test_a_finished_run(results, here, capsys: pytest.CaptureFixture[str]):
    """It is shown once, and the command ends."""
    run = results({"a": {}, "b": {"status": "oom", "error": "no room"}})
    assert watch.main([str(run)]) == 0
    text = capsys.readouterr().out
    assert "2/2 cells done, 1 ok, 1 failed" in text
    assert "b  oom: no room" in text
    assert text.rstrip().endswith("finished")


def test_a_running_run(results, here, capsys: pytest.CaptureFixture[str]):
    """The cell that writes its log is the running one; time left follows from the finished cells."""
    run = results({"a": {"cell_s": 30.0}, "b": None, "c": None})
    (run / "logs").mkdir()
    (run / "logs" / f"{cell_id_of(run, 'b')}.log").write_text("compiling")
    with claimed(run):
        assert watch.main([str(run), "--once"]) == 0
    text = capsys.readouterr().out
    assert "1/3 cells done, 1 ok" in text
    assert "running: b (last output 0 s ago); to come: c" in text
    assert "about 60 s left" in text
    assert "finished" not in text


def cell_id_of(run: Path, name: str) -> str:
    """Id of a model's cell."""
    from runner.results.run import RunRecord

    return next(cell_id for cell_id, cell in RunRecord.load(run).cells.items() if cell["model"]["name"] == name)


def test_a_killed_run(results, here, capsys: pytest.CaptureFixture[str]):
    """Cells without a row and nobody at work: how to go on is said, and the command ends."""
    run = results({"a": {}, "b": None})
    assert watch.main([str(run)]) == 0
    assert f"stopped with 1 cell to do: python -m runner resume {run}" in capsys.readouterr().out


def test_an_interrupted_run(results, here, capsys: pytest.CaptureFixture[str]):
    """A row that `resume` replaces isn't done: neither is its run finished, nor is anybody at work on it."""
    run = results({"a": {}, "b": {"status": "interrupted", "error": "SIGINT"}})
    assert watch.main([str(run)]) == 0
    text = capsys.readouterr().out
    assert "1/2 cells done, 1 ok\n" in text
    assert "b  interrupted: SIGINT" in text
    assert f"stopped with 1 cell to do: python -m runner resume {run}" in text
    with claimed(run):
        assert not alive.look(run).running


def test_a_run_on_another_machine(results):
    """Its lock isn't seen from here: it is alive as long as it writes."""
    run = results({"a": {}, "b": None})
    assert alive.look(run).open
    past = time.time() - 2 * alive.SILENCE_S
    for path in (run, *run.iterdir()):
        os.utime(path, (past, past))
    assert not alive.look(run).open


def test_a_cell_to_be_measured_again(results, here):
    """A pending row isn't a final one."""
    run = results({"a": {}, "b": None})
    results.files.pend({**results.rows[0], "cell_id": cell_id_of(run, "b"), "name": "b", "converged": False})
    [job] = alive.look(run).jobs
    assert (job.num_waiting, job.num_left, dict(job.counts)) == (1, 1, {"ok": 1})


def test_a_sweep_between_two_jobs(results, here, tmp_path: Path):
    """As long as the process that launched it lives, more is to come."""
    record_sweep(tmp_path / "sweep", ["--multirun"], tmp_path)
    with claimed(tmp_path / "sweep"):
        assert alive.look(tmp_path / "sweep").open
        results({"a": {}}, "sweep/0", "sweep", 0)
        progress = alive.look(tmp_path / "sweep")
        assert (progress.open, progress.done, progress.total) == (True, 1, 1)
    assert not alive.look(tmp_path / "sweep").open


def test_a_shard_of_a_sweep(results, here, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A job without cells of the shard is not waited for, nor is one that was refused and would be again."""
    sweep = tmp_path / "sweep"
    record_sweep(sweep, ["--multirun"], tmp_path, jobs=2)
    results({"a": {}}, "sweep/0", "sweep", 0)
    (sweep / "1").mkdir()
    assert watch.main([str(sweep)]) == 0
    assert "stopped with 1 job to do" in capsys.readouterr().out
    for note, said in {"2 out of bounds": ["1 job refused:", "  out of bounds"], "0 no cell": []}.items():
        (sweep / "1" / "refused.txt").write_text(f"{note}\n")
        assert watch.main([str(sweep)]) == 0
        assert capsys.readouterr().out.splitlines()[1:] == [*said, "finished"]


def test_a_job_whose_resuming_was_refused(results, here, tmp_path: Path):
    """It has begun, and its cells are counted: it isn't missing a second time."""
    sweep = tmp_path / "sweep"
    record_sweep(sweep, ["--multirun"], tmp_path, jobs=2)
    run = results({"a": {}, "b": None}, "sweep/0", "sweep", 0)
    (run / "refused.txt").write_text("2 measured in another environment\n")
    progress = alive.look(sweep)
    assert (progress.asked, progress.refused) == (2, ())


def test_it_leaves_no_trace(results, here):
    """Watching writes nothing and takes no lock: a job that starts meanwhile isn't refused."""
    run = results({"a": {}, "b": None})
    before = sorted(run.iterdir())
    alive.look(run)
    assert sorted(run.iterdir()) == before
    with claimed(run):
        alive.look(run)


def test_again_until_it_ends(results, here, capsys: pytest.CaptureFixture[str]):
    """On a pipe a change is printed when there is one, not every look."""
    run = results({"a": {}, "b": None})
    looks = []

    def sleep(_seconds: float) -> None:
        looks.append(1)
        if len(looks) == 3:
            results.files.append({**results.rows[0], "cell_id": cell_id_of(run, "b"), "name": "b"})
            claim.__exit__(None, None, None)

    claim = claimed(run)
    claim.__enter__()
    watch.watch(run, once=False, interval_s=1, sleep=sleep)
    lines = capsys.readouterr().out.splitlines()
    assert len(looks) == 3
    assert [line for line in lines if "cells done" in line] == [lines[0], lines[-2]]
    assert lines[-1] == "finished"


@pytest.mark.parametrize("arguments", [["nope"], ["."]])
def test_nothing_to_watch(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """No folder, or one without results: one sentence, exit code 2."""
    monkeypatch.chdir(tmp_path)
    assert watch.main(arguments) == 2
    assert "holds neither a run nor a sweep" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_intervals_that_are_none(text: str, capsys: pytest.CaptureFixture[str]):
    """An interval is a time of at least a tenth of a second."""
    with pytest.raises(SystemExit) as stop:
        watch.main(["x", "--interval", text])
    assert (stop.value.code, "is no time in seconds" in capsys.readouterr().err) == (2, True)
