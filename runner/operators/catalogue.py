"""Finds logs and what is in them: those that ship with the package, by suite and model, or a file of the user's."""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path

from runner import registry
from runner.errors import UsageError
from runner.operators.parser import LogError, operators_in, parse
from runner.operators.values import FLOATING, BadLine, InputSet

LOGS = Path(__file__).parent / "logs"
_MEMBER = re.compile(r"(?P<model>.+)_(?P<mode>inference|training)\.txt")
_WILD = re.compile(r"[*?\[]")


class Recorded(str, Enum):
    """Logs of which mode are taken."""

    both = "both"
    inference = "inference"
    training = "training"


class Choose(str, Enum):
    """Which of an operator's input sets are measured: those that occur most, or evenly spread over all of them."""

    frequent = "frequent"
    evenly = "evenly"


def suites() -> list[str]:
    """Suites of which a log ships."""
    return sorted(path.name.removesuffix(".tar.xz") for path in LOGS.glob("*.tar.xz"))


@functools.cache
def shipped(suite: str) -> Mapping[tuple[str, str], str]:
    """Texts of the suite's logs by model and mode. Raises UsageError where none ship."""
    path = LOGS / f"{suite}.tar.xz"
    if not path.is_file():
        raise UsageError(
            f"no operator log ships for suite {suite} (there are: {', '.join(suites())}): give "
            "experiment.input_file=FILE, which experiment=record_operators makes"
        )
    files = read_archive(path).items()
    return {(found["model"], found["mode"]): text for name, text in files if (found := _MEMBER.fullmatch(name))}


def read_archive(path: Path) -> dict[str, str]:
    """The text files of an archive by name."""
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


@functools.cache
def read_file(path: str) -> str:
    """A user's log. Raises UsageError where it can't be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"experiment.input_file={path} can't be read: {error}") from error


@functools.cache
def texts(suite: str, models: str, recorded: Recorded, input_file: str | None) -> tuple[tuple[str, str], ...]:
    """The logs that a selection stands for, as (where, text). `models` is a name, a pattern or `all`."""
    if input_file is not None:
        return ((input_file, read_file(input_file)),)
    wanted = "*" if models == "all" else models
    return tuple(
        (f"{suite}/{model}_{mode}.txt", text)
        for (model, mode), text in shipped(suite).items()
        if fnmatch.fnmatchcase(model, wanted) and recorded in (Recorded.both, mode)
    )


def digest(found: Iterable[tuple[str, str]], operator: str) -> str:
    """8 hex digits that change with what the logs say of the operator."""
    state = hashlib.sha256()
    for _, text in found:
        state.update(_section(text, operator).encode())
    return state.hexdigest()[:8]


def operators(found: Iterable[tuple[str, str]]) -> list[str]:
    """Operators of the logs, sorted. Raises LogError for a file that is no log."""
    names: set[str] = set()
    for where, text in found:
        refuse_strange_lines(text, where)
        names |= set(_index(text))
    return sorted(names)


def refuse_strange_lines(text: str, where: str) -> None:
    """Raise LogError for the first line that is neither a section's start, nor arguments, nor a comment."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith(("Operator:", "cnt:", "#")):
            expected = "'Operator: NAME' or 'cnt: N, (ARGS, KWARGS)'"
            raise LogError(f"{where}:{number}:1: {expected} expected, found {line[:40]!r}")


def matching(asked: str, known: Sequence[str]) -> list[str]:
    """Operators that `asked` means: all, an overload, a packet (aten.add), or a pattern. Raises UsageError for none."""
    if asked == "all":
        return list(known)
    found = [name for name in known if name == asked or name.rpartition(".")[0] == asked]
    if not found and _WILD.search(asked):
        found = [name for name in known if fnmatch.fnmatchcase(name, asked)]
        if not found:
            raise UsageError(f"experiment.op={asked} matches none of the {len(known)} operators of the log")
    if not found:
        packets = {name.rpartition(".")[0] for name in known}
        raise UsageError(f"experiment.op: {registry.unknown('operator', asked, {*known, *packets})}")
    return found


@functools.lru_cache(maxsize=4)
def input_sets(found: tuple[tuple[str, str], ...], operator: str) -> tuple[InputSet | BadLine, ...]:
    """All input sets of one operator, equal ones of several logs joined; the most frequent first, bad lines last."""
    sets: dict[str, InputSet] = {}
    bad: list[BadLine] = []
    for where, text in found:
        narrowest = next((name for name in FLOATING if re.search(rf", {_SHORT[name]}\b", text)), "float32")
        for entry in parse(_section(text, operator), where, narrowest).get(operator, []):
            if isinstance(entry, BadLine):
                bad.append(entry)
            else:
                before = sets.get(entry.key)
                sets[entry.key] = before.joined(entry) if before else entry
    return (*sorted(sets.values(), key=lambda entry: -entry.count), *bad)


def chosen(count: int, start: int, most: int, choose: Choose) -> list[int]:
    """Places of the input sets that are measured, of `count` after the first `start`: at most `most`."""
    places = range(min(start, count), count)
    if len(places) <= most:
        return list(places)
    if choose is Choose.frequent or most == 1:
        return list(places[:most])
    step = (len(places) - 1) / (most - 1)
    return [places[round(i * step)] for i in range(most)]


_SHORT = {"bfloat16": "bf16", "float16": "f16", "float32": "f32", "float64": "f64"}


def _section(text: str, operator: str) -> str:
    """The operator's part of a log; what is not part of it becomes empty lines, so that line numbers stay."""
    lines = _index(text).get(operator, {})
    return "\n".join(lines.get(number, "") for number in range(max(lines, default=-1) + 1))


@functools.cache
def _index(text: str) -> Mapping[str, Mapping[int, str]]:
    """Operator -> its lines by their number from 0, the one that names it included."""
    found: dict[str, dict[int, str]] = {}
    current: dict[int, str] = {}
    for number, line in enumerate(text.splitlines()):
        if line.startswith("Operator:"):
            current = found.setdefault(operators_in(line)[0], {})
        current[number] = line
    return found
