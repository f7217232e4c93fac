"""From an exception in a child to the status, type and one line that its row shows."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator

from runner.errors import Unsupported, UsageError
from runner.results.columns import Phase, Status
from runner.worker.messages import Message

STATUS_OF = {
    None: Status.INTERNAL_ERROR,
    Phase.LOAD: Status.LOAD_ERROR,
    Phase.EAGER: Status.EAGER_ERROR,
    Phase.COMPILE: Status.COMPILE_ERROR,
    Phase.CHECK: Status.CHECK_ERROR,
    Phase.MEMORY: Status.RUN_ERROR,
    Phase.WARMUP: Status.RUN_ERROR,
    Phase.MEASURE: Status.RUN_ERROR,
}
#: Packages whose import name is not what pip installs.
PIP_NAMES = {"PIL": "pillow", "cv2": "opencv-python", "sklearn": "scikit-learn", "yaml": "pyyaml"}
LONGEST = 500
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\-_])")
#: What libraries below torch say in a plain RuntimeError.
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|"
    r"\b[A-Z]+ error: out of memory|STATUS_ALLOC_FAILED|OUT_OF_(DEVICE|HOST)_MEMORY"
)


def describe(error: BaseException, phase: Phase | None) -> Message:
    """The message for `error`, raised in `phase` (None: outside of any phase, so by our own code).

    `failed`, or `misused` where the configuration is wrong in a way that only torch could tell.
    """
    if any(isinstance(cause, UsageError) for cause in causes(error)):
        return {"kind": "misused", "message": one_line(message_of(error))}
    status, text = classify(error, phase)
    return {
        "kind": "failed",
        "status": status.value,
        "phase": phase.value if phase else None,
        "type": one_line(type(error).__name__),
        "message": one_line(text),
    }


def classify(error: BaseException, phase: Phase | None) -> tuple[Status, str]:
    """Status of the row, and what to say."""
    text = message_of(error)
    chain = list(causes(error))
    if any(map(is_out_of_memory, chain)):
        return Status.OOM, text
    unsupported = next((cause for cause in chain if isinstance(cause, Unsupported)), None)
    if unsupported is not None:
        return Status.UNSUPPORTED, message_of(unsupported)
    if isinstance(error, SystemExit):
        return Status.CRASHED, f"the program left by sys.exit({error.code!r})"
    if phase in (None, Phase.LOAD):
        missing = next(filter(None, map(missing_package, chain)), None)
        if missing:
            return Status.UNSUPPORTED, f"needs the package {missing}: pip install {PIP_NAMES.get(missing, missing)}"
    if phase is Phase.LOAD and isinstance(error, NotImplementedError):
        return Status.UNSUPPORTED, text
    return STATUS_OF[phase], text


def causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and the exceptions it was raised from; not those it was merely raised beside."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the host or on a device."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(message_of(error)))


def missing_package(error: BaseException) -> str | None:
    """Import name of the package that is not installed, when that is what `error` says."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    if package in sys.modules or importlib.util.find_spec(package):
        return None
    return package


def message_of(error: BaseException) -> str:
    """`str(error)`, also when the exception cannot say it."""
    try:
        return str(error)
    except BaseException as second:  # noqa: BLE001 - the model's own exception class may raise anything here
        return f"(its message can't be printed: {type(second).__name__})"


def one_line(text: str, longest: int = LONGEST) -> str:
    """`text` as one printable line: white space runs to a space, terminal escapes out, other controls spelled out."""
    flat = " ".join(_ESCAPES.sub("", text[: 20 * longest]).split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."
