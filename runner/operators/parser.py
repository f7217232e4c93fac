"""Reads operator logs, upstream's and ours. A parser, not `eval`: a hostile file is refused with line and column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from runner.errors import UsageError
from runner.operators.values import DTYPES, FLOATING, BadLine, InputSet, Name, TensorSpec, map_specs

#: Sections of an operator: its input sets, and the lines that can't be read.
Sections = dict[str, list[InputSet | BadLine]]

#: Deeper than any argument, and far from Python's recursion limit.
MAX_DEPTH = 32
MAX_DIMS = 64
MAX_SIZE = 2**62
#: Overloads that were renamed since upstream published its logs.
RENAMED = {"aten.sum.SymInt": "aten.sum.dim_IntList"}
OPERATOR = re.compile(r"\w+(\.\w+){1,2}", re.ASCII)
CONSTANTS = {"True": True, "False": False, "None": None, "inf": float("inf"), "nan": float("nan")}
_TOKEN = re.compile(
    r"""(?P<space>[ \t]+)
    |(?P<number>-?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?(?P<imaginary>j)?)
    |(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    |(?P<mark>[()\[\]{},:=-])
    |(?P<comment>\#.*)""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class LogError(UsageError):
    """What is wrong, with file, line and column."""


class _SyntaxError(Exception):
    def __init__(self, column: int, message: str) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int


def parse(text: str, source: str = "log", narrowest: str = "") -> Sections:
    """The sections of a log. `source` names it in errors, `narrowest` its narrowest floating dtype if that is known.

    A line of arguments that can't be read becomes a BadLine of its operator. Raises LogError where the line belongs to
    no operator or is neither a section's start nor arguments.
    """
    sections: Sections = {}
    current: list[InputSet | BadLine] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{source}:{number}"
        if line.startswith("Operator:"):
            current = sections.setdefault(_operator(line, where), [])
        elif line.startswith("cnt:") and current is not None:
            current.append(_entry(line, where))
        elif line.strip() and not line.startswith("#"):
            expected = "'Operator: NAME'" if current is None else "'Operator: NAME' or 'cnt: N, (ARGS, KWARGS)'"
            raise LogError(f"{where}:1: {expected} expected, found {line[:40]!r}")
    return _with_narrowest(sections, narrowest)


def operators_in(text: str) -> list[str]:
    """Names of the operators that have a section, without reading the arguments."""
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Operator:"))
    return [RENAMED.get(name, name) for name in names]


def _operator(line: str, where: str) -> str:
    name = line.partition(":")[2].strip()
    if not OPERATOR.fullmatch(name):
        column = len(line) - len(line.partition(":")[2].lstrip()) + 1
        raise LogError(f"{where}:{column}: an operator's name such as aten.add.Tensor expected, found {name[:40]!r}")
    return RENAMED.get(name, name)


def _entry(line: str, where: str) -> InputSet | BadLine:
    try:
        return replace(_Line(line).entry(), where=where)
    except _SyntaxError as error:
        return BadLine(f"{where}:{error.column}: {error}")


def _with_narrowest(sections: Sections, narrowest: str) -> Sections:
    """Every set told which floating dtype is the narrowest of its log: the one that a precision replaces."""
    sets = (entry for entries in sections.values() for entry in entries if isinstance(entry, InputSet))
    found = {spec.dtype for entry in sets for spec in entry.tensors} & set(FLOATING)
    narrowest = narrowest or next((name for name in FLOATING if name in found), "float32")
    return {
        name: [replace(e, narrowest=narrowest) if isinstance(e, InputSet) else e for e in entries]
        for name, entries in sections.items()
    }


class _Line:
    """One line `cnt: N, (ARGS, KWARGS)`, by recursive descent."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._tokens = list(_tokens(line))
        self._at = 0
        self._depth = 0

    def entry(self) -> InputSet:
        """The whole line."""
        self._expect("cnt")
        self._expect(":")
        count = self._value()
        if type(count) is not int or count < 1:
            self._fail("a count of at least 1 expected", -1)
        self._expect(",")
        both = self._value()
        if not isinstance(both, tuple) or [type(part) for part in both] != [tuple, dict]:
            self._fail("(ARGS, KWARGS), a tuple and a dict, expected", -1)
        if not all(isinstance(key, str) for key in both[1]):
            self._fail("names of keyword arguments expected", -1)
        found = InputSet(count, *both)
        token = self._next()
        if token.kind == "comment":
            return _annotated(found, token)
        return found if token.kind == "end" else self._fail("the end of the line expected", -1)

    def _value(self) -> Any:
        token = self._next()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "string":
            return _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), token.text[1:-1])
        if token.kind == "name":
            return self._named(token)
        if token.text == "-" and self._peek().text in {"inf", "nan"}:
            return -self._value()
        reader: Callable[[], Any] | None = {"(": self._tuple, "[": self._list, "{": self._dict}.get(token.text)
        return self._nested(reader) if reader else self._fail("a value expected", -1)

    def _nested(self, reader: Callable[[], Any]) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH}", -1)
        value = reader()
        self._depth -= 1
        return value

    def _number(self, token: _Token) -> Any:
        try:
            if token.text.endswith("j"):
                return complex(token.text)
            return float(token.text) if re.search(r"[.eE]", token.text) else int(token.text)
        except ValueError:  # Python reads no whole number of more than 4300 digits
            return self._fail("a shorter number expected", -1)

    def _named(self, token: _Token) -> Any:
        if self._peek().text == "(" and token.text in {"T", "ST"}:
            return self._tensor(token)
        if self._peek().text == "(" and token.text in {"device", "torch.device", "th.device"}:
            values, keywords = self._call()
            kind = next(iter([*values, *keywords.values()]), None)
            return kind if isinstance(kind, str) else self._fail("a device's type expected", -1)
        if token.text in CONSTANTS:
            return CONSTANTS[token.text]
        if token.text in DTYPES:
            return Name(DTYPES[token.text])
        module, _, name = token.text.partition(".")
        if module in {"torch", "th"} and name and "." not in name and not name.startswith("_"):
            return Name(name)
        return self._fail(f"unknown name '{token.text[:40]}'", -1)

    def _tensor(self, token: _Token) -> TensorSpec:
        values, keywords = self._call()
        if len(values) < 2 or not isinstance(values[1], Name) or values[1].name not in DTYPES.values():
            self._fail_at(token, "T([SIZES], DTYPE) expected")
        size = self._sizes(token, values[0])
        stride = keywords.get("stride")
        strides = None if stride is None else self._sizes(token, stride)
        if strides is not None and len(strides) != len(size):
            self._fail_at(token, f"{len(size)} sizes but {len(strides)} strides")
        return TensorSpec(size, values[1].name, strides, sparse=token.text == "ST")

    def _sizes(self, token: _Token, value: Any) -> tuple[int, ...]:
        """Sizes or strides, small enough that a product of them is a number and not a way to fill the memory."""
        if not isinstance(value, (list, tuple)) or not all(type(n) is int and 0 <= n < MAX_SIZE for n in value):
            self._fail_at(token, "a list of sizes, whole numbers from 0, expected")
        if len(value) > MAX_DIMS:
            self._fail_at(token, f"at most {MAX_DIMS} dimensions expected")
        return tuple(value)

    def _call(self) -> tuple[list[Any], dict[str, Any]]:
        self._expect("(")
        values: list[Any] = []
        keywords: dict[str, Any] = {}
        while not self._closed(")"):
            if self._peek().kind == "name" and self._peek(1).text == "=":
                name = self._next().text
                self._expect("=")
                keywords[name] = self._value()
            else:
                values.append(self._value())
            self._separated(")")
        return values, keywords

    def _tuple(self) -> Any:
        values: list[Any] = []
        comma = False
        while not self._closed(")"):
            values.append(self._value())
            comma = self._separated(")") or comma
        return values[0] if len(values) == 1 and not comma else tuple(values)

    def _list(self) -> list[Any]:
        values: list[Any] = []
        while not self._closed("]"):
            values.append(self._value())
            self._separated("]")
        return values

    def _dict(self) -> dict[Any, Any]:
        values: dict[Any, Any] = {}
        while not self._closed("}"):
            key = self._value()
            if not isinstance(key, (str, int)):
                self._fail("a string or a number as key expected", -1)
            self._expect(":")
            values[key] = self._value()
            self._separated("}")
        return values

    def _closed(self, mark: str) -> bool:
        if self._peek().text == mark and self._peek().kind == "mark":
            self._at += 1
            return True
        return False

    def _separated(self, closing: str) -> bool:
        """Whether a comma followed; else the closing mark must, and is left there."""
        if self._peek().text == "," and self._peek().kind == "mark":
            self._at += 1
            return True
        if self._peek().text != closing or self._peek().kind != "mark":
            self._fail(f"',' or '{closing}' expected")
        return False

    def _expect(self, text: str) -> None:
        token = self._next()
        if token.text != text or token.kind not in {"mark", "name"}:
            self._fail(f"'{text}' expected", -1)

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def _next(self) -> _Token:
        token = self._peek()
        self._at += 1
        return token

    def _fail(self, message: str, ahead: int = 0) -> NoReturn:
        self._fail_at(self._peek(ahead), message)

    def _fail_at(self, token: _Token, message: str) -> NoReturn:
        found = f", found {token.text[:40]!r}" if token.kind != "end" else ", found the end of the line"
        raise _SyntaxError(token.column, message + found)


def _tokens(line: str) -> Iterable[_Token]:
    at = 0
    while at < len(line):
        match = _TOKEN.match(line, at)
        if match is None:
            raise _SyntaxError(at + 1, f"unexpected character {line[at]!r}")
        if match.lastgroup != "space":
            kind = "number" if match["number"] else str(match.lastgroup)
            yield _Token(kind, match[0], at + 1)
        at = match.end()
    yield _Token("end", "", len(line) + 1)


def _annotated(found: InputSet, comment: _Token) -> InputSet:
    """The set with what its comment says of its tensors; a comment that is no dict is only a comment."""
    text = comment.text.lstrip("# ")
    if not text.startswith("{"):
        return found
    notes = _Line(text)._value()
    grads, bounds = notes.get("grad", []), notes.get("range", {})
    if not isinstance(grads, list) or not isinstance(bounds, Mapping) or not all(map(_is_bounds, bounds.values())):
        raise _SyntaxError(comment.column, "{'grad': [I, ...], 'range': {I: (LOW, HIGH), ...}} expected")
    places = iter(range(len(found.tensors)))

    def noted(spec: TensorSpec) -> TensorSpec:
        place = next(places)
        return replace(spec, grad=place in grads, bounds=bounds.get(place))

    args, kwargs = map_specs(noted, (found.args, dict(found.kwargs)))
    return replace(found, args=args, kwargs=kwargs)


def _is_bounds(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(n) is int for n in value) and value[0] <= value[1]
