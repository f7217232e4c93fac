"""Messages come out as they went in, however the stream is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.worker.messages import Decoder, Garbled, encode

VALUES = st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False) | st.none(), max_size=4)


@given(st.lists(VALUES, max_size=5), st.integers(1, 7))
def test_any_cut(messages: list[dict[str, object]], size: int) -> None:
    """Messages are independent of how many bytes arrive at a time."""
    stream = b"".join(map(encode, messages))
    decoder = Decoder()
    found = [m for i in range(0, len(stream), size) for m in decoder.feed(stream[i : i + size])]
    assert found == messages


def test_numbers() -> None:
    """NaN and infinities pass, NumPy's values become Python's, anything else its text."""
    sent = {"a": float("nan"), "b": float("inf"), "c": np.float32(0.5), "d": np.arange(3), "e": test_numbers.__class__}
    (found,) = Decoder().feed(encode(sent))
    assert math.isnan(found.pop("a"))
    assert found == {"b": math.inf, "c": 0.5, "d": [0, 1, 2], "e": "<class 'function'>"}


@pytest.mark.parametrize("data", [b"hello\nworld", b"x" * 30, b"3\nabc", b"1\n1"])
def test_garbled(data: bytes) -> None:
    """Bytes that are no message are refused."""
    with pytest.raises(Garbled):
        list(Decoder().feed(data))
