"""A small script that shows what a backend does wrong, made by torch's minifier and run once to see that it does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch._dynamo import config as dynamo
from torch._inductor import config as inductor

SCRIPT = "repro.py"
#: torch's levels: minify a graph that raises, minify one whose result is wrong.
RAISES, WRONG = 2, 4


def minify(action: Callable[[], Any], folder: Path, tolerance: float, limit_s: float, *, wrong: bool) -> bool:
    """Let `action` compile and run the graphs that fail, and minify the first of them to `folder`/repro.py.

    False where torch finds no graph that fails by itself: then nothing is written. The minifier runs in a process of
    its own in `folder`; when `limit_s` is over, the smallest script until then stays.
    """
    launcher = _launcher(action, folder, tolerance, WRONG if wrong else RAISES)
    if launcher is None:
        return False
    _python(launcher, folder, limit_s)
    return (folder / SCRIPT).is_file()


def reproduces(folder: Path, limit_s: float, *, wrong: bool) -> bool:
    """Run the script: does it fail, and for a wrong result as torch's comparison says it?"""
    code, printed = _python(folder / SCRIPT, folder, limit_s)
    return code != 0 and (not wrong or "AccuracyError" in printed)


def _launcher(action: Callable[[], Any], folder: Path, tolerance: float, level: int) -> Path | None:
    """The script that torch writes where a graph fails; None where all graphs are good.

    Graphs are looked at as dynamo makes them, then as AOTAutograd does: torch 2.13 can't compare the former when
    nothing needs a gradient.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for after in ("dynamo", "aot"):
        root = folder / f"after_{after}"
        torch._dynamo.reset()
        where = {"repro_after": after, "debug_dir_root": str(root)}
        settings: dict[str, Any] = {**where, "repro_level": level, "repro_tolerance": tolerance}
        # A program from a cache isn't looked at; what is raised is the failure itself.
        caches = inductor.patch(force_disable_caches=True)
        with caches, dynamo.patch(settings), contextlib.suppress(Exception):
            action()
        found = sorted(root.rglob("minifier_launcher.py"))
        if found:
            return found[0]
    return None


def _python(script: Path, folder: Path, limit_s: float) -> tuple[int, str]:
    """Run a script of torch's in `folder`, where it puts its files, for so long at most; its exit code and output."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("TORCHDYNAMO_REPRO")}
    command, log = [sys.executable, str(script)], folder / f"{script.stem}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, log.read_text(errors="replace")
