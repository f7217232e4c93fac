"""What an exception becomes; the statuses by phase are in test_deaths.py."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Unsupported
from runner.results.columns import Phase, Status
from runner.worker.failure import classify, one_line


@given(st.text())
def test_one_line(text: str) -> None:
    """Any text becomes one printable line of bounded length."""
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= 500


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\r\n  b\t c", "a b c"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("nul\0", "nul\\x00"),
        ("surrogate \udc80", "surrogate \\udc80"),
    ],
)
def test_escapes(text: str, line: str) -> None:
    """White space is folded, terminal sequences vanish, other controls are spelled out."""
    assert one_line(text) == line


def raised(error: BaseException, cause: BaseException) -> BaseException:
    """`error` as raised from `cause`."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("phase", [None, *Phase])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), Status.OOM),
        (raised(RuntimeError("backend failed"), MemoryError()), Status.OOM),
        (raised(RuntimeError("backend failed"), Unsupported("needs onnx")), Status.UNSUPPORTED),
    ],
)
def test_any_phase(error: BaseException, status: Status, phase: Phase | None) -> None:
    """Memory and missing requirements are seen in every phase, also behind the exception raised from them."""
    assert classify(error, phase)[0] is status


def test_wrapped_unsupported_says_why() -> None:
    """The line is that of the requirement, not of what wrapped it."""
    error = raised(RuntimeError("backend failed"), Unsupported("needs onnx: pip install onnx"))
    assert classify(error, Phase.COMPILE)[1] == "needs onnx: pip install onnx"


def test_pip_name() -> None:
    """The command names what pip knows; a missing part of an installed package is the model's own error."""
    missing = ModuleNotFoundError("No module named 'cv2.dnn'", name="cv2.dnn")
    assert classify(missing, Phase.LOAD) == (Status.UNSUPPORTED, "needs the package cv2: pip install opencv-python")
    part = ModuleNotFoundError("No module named 'torch.nothing'", name="torch.nothing")
    assert classify(part, Phase.LOAD)[0] is Status.LOAD_ERROR
