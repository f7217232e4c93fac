"""Files of names: made by a command, and what it makes today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runner.loaders import names

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_files_are_up_to_date(library: str, tmp_path: Path) -> None:
    """With the version that a file names installed, the command writes that file."""
    code = (
        "import pathlib, sys\nfrom runner.loaders.names import __main__ as command\n"
        f"command.FOLDER = pathlib.Path({str(tmp_path)!r})\ncommand.main([{library!r}])\n"
        f"import {library}\nprint({library}.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    if done.stdout.split()[-1] != names.listed_version(library):
        pytest.skip("another version is installed")
    assert (tmp_path / f"{library}.txt").read_text() == (names.FOLDER / f"{library}.txt").read_text()
