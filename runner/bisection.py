"""Which part of torch.compile makes a result wrong: torch's own bisection over backends and inductor's passes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from runner.errors import Unsupported


def bisect(is_right: Callable[[], bool]) -> str:
    """Call `is_right`, which compiles and judges anew, with parts of the compiler off until one is to blame.

    Returns `backend`, `backend:subsystem` or `backend:subsystem:N (what)`, N being the application of the subsystem
    that makes the difference; empty where nothing is wrong. Raises Unsupported where torch has no bisector.
    """
    try:
        from torch._inductor.compiler_bisector import CompilerBisector
    except ImportError as error:
        raise Unsupported(f"torch {torch.__version__} has no compiler bisector: use torch 2.6 or newer") from error

    def fresh() -> bool:
        torch._dynamo.reset()
        return is_right()

    found = CompilerBisector.do_bisect(fresh)
    if found is None:
        return ""
    number = f":{found.bisect_number} ({found.debug_info})" if found.bisect_number else ""
    return f"{found.backend}:{found.subsystem}{number}" if found.subsystem else found.backend
