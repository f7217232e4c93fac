"""What a process finds out before its first cell: no cell's compile time may have it in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

READY = "from runner.worker import toolchain; toolchain.ready(); toolchain.have_header()"


def test_the_header_is_there_before_the_first_cell(tmp_path: Path) -> None:
    """Inductor's header is built where the first compilation looks for it, once for a temporary directory."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def headers() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.gch")}

    def start(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    start(READY)
    built = headers()
    assert len(built) == 1
    start(f"{READY}; import torch; torch.compile(torch.cos)(torch.ones(64))")
    assert headers() == built
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor_")]
