"""Optional packages that loaders need: the sentence when one is missing, and a way around a broken pair of wheels."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from packaging.version import Version

from runner.errors import Unsupported

_libraries: list[Any] = []  # a torch.library.Library undefines its operators when it is collected


def require(package: str, at_least: str, pip: str | None = None) -> None:
    """Raise `Unsupported` with the pip command unless `package` is installed in version `at_least` or later.

    `pip` is the name of the distribution where it differs from the package's.
    """
    pip = pip or package
    try:
        found = version(pip)
    except PackageNotFoundError:
        raise Unsupported(f"needs {package}>={at_least}: pip install {pip}") from None
    if Version(found) < Version(at_least):
        raise Unsupported(f"needs {package}>={at_least}, found {found}: pip install -U {pip}")


def torchvision() -> ModuleType:
    """Import torchvision; raises `Unsupported` when it is missing.

    A torchvision wheel built for CUDA can't load its operators beside a CPU-only torch and then fails on import,
    because it describes operators that nobody declared. Declaring them is enough for every model that does not use
    them. It happens after the first import failed: operators that do load declare themselves, and only once.
    """
    require("torchvision", "0.20")
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    _declare_missing_operators()
    return importlib.import_module("torchvision")


def mend_torchvision() -> None:
    """Make a later `import torchvision` by another library succeed, where it is installed at all."""
    if find_spec("torchvision") is not None:
        torchvision()


def _declare_missing_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]
    _libraries.append(library)
