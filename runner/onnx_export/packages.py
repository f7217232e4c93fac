"""The packages that ONNX needs, and what to install where they are missing or too old."""

from __future__ import annotations

from typing import Any

from packaging.version import Version

from runner.backends import _packages
from runner.errors import Unsupported

#: Oldest versions that do. ONNX Runtime shares its tensors (DLPack) and takes bf16 inputs from 1.21 on; torch's
#: exporter needs what onnxscript has since 0.5, and that needs onnx 1.16.
MINIMUM = {"onnx": "1.16", "onnxscript": "0.5", "onnxruntime": "1.21"}


def require(name: str) -> Any:
    """Import a package of MINIMUM; raises `Unsupported` with the pip command where it is missing or too old."""
    least = MINIMUM[name]
    wanted = f"'{name}>={least}'"
    module = _packages.require(name, wanted)
    if Version(module.__version__) < Version(least):
        raise Unsupported(f"needs {name}>={least}, and {module.__version__} is installed: pip install {wanted}")
    return module
