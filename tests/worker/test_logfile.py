"""The beginning and the end of a log are kept, whatever sizes it comes in."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from runner.worker.logfile import BoundedLog


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 100))
def test_bounds(tmp_path_factory, chunks: list[bytes], limit: int) -> None:
    """Short logs are whole; long ones keep `limit` bytes and say how many are missing."""
    path = tmp_path_factory.mktemp("log") / "new" / "cell.log"
    log = BoundedLog(path, limit)
    for chunk in chunks:
        log.write(chunk)
    log.close()
    whole, kept = b"".join(chunks), path.read_bytes()
    if len(whole) <= limit:
        assert kept == whole
    else:
        tail = limit // 2
        line = b"\n[... %d bytes left out (limits.log_bytes) ...]\n" % (len(whole) - limit)
        assert kept == whole[: limit - tail] + line + (whole[-tail:] if tail else b"")


def test_attempts_follow_each_other(tmp_path: Path) -> None:
    """A second attempt of the same cell is appended."""
    for text in (b"one", b"two"):
        log = BoundedLog(tmp_path / "cell.log", 100)
        log.write(text)
        log.close()
    assert (tmp_path / "cell.log").read_bytes() == b"onetwo"


def test_full_disk() -> None:
    """A disk error is remembered, and writing goes on being accepted."""
    log = BoundedLog(Path("/dev/full"), 100)
    log.write(b"x")
    log.write(b"y")
    log.close()
    assert log.failed is not None
    assert log.failed.strerror == "No space left on device"
