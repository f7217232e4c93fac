"""What went wrong on the way from a model to a running session: where, by which rule, and the words of the cause."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from runner.errors import Unsupported
from runner.results.columns import Column, Row
from runner.worker.failure import causes, is_out_of_memory, message_of, one_line


class Step(str, Enum):
    """Where it failed."""

    EXPORT = "export"
    SESSION = "session"
    RUN = "run"
    COMPARE = "compare"


#: rule_id -> rule_name.
RULES = {
    "missing-operator": "an operator has no translation to ONNX",
    "capture": "the model can't be captured as one graph",
    "decompose": "the captured graph can't be decomposed",
    "translate": "the captured graph can't be translated to ONNX",
    "session": "ONNX Runtime refuses the model",
    "run": "ONNX Runtime fails while it runs the model",
    "compare": "what the exported model computes differs from eager",
    "tracer-warning": "the tracer took something as constant",
}
#: Characters of a message in the table.
LONGEST = 2000
#: Characters of a reason in a row.
LONGEST_REASON = 400
#: What ONNX Runtime says, with exceptions of its own, when memory runs out.
OUT_OF_MEMORY = re.compile(r"Failed to allocate memory for requested buffer|bad_alloc|CUDA failure 2: out of memory")
#: The exporter numbers its steps in its messages.
EXPORTER_STEPS = {"1": "capture", "2": "decompose", "3": "translate"}

#: Columns of onnx_export_errors.csv: those of upstream's file of that name, then ours.
COLUMNS = (
    Column("device", str, "", "device type"),
    Column("model_name", str, "", "model name"),
    Column("batch_size", int, "", "effective batch size"),
    Column("rule_id", str, "", f"what kind of finding: {', '.join(RULES)}"),
    Column("rule_name", str, "", "the same in words"),
    Column("diagnostic_level", str, "", "error or warning"),
    Column("diagnostic_message", str, "", "operator, tensor or line of code that it is about, else the cause"),
    Column("exception_type_name", str, "", "type of the exception that caused it"),
    Column("exception_message", str, "", "its message on one line"),
    Column("phase", str, "", "phase of the cell: compile, check"),
    Column("step", str, "", "what was being done: export, session, run, compare"),
    Column("exporter", str, "", "exporter that was used"),
)


@dataclass(frozen=True)
class Finding:
    """One line of onnx_export_errors.csv."""

    rule: str
    message: str
    level: str = "error"
    exception_type: str = ""
    exception_message: str = ""

    def row(self) -> Row:
        """The columns that this is about; the caller knows the others."""
        return {
            "rule_id": self.rule,
            "rule_name": RULES[self.rule],
            "diagnostic_level": self.level,
            "diagnostic_message": one_line(self.message, LONGEST),
            "exception_type_name": self.exception_type,
            "exception_message": one_line(self.exception_message, LONGEST),
        }


class OnnxError(Exception):
    """An exporter or ONNX Runtime failed, or the model in their hands; made `from` what they raised."""

    def __init__(self, step: Step, error: BaseException) -> None:
        root = list(causes(error))[-1]
        self.step = step
        self.kind = type(root).__name__
        self.reason = what_it_says(root)
        self.finding = Finding(_rule(step, error), self.reason, "error", self.kind, message_of(root))
        super().__init__(f"{step.value}: {self.kind}: {self.reason}")


@contextmanager
def failing(step: Step) -> Iterator[None]:
    """Inside, an exception becomes an `OnnxError` of this step; `Unsupported` passes, and so does a lack of memory."""
    try:
        yield
    except Unsupported:
        raise
    except Exception as error:
        if any(map(is_out_of_memory, causes(error))):
            raise
        if OUT_OF_MEMORY.search(message_of(error)):
            raise MemoryError(what_it_says(error)) from error
        raise OnnxError(step, error) from error


def what_it_says(error: BaseException) -> str:
    """The first paragraph of an exception's message, on one line: hints, logs and stacks come after it."""
    paragraph: str = re.split(r"\n\n|\s+\[Caused by", message_of(error).strip(), maxsplit=1)[0]
    return one_line(paragraph, LONGEST_REASON) or type(error).__name__


def _rule(step: Step, error: BaseException) -> str:
    if step is not Step.EXPORT:
        return str(step.value)
    if any(type(cause).__name__ in {"DispatchError", "UnsupportedOperatorError"} for cause in causes(error)):
        return "missing-operator"
    number = re.search(r"step (\d)/3", message_of(error))
    if number:
        return EXPORTER_STEPS[number[1]]
    return "translate" if type(error).__module__.startswith("torch.onnx") else "capture"


@contextmanager
def recorded_warnings() -> Iterator[list[Finding]]:
    """Inside, what the tracer warns of becomes findings, each once; other warnings go to the log."""
    findings: dict[str, Finding] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found: list[Finding] = []
        yield found
    for warning in caught:
        kind, text = warning.category.__name__, str(warning.message)
        if kind == "TracerWarning":
            place = f"{warning.filename}:{warning.lineno}"
            findings[place] = Finding("tracer-warning", place, "warning", kind, text)
        else:
            sys.stderr.write(warnings.formatwarning(text, warning.category, warning.filename, warning.lineno))
    found += findings.values()


def missing_operators(report: str) -> list[Finding]:
    """All operators without a translation that an exporter's report lists: the exception names the first only."""
    _, _, listed = report.partition("Errors grouped by operator:")
    found = re.findall(r"^- `([^`]+)`: +(.*?)(?: Example node: .*)?$", listed.split("\n## ")[0], re.MULTILINE)
    return [Finding("missing-operator", operator, "error", "DispatchError", reason) for operator, reason in found]
