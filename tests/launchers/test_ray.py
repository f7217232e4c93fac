"""Sweeps on a local Ray cluster. Its launcher can't be installed beside joblib's: `pytest -m ray` in its environment."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ray


def test_a_sweep_on_ray(cli: Any, tmp_path: Path, bad_sweep: Any, statuses: Any) -> None:
    """A job that crashes is a row like elsewhere."""
    place = {"RAY_TMPDIR": tempfile.gettempdir()}  # the path of its sockets must be short
    done = cli(*bad_sweep("ray", "good_before,segfault,raises_in_forward"), env=place)
    assert done.returncode == 1, done.stderr
    expected = {"good_before": "ok", "segfault": "crashed", "raises_in_forward": "eager_error"}
    assert statuses(tmp_path / "out") == expected
