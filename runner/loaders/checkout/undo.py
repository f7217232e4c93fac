"""Puts back what TorchBench's models change in their process while they are built.

A seeding function that ignores its argument, cuDNN and matmul switches, the default device, the working directory, the
import path, the environment and the generators' states would all change what is measured afterwards.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAME = "torchbench"  # what the models' argument parsers see as the command line


@contextmanager
def inside(root: Path, seed: int) -> Iterator[None]:
    """Inside, `root` is the working directory and first in the import path, and all generators start from `seed`."""
    import torch

    with _globals(), _switches(), torch.random.fork_rng(devices=[]):
        os.chdir(root)
        sys.path.insert(0, str(root))
        sys.argv = [_NAME]
        random.seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators as well
        yield


@contextmanager
def _globals() -> Iterator[None]:
    """Of Python, NumPy and the process."""
    import numpy as np

    directory, path, argv, environment = Path.cwd(), list(sys.path), sys.argv, dict(os.environ)
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - the models use the global one
    try:
        yield
    finally:
        os.chdir(directory)
        sys.path[:], sys.argv = path, argv
        os.environ.clear()
        os.environ.update(environment)
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002


@contextmanager
def _switches() -> Iterator[None]:
    """Of torch."""
    import torch
    from torch.utils import _device

    places = _places(torch)
    before = [(place, name, getattr(place, name)) for place, names in places for name in names]
    set_back = {
        torch.set_default_dtype: torch.get_default_dtype(),
        torch.set_float32_matmul_precision: torch.get_float32_matmul_precision(),
        torch.use_deterministic_algorithms: torch.are_deterministic_algorithms_enabled(),
        torch.set_grad_enabled: torch.is_grad_enabled(),
        torch.set_num_threads: torch.get_num_threads(),
        torch.autograd.set_detect_anomaly: torch.is_anomaly_enabled(),
    }
    device = _device.CURRENT_DEVICE
    try:
        yield
    finally:
        torch.set_default_device(device)
        for function, value in set_back.items():
            function(value)  # type: ignore[operator]
        for place, name, value in before:
            setattr(place, name, value)


def _places(torch: Any) -> list[tuple[Any, tuple[str, ...]]]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return [
        (torch, ("manual_seed",)),
        (cudnn, ("enabled", "benchmark", "deterministic")),
        (matmul, ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")),
        (torch.backends.mkldnn, ("enabled",)),
    ]
