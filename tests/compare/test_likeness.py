"""What must agree, what is marked, and what is offered as an explanation."""

from __future__ import annotations

from typing import Any

from runner.compare.join import join
from runner.compare.likeness import differences


def test_alike(maker: Any) -> None:
    """Two equal runs differ in nothing."""
    found = differences(join(maker.side({"a": {}}), maker.side({"a": {}})))
    assert (found.refused, found.marked, found.config, found.environment) == ((), (), (), ())


def test_device_threads_and_allocator_must_agree(maker: Any) -> None:
    """Each difference is a sentence that says in how many cells it is."""
    base = maker.side({"a": {"device_name": "H100"}, "b": {}})
    new = maker.side({"a": {"device_name": "A100", "threads": 4, "malloc": "inherit"}, "b": {}})
    assert differences(join(base, new)).refused == (
        "device_name: H100 then, A100 now (1 of 2)",
        "threads: 2 then, 4 now (1 of 2)",
        "malloc: no_trim then, inherit now (1 of 2)",
    )


def test_torch_and_canary_are_marked(maker: Any) -> None:
    """Another torch, and a machine that is not as fast as before, are said at the top."""
    base = maker.side({"a": {"canary_ms": 5.0}})
    new = maker.side({"a": {"canary_ms": 6.0}}, environment={"torch": {"version": "2.14.0"}})
    torch, canary = differences(join(base, new)).marked
    assert torch == "torch: 2.13.0 then, 2.14.0 now"
    assert canary.startswith("canary: 5 ms then, 6 ms now (+20 %)")


def test_configuration_and_environment_explain(maker: Any) -> None:
    """Every key that differs is listed once, with both values."""
    new = maker.side({"a": {}, "b": {}}, config=maker.config(measure={"rel_ci": 0.01}), environment={"host": "node2"})
    found = differences(join(maker.side({"a": {}, "b": {}}), new))
    assert found.config == ("measure.rel_ci: 0.02 then, 0.01 now",)
    assert found.environment == ("host: node1 then, node2 now",)
