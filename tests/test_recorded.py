"""The recorded facts about models: which rows of a run are taken, and what `select.fast=true` makes of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "fixtures"))

import synthetic

from runner import catalog, recorded
from runner.config import conf_dir
from runner.recorded import make

#: Suites that know their models by themselves.
SUITES = sorted({path.stem for path in (conf_dir() / "suite").glob("*.yaml")} - {"module"})


def step(name: str, how: str, eager_s: str) -> dict[str, Any]:
    """A row of the table."""
    return {**dict.fromkeys(make.STEP_COLUMNS, "x"), "name": name, "how": how, "eager_s": eager_s}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "ok", "eager_latency": 250.0, "phase_s": "load=1;eager=0.9;compile=2"}, (0.25, "measured")),
        ({"status": "wrong_output", "eager_latency": 250.0}, (0.25, "measured")),
        ({"phase_s": "load=1.2;eager=12.9;compile=26.7"}, (12.9, "first_step")),
        ({"phase_s": "load=1.2;eager=118"}, (118.0, "first_step")),
        ({"status": "interrupted", "phase_s": "load=1.2;eager=3.5"}, (None, "")),
        ({"status": "eager_error", "phase_s": "load=1.2;eager=3.5"}, (None, "")),
        ({"status": "timeout", "phase_s": "load=300"}, (None, "")),
        ({"status": "interrupted"}, (None, "")),
    ],
)
def test_what_a_row_tells(fields: dict[str, Any], expected: tuple[float | None, str]) -> None:
    """A measured step in seconds; else the first step, if it ended or the model timed out in it."""
    assert make.eager_s({"status": "timeout", **fields}) == expected


def test_a_measured_step_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a later first step, nor one of the same call, takes the place of a measured one; a newer measured does."""
    monkeypatch.setattr(make, "STEPS", tmp_path / "steps.csv")
    make.record_steps([step("a", "measured", "0.2"), step("a", "first_step", "9")])
    make.record_steps([step("a", "first_step", "8"), step("b", "first_step", "7")])
    assert [(r["name"], r["eager_s"]) for r in recorded.read(make.STEPS)] == [("a", "0.2"), ("b", "7")]
    make.record_steps([step("a", "measured", "0.3")])
    assert [r["eager_s"] for r in recorded.read(make.STEPS)] == ["0.3", "7"]


def test_a_run_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's folder is enough: its measured rows, and those that ended after their first step.

    Not those of models that the command made smaller, or gave another batch size.
    """
    cells = synthetic.cells_of(["a", "b", "c", "d", "e"])
    measured, late, early, small, fewer = synthetic.rows_of(cells, failing=0)
    small["command"] += " suite.scale=small"
    fewer["command"] += " batch_size=1"
    late |= {"status": "timeout", "eager_latency": None, "phase_s": "load=1;eager=12.9;compile=26.7"}
    early |= {"status": "timeout", "eager_latency": None, "phase_s": "load=300"}
    synthetic.write_run(tmp_path / "out", [measured, late, early, small, fewer], cells)
    monkeypatch.setattr(make, "STEPS", tmp_path / "steps.csv")
    assert make.main(["steps", str(tmp_path / "out")]) == 0
    found = {step["name"]: step for step in recorded.read(make.STEPS)}
    assert {name: step["how"] for name, step in found.items()} == {"a": "measured", "b": "first_step"}
    assert float(found["a"]["eager_s"]) == pytest.approx(measured["eager_latency"] / 1e3, rel=1e-4)
    assert (found["b"]["eager_s"], found["b"]["dev"], found["b"]["device_name"]) == ("12.9", "cuda", "NVIDIA H200")


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("suite", SUITES)
def test_fast_models_or_why_there_are_none(cli: Any, suite: str, mode: str) -> None:
    """`select.fast=true` keeps exactly the models that are recorded as fast, or says in a sentence what is recorded."""
    done = cli(f"suite={suite}", f"mode={mode}", "select.fast=true", "device=cpu", "plan=true")
    seconds = recorded.eager_seconds(suite, "cpu", mode)
    policies = catalog.models_file(suite, [conf_dir()])
    fast = {name for name, found in seconds.items() if found < 0.5 and not policies.get(name, {}).get("slow")}
    if fast:
        lines = [line for line in done.stdout.splitlines() if re.search(r"  (run|skipped|unsupported)", line)]
        assert (done.returncode, {line.split()[0] for line in lines}) == (0, fast), done.stderr
        return
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "select.fast=true leaves nothing: " in done.stderr
    assert (min(seconds, key=lambda name: seconds[name]) if seconds else "no eager step of the") in done.stderr


def test_a_policy_says_that_a_model_is_slow(cli: Any) -> None:
    """`slow` leaves a model out, whatever was recorded, and the sentence says that it was the policy."""
    done = cli("select.fast=true", "device=cpu", "policy.slow=true", "plan=true")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "that are fast on cpu in inference are slow by their policy" in done.stderr
