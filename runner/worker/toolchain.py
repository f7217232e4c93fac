"""What a process must have imported and found out before it compiles, so that no cell's compile time has it in it."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import importlib
import os
import platform
import re
import subprocess
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from runner.measure.tuning import available_cpus
from runner.worker import boot, kernel

#: Seconds that building inductor's header may take; about six on two cores.
_HEADER_S = 120.0
#: Variables that decide with which flags it is built.
_DECIDES = re.compile("CC|CXX|ATEN_CPU_CAPABILITY|TORCHINDUCTOR_(?!CACHE_DIR)")


@functools.cache  # and so inherited by forks
def ready() -> None:
    """Import torch and inductor, and let torch find out what the CPU's vector unit can do."""
    for module in ("torch", "torch._dynamo", "torch._inductor.compile_fx", "runner.registry"):
        importlib.import_module(module)
    try:
        _probe()
    except Exception:  # noqa: BLE001 - no compiler: a cell that needs one says so itself
        traceback.print_exc()
    gc.collect()
    gc.freeze()  # the collector, which compiling keeps busy, need not look at all of torch each time


def _probe() -> None:
    """Build and load a small library for each kind of vector unit; torch keeps the answers for this process.

    All at once: before torch 2.13 each takes a process that imports torch, and together they took a minute.
    """
    from torch._inductor import cpu_vec_isa

    if platform.machine() == "x86_64":
        flags = cpu_vec_isa.x86_isa_checker()
        likely = [isa for isa in cpu_vec_isa.supported_vec_isa_list if all(flag in flags for flag in str(isa).split())]
        with ThreadPoolExecutor(len(available_cpus())) as pool:
            list(pool.map(bool, likely))
    cpu_vec_isa.pick_vec_isa()


def have_header() -> None:
    """Have the C++ header precompiled that inductor keeps outside its cache directory, where this torch has none yet.

    Once for a temporary directory; only kernels for the CPU include it, and ahead-of-time compilation has its own.
    """
    import torch
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    decides = {name: value for name, value in os.environ.items() if _DECIDES.match(name)}
    this = (torch.__file__, torch.__version__, torch.version.git_version, sorted(decides.items()))
    folder = Path(default_cache_dir(), "precompiled_headers")  # beside the header, to go with it
    mark = folder / f"runner-{hashlib.sha256(repr(this).encode()).hexdigest()[:16]}"
    if mark.exists():
        return
    # A process of its own: what compiling starts and keeps, threads among it, no child may inherit.
    own = {"CUDA_VISIBLE_DEVICES": "", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    own |= {"TORCHDYNAMO_DISABLE": "0", "TORCH_COMPILE_DISABLE": "0"}
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # whatever it is: a cell that compiles says so
        subprocess.run(
            boot.command(__name__, parent=os.getpid()),
            env={**os.environ, **own},
            stdin=subprocess.DEVNULL,
            timeout=_HEADER_S,
            check=True,
        )
        if any(folder.glob("*.gch")):
            mark.touch()


def main(parent: int) -> None:
    """Compile something, as any cell does."""
    kernel.die_with(parent)
    with TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        import torch

        torch.compile(torch.sin)(torch.ones(64))
