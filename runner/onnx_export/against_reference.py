"""What onnx's reference implementation makes of an exported model, compared with eager: whose fault is a difference?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from runner import compare_outputs
from runner.compare_outputs import Rule
from runner.onnx_export import reference

#: Larger models take the reference minutes.
MAX_BYTES = 64_000_000


def against_reference(
    model: Path, outputs: Sequence[torch.Tensor], tolerance: float, limit_s: float
) -> tuple[str, float | None]:
    """A word and the largest absolute difference from `outputs`.

    `pass`, `fail`, `fail_to_run`, `timeout`, `too_large`. Needs `test_data_set_0` beside the model. What the reference
    prints goes to the log.
    """
    if sum(file.stat().st_size for file in model.parent.iterdir()) > MAX_BYTES:
        return "too_large", None
    try:
        done = subprocess.run([sys.executable, reference.__file__, str(model)], timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return "timeout", None
    if done.returncode:
        return "fail_to_run", None
    with np.load(model.parent / "reference.npz") as found:
        theirs = [torch.as_tensor(found[name]) for name in found.files]
    ours = [tensor.detach().cpu() for tensor in outputs]
    compared = compare_outputs.compare(ours, theirs, None, Rule(tolerance, exact_dtype=False))
    return "pass" if compared.ok else "fail", compared.max_abs_err
