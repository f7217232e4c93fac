"""Packages that only one backend needs."""

from __future__ import annotations

import importlib
from typing import Any

from runner.errors import Unsupported


def require(module: str, pip_name: str) -> Any:
    """The imported module; Unsupported with the pip command where it isn't installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise Unsupported(f"needs the package {module}: pip install {pip_name}") from None
