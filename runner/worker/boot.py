"""How another interpreter is started: with the parent's import path, whatever directory it is in."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

_CODE = (
    "import json, sys; a = json.loads(sys.argv[1]); sys.path[:] = a.pop('path'); "
    "import importlib; importlib.import_module(a.pop('module')).main(**a)"
)


def command(module: str, **arguments: Any) -> list[str]:
    """Command line that calls `module.main(**arguments)` in a fresh interpreter."""
    given: Mapping[str, Any] = {"path": sys.path, "module": module, **arguments}
    return [sys.executable, "-c", _CODE, json.dumps(given)]
