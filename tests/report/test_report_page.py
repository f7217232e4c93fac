"""What is put into the HTML report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from runner.report.details import LOG_FAILED, details, read_pairs, tail
from runner.report.figures import sections
from runner.report.main import main
from runner.report.pack import pack
from runner.report.sources import gather


def test_one_file_that_nothing_in_it_can_break(results, tmp_path: Path):
    """Text of results is inside JSON without `<`: there are only our own elements."""
    evil = "</script><script>alert(1)</script><!-- {{script}}"
    run = results({evil: {"status": "crashed", "error": evil, "flags": evil}})
    results.files.directory.joinpath("logs").mkdir()
    (run / results.rows[0]["log"]).write_text(evil)
    out = tmp_path / "r.html"
    assert main([str(run), "--format", "html", "--output", str(out)]) == 0
    text = out.read_text()
    assert (len(re.findall("<script", text)), len(re.findall("</script", text)), text.count("alert(1)</script>")) == (
        3,
        3,
        0,
    )
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert evil in data["sections"][0]["data"]["name"]["d"]
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


@pytest.mark.parametrize(
    ("values", "kind", "packed"),
    [
        (["a", "", "a"], str, {"d": ["a", ""], "i": [0, 1, 0]}),
        ([1.23456789, None, float("nan"), float("-inf")], float, [1.234568, None, "nan", "-inf"]),
        ([2.0, 1e300], float, [2, 1e300]),
        ([True, None], bool, [True, None]),
        ([None, None], float, None),
        (["", None], str, None),
    ],
)
def test_columns(values, kind, packed):
    """Words as a dictionary, numbers short, no column where there is nothing."""
    assert pack(values, kind) == packed


def test_samples_are_kept_to_a_ten_thousandth(tmp_path: Path):
    """Each process of a measurement has its pairs; other arrays are not looked at."""
    rng = np.random.default_rng(0)
    arrays = {f"t{side}_{k}": rng.normal(scale, 0.001, 9) for k in (0, 1) for side, scale in (("A", 0.1), ("B", 0.05))}
    np.savez(tmp_path / "x.npz", **arrays, at_s_0=np.zeros(9))
    found = read_pairs(tmp_path / "x.npz")
    assert [label for label, _, _ in found] == ["process 0", "process 1"]
    unit, values = found[1][2]
    assert np.array(values) * unit == pytest.approx(arrays["tB_1"], rel=1e-4)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"not a zip file"])
def test_damaged_samples(tmp_path: Path, content: bytes):
    """They cost their model its charts and nothing else."""
    (tmp_path / "x.npz").write_bytes(content)
    assert read_pairs(tmp_path / "x.npz") == []


def test_the_end_of_a_large_log(tmp_path: Path):
    """Only the end is read, from the start of a line on."""
    path = tmp_path / "x.log"
    with path.open("wb") as file:
        file.truncate(10_000_000_000)  # a hole: takes no space
        file.seek(0, 2)
        file.write(b"\nlast but one\nlast\n")
    assert tail(path, 20) == "... last but one\nlast\n"
    assert len(tail(path, LOG_FAILED)) <= LOG_FAILED + 4


def test_files_elsewhere_stay_there(results, tmp_path: Path):
    """A row may name any path; only what lies in its folder is read."""
    (tmp_path / "secret.txt").write_text("a token")
    run = results({"a": {"log": "../secret.txt"}})
    assert details(sections(gather([str(run)])))["logs"] == {}
