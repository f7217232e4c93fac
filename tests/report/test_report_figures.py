"""The figures, the buckets and the flags of a report."""

from __future__ import annotations

import math

import pytest

from runner.measure.statistics import geometric_mean
from runner.report.figures import Section, normalised, sections
from runner.report.sources import gather


def section_of(*paths: object) -> Section:
    """The only section of these paths."""
    [section] = sections(gather([str(path) for path in paths]))
    return section


def test_every_cell_is_counted_once_and_the_means_say_what_they_leave_out(results):
    """Wrong, failed, unconverged and lost cells are in the pass rate's denominator and not in the means."""
    wide = {"converged": False, "speedup": 9.0}
    run = results({
        "a": {"speedup": 2.0}, "b": {"speedup": 0.5}, "wrong": {"status": "wrong_output", "speedup": 9.0}, "wide": wide,
        "dead": {"status": "crashed"}, "none": {"status": "unsupported"}, "policy": {"status": "skipped"}, "lost": None,
    })  # fmt: skip
    [figures] = section_of(run).figures
    assert (figures.passed, figures.attempted) == (3, 6)
    assert figures.left_out == {"wrong": 1, "failed": 1, "unconverged": 1, "missing": 1}
    assert figures.speedup is not None
    assert (figures.speedup.n, figures.speedup.center) == (2, pytest.approx(1.0))


def test_both_intervals(results):
    """They are those of the statistics, over the rows that count."""
    run = results({"a": {"speedup": 2.0, "se_within": 0.01}, "b": {"speedup": 1.0, "se_within": 0.02}})
    found = section_of(run).figures[0].speedup
    expected = geometric_mean([2.0, 1.0], [0.01, 0.02])
    assert found is not None
    assert (found.measurement, found.suite) == (expected.measurement, expected.suite)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0, None])
def test_speedups_that_are_none(results, value: float | None):
    """A speedup that no mean can take is left out and counted."""
    [figures] = section_of(results({"a": {"speedup": 2.0}, "odd": {"speedup": value}})).figures
    assert figures.speedup is not None
    assert (figures.speedup.n, figures.left_out) == (1, {"without a usable speedup": 1})


def test_without_intervals_there_is_a_mean_and_no_measurement_interval(tmp_path):
    """Rows of dynamobench's have no errors: the measurement interval is unknown, not zero wide."""
    path = tmp_path / "perf.csv"
    path.write_text("dev,name,batch_size,speedup,abs_latency\ncpu,a,8,2.0,1.0\ncpu,b,8,0.5,1.0\ncpu,c,0,0.0,0.0\n")
    [figures] = section_of(path).figures
    assert figures.speedup is not None
    assert (figures.speedup.center, figures.speedup.measurement) == (pytest.approx(1.0), None)
    assert figures.speedup.suite is not None
    assert (figures.passed, figures.attempted) == (2, 3)


def test_means_of_compile_time_and_memory(results):
    """Arithmetic, as the dashboard has them, with the number of rows that have a value."""
    run = results(
        {"a": {"compile_s": 2.0, "compression_ratio": 1.0}, "b": {"compile_s": 4.0, "compression_ratio": None}}
    )
    [figures] = section_of(run).figures
    assert (figures.mean_compile_s, figures.mean_memory_ratio) == ((3.0, 2), (1.0, 1))


def test_a_group_for_each_suite_backend_precision_mode_and_device(results, tmp_path):
    """Cells that differ in one of the five never share a mean."""
    for i, choice in enumerate(
        ({}, {"suite": "demo"}, {"backend": "eager"}, {"precision": "fp32"}, {"mode": "training"})
    ):
        results({"a": {}}, f"{i}", **choice)
    section = section_of(tmp_path)
    assert len(section.figures) == 5
    assert list(section.group_of) == [0, 1, 2, 3, 4]


def test_two_runs_of_the_same_are_kept_apart(results):
    """Before and after are two groups, named after what was given; the parts of one selection are one."""
    before, after, other = results({"a": {}}, "before"), results({"a": {}}, "after"), results({"b": {}}, "other")
    assert [f.labels["from"] for f in section_of(before, after).figures] == [str(before), str(after)]
    assert len(section_of(before, other).figures) == 1


def test_a_sweep_over_batch_sizes_is_a_group_for_each(results, tmp_path):
    """Rows of one model that differ in a setting are groups, in the order of the settings, and not models."""
    for i, size in enumerate((1, 8)):
        run = results({"a": {"batch_size": size}, "b": {"batch_size": size}}, f"{i}", sweep=".", job=i)
        record = run / "run.json"
        record.write_text(record.read_text().replace('"shared": {', f'"shared": {{"batch_size": {size},', 1))
    section = section_of(tmp_path)
    assert [figures.labels["batch_size"] for figures in section.figures] == ["1", "8"]
    assert list(section.group_of) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("at 0x7f21 in view", "at 0x8beef000 in view"),
        ("got shape [2, 3, 224]", "got shape [16]"),
        ("size (8, s0, 3)", "size (8, s17)"),
        ("tried to allocate 2.50 GiB, 3 free", "tried to allocate 12.00 GiB, 441 free"),
        ("loss=-1.5e-05", "loss=3"),
        ("u0 < s4 + 1", "u0 < s12 + 9"),
    ],
)
def test_messages_of_one_cause(one: str, other: str):
    """Addresses, shapes and numbers don't make another failure."""
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("needs timm", "needs torchvision"), ("not for float32", "not for float16")]
)
def test_messages_of_different_causes(one: str, other: str):
    """Words do, also those that end in digits."""
    assert normalised(one) != normalised(other)


def test_buckets_and_flags(results):
    """Failures come before what was left out, the largest bucket first; a flag has all its models."""
    oom = {"status": "oom", "phase": "memory"}
    run = results({
        "skip": {"status": "skipped", "error": "too big"}, "x": {"status": "crashed", "error": "SIGSEGV"},
        "o1": {**oom, "error": "2 GiB"}, "o2": {**oom, "error": "31 GiB"}, "f": {"flags": "load;preempted"},
        "g": {"flags": "load"},
    })  # fmt: skip
    section = section_of(run)
    assert [bucket.names for bucket in section.buckets] == [["o1", "o2"], ["x"], ["skip"]]
    assert section.flags == {"load": ["f", "g"], "preempted": ["f"]}


def test_experiments_are_never_mixed(results, tmp_path):
    """Each has a section of its own, whatever its columns are."""
    results({"a": {}})
    (tmp_path / "ops.csv").write_text("name,cell_id,status,experiment,us\na,1,ok,ops,2.5\n")
    found = sections(gather([str(tmp_path / "run"), str(tmp_path / "ops.csv")]))
    assert [section.experiment for section in found] == ["speedup", "ops"]
    assert found[1].figures[0].speedup is None


def test_the_models_of_two_runs_say_which_is_whose(results):
    """In the list of models each row names its run."""
    before, after = results({"a": {}}, "before"), results({"a": {}}, "after")
    assert [row["from"] for row in section_of(before, after).rows] == [str(before), str(after)]
