"""Which rows are compared with each other."""

from __future__ import annotations

from typing import Any

import pytest

from runner.compare.join import join
from runner.errors import UsageError


def test_subjects_are_joined_whatever_the_backend(maker: Any) -> None:
    """A row is compared with the one of its subject, measured with another backend for instance."""
    other = maker.config(choices={"backend": "aot_eager"})
    pairs = join(maker.side({"a": {}, "b": {}}), maker.side({"b": {}}, config=other))
    assert [(p.either.name, bool(p.base), bool(p.new)) for p in pairs] == [("a", True, False), ("b", True, True)]


def test_the_backend_tells_rows_of_one_subject_apart(maker: Any) -> None:
    """Where a subject occurs twice on a side, rows are joined by backend too."""
    configs = [maker.config(choices={"backend": name}) for name in ("inductor", "aot_eager")]
    both = maker.together(*(maker.side({"a": {}}, config=config) for config in configs))
    one = maker.side({"a": {}}, config=configs[1])
    found = [(dict(p.distinct), bool(p.new)) for p in join(both, one)]
    assert found == [({"backend": "inductor"}, False), ({"backend": "aot_eager"}, True)]


def test_then_whatever_differs_tells_them_apart(maker: Any) -> None:
    """Two rows of one backend are joined by the keys of their configuration that differ."""
    sides = [
        maker.together(*(maker.side({"a": {}}, config=maker.config(backend={"fullgraph": on})) for on in (False, True)))
        for _ in range(2)
    ]
    pairs = join(*sides)
    assert [p.distinct["backend.fullgraph"] for p in pairs] == ["false", "true"]
    assert all(p.base and p.new for p in pairs)


def test_rows_that_nothing_tells_apart_are_refused(maker: Any) -> None:
    """The same cell twice on a side is a usage error that says what to do."""
    twice = maker.together(maker.side({"a": {}}), maker.side({"a": {}}))
    with pytest.raises(UsageError, match="several times on one side.*tag="):
        join(twice, maker.side({"a": {}}))


def test_nothing_in_common_says_why(maker: Any) -> None:
    """The key in which the sides differ is named with its values."""
    bf16 = maker.config(choices={"precision": "bf16"})
    with pytest.raises(UsageError, match="nothing in common: precision is fp32 there and bf16 here"):
        join(maker.side({"a": {}}), maker.side({"a": {}}, config=bf16))
    with pytest.raises(UsageError, match="name is a there and b here"):
        join(maker.side({"a": {}}), maker.side({"b": {}}))
