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


#: A configuration that leaves the batch size to the model, and what rows say of one whose model was not loaded.
OPEN = {"batch_size": None}
LOST = {"status": "load_error", "error": "no such file"}
SIZED = {"batch_size": 8}


def joined(*sides: Any) -> list[tuple[str, Any, Any, Any]]:
    """Of each pair: the name, the status of both sides, and the batch size that it is shown with."""
    return [
        (p.either.name, p.base and p.base.status, p.new and p.new.status, p.either.row.get("batch_size"))
        for p in join(*sides)
    ]


@pytest.mark.parametrize("lost", [LOST, None, {"status": "interrupted"}], ids=["load_error", "no row", "interrupted"])
def test_a_model_that_was_not_loaded_has_no_batch_size(maker: Any, lost: dict[str, Any] | None) -> None:
    """It is joined on the rest, alone or among others, whichever side it is on."""
    status = lost["status"] if lost else "no row"
    here, there = (maker.side(models, config=OPEN) for models in ({"a": SIZED, "b": SIZED}, {"a": lost, "b": SIZED}))
    assert joined(here, there) == [("a", "ok", status, 8), ("b", "ok", "ok", 8)]
    assert sorted(joined(there, here)) == [("a", status, "ok", 8), ("b", "ok", "ok", 8)]
    assert joined(maker.side({"a": SIZED}, config=OPEN), maker.side({"a": lost}, config=OPEN)) == [
        ("a", "ok", status, 8)
    ]


def test_backends_keep_models_that_were_not_loaded_apart(maker: Any) -> None:
    """Rows without a batch size are joined by backend with those that have one, and not those of two backends."""

    def side(**rows: Any) -> Any:
        configs = {name: {**OPEN, **maker.config(choices={"backend": name})} for name in rows}
        return maker.together(*(maker.side({"a": rows[name]}, config=configs[name]) for name in rows))

    pairs = join(side(inductor=SIZED, eager=LOST), side(inductor=LOST, eager=SIZED))
    assert {p.distinct["backend"]: (p.base.status, p.new.status) for p in pairs} == {  # type: ignore[union-attr]
        "inductor": ("ok", "load_error"),
        "eager": ("load_error", "ok"),
    }


def test_a_row_without_a_batch_size_is_not_guessed_at(maker: Any) -> None:
    """Of two sizes it may be either, and where a size was asked for it is not the one without."""
    several = maker.together(*(maker.side({"a": {"batch_size": size}}, config=OPEN) for size in (8, 16)))
    again = maker.together(*(maker.side({"a": row}, config=OPEN) for row in (SIZED, LOST)))
    assert joined(several, again) == [("a", "ok", "ok", 8), ("a", "ok", None, 16), ("a", None, "load_error", None)]
    with pytest.raises(UsageError, match="batch_size is 8 there and unset here"):
        join(maker.side({"a": {}}), maker.side({"a": LOST}, config=OPEN))
