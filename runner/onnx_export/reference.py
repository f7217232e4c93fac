"""Runs a model in onnx's reference implementation, in a process of its own: it is slow, and may hang or crash.

`python reference.py MODEL.onnx` reads test_data_set_0/input_*.pb beside the model and writes reference.npz there.
It imports nothing of ours, so that the process starts at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main(path: Path) -> None:
    """Evaluate and write; number formats that NumPy lacks are widened to float32."""
    import numpy as np
    import onnx
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    files = sorted(path.parent.glob("test_data_set_0/input_*.pb"), key=lambda file: int(file.stem.rpartition("_")[2]))
    tensors = [onnx.load_tensor(str(file)) for file in files]
    feeds = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
    outputs: Any = ReferenceEvaluator(str(path)).run(None, feeds)
    plain = [np.asarray(o) if np.asarray(o).dtype.isbuiltin else np.asarray(o).astype(np.float32) for o in outputs]
    np.savez(path.parent / "reference.npz", *plain)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
