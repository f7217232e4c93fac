"""Which logs, operators and input sets a selection means; quantiles of what came out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runner.errors import UsageError
from runner.operators import catalogue
from runner.operators.catalogue import Choose, Recorded
from runner.operators.pack import write
from runner.operators.quantiles import quantile
from runner.operators.values import BadLine, InputSet

KNOWN = ["aten.add.Tensor", "aten.add_.Tensor", "aten.native_layer_norm.default", "aten.norm.Scalar"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("all", KNOWN),
        ("aten.add.Tensor", KNOWN[:1]),
        ("aten.add", KNOWN[:1]),
        ("aten.*norm*", KNOWN[2:]),
        ("*", KNOWN),
    ],
)
def test_operators_are_chosen_by_name_packet_and_pattern(asked: str, found: list[str]) -> None:
    """A packet is no prefix: aten.add is not aten.add_."""
    assert catalogue.matching(asked, KNOWN) == found


@pytest.mark.parametrize(
    ("asked", "words"),
    [("aten.ad.Tensor", "Did you mean: aten.add.Tensor"), ("aten.x*", "matches none of the 4 operators")],
)
def test_an_unknown_operator_is_refused(asked: str, words: str) -> None:
    """With what is near, or with the number of those that there are."""
    with pytest.raises(UsageError, match=words):
        catalogue.matching(asked, KNOWN)


def test_input_sets_are_chosen_by_count_or_evenly() -> None:
    """The most frequent ones come first; evenly spread ones include both ends; few are taken all."""
    assert catalogue.chosen(10, 0, 3, Choose.frequent) == [0, 1, 2]
    assert catalogue.chosen(10, 2, 3, Choose.frequent) == [2, 3, 4]
    assert catalogue.chosen(10, 0, 4, Choose.evenly) == [0, 3, 6, 9]
    assert catalogue.chosen(3, 0, 15, Choose.evenly) == [0, 1, 2]
    assert catalogue.chosen(3, 5, 15, Choose.evenly) == []


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in the place of the one that ships; nothing of it is remembered."""
    functions = (catalogue.shipped, catalogue.texts, catalogue.input_sets)
    monkeypatch.setattr(catalogue, "LOGS", tmp_path)
    for function in functions:
        function.cache_clear()
    yield tmp_path
    for function in functions:
        function.cache_clear()


def test_logs_of_models_and_modes_are_merged(shelf: Path) -> None:
    """Equal sets are one, with their counts added; a model's own log is its own; the most frequent come first."""
    files = {
        "small_training.txt": "Operator: aten.relu.default\ncnt: 2, ((T([2], f32),), {})\ncnt: 3, ((T([3], f32),), {})\n",
        "small_inference.txt": "Operator: aten.relu.default\ncnt: 5, ((T([2], f32),), {})\n",
        "other_inference.txt": "Operator: aten.relu.default\ncnt: 1, ((T([2], f32), oops),), {})\n",
        "manifest.json": "{}",
    }
    write(shelf / "shelf.tar.xz", files)
    assert catalogue.suites() == ["shelf"]
    every = catalogue.texts("shelf", "all", Recorded.both, None)
    assert catalogue.operators(every) == ["aten.relu.default"]
    first, second, bad = catalogue.input_sets(every, "aten.relu.default")
    assert isinstance(first, InputSet)
    assert isinstance(second, InputSet)
    assert (first.count, first.tensors[0].size, second.count) == (7, (2,), 3)
    assert isinstance(bad, BadLine)
    assert bad.why.startswith("shelf/other_inference.txt:2:24: unknown name 'oops'")
    (only,) = catalogue.texts("shelf", "small", Recorded.training, None)
    assert only[0] == "shelf/small_training.txt"
    with pytest.raises(UsageError, match="no operator log ships for suite attic"):
        catalogue.texts("attic", "all", Recorded.both, None)


def test_packing_is_reproducible(tmp_path: Path) -> None:
    """The same texts give the same bytes."""
    for name in ("a", "b"):
        write(tmp_path / name, {"x.txt": "1", "y.txt": "2"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_quantiles() -> None:
    """As numpy has them; a count repeats its value."""
    values = [3.0, 1.0, 2.0, 5.0, 4.5]
    for q in (0.2, 0.5, 0.8):
        assert quantile(values, q) == pytest.approx(float(np.quantile(values, q)))
        assert quantile(values, q, [2, 3, 1, 4, 2]) == pytest.approx(float(np.quantile(np.repeat(values, [2, 3, 1, 4, 2]), q)))
        assert quantile([2.0, 2.0], q, [1, 9]) == 2.0
    assert quantile([1.0, 2.0], 0.5) == 1.5
    assert quantile([7.0], 0.2, [3]) == 7.0
