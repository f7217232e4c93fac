"""The command line that reproduces one row, ready to paste into a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from runner.results.text import printable

#: Keys that choose cells or steer the run, and don't change what one cell measures. With select.no_skip it ran
#: at all, and select.batch_size_file has its batch size.
DROPPED = re.compile(r"(select(?!\.(no_skip|batch_size_file)$)|hydra)([./].*)?|resume|other_env|plan")
#: What Hydra's grammar takes as text without quotes.
BARE = re.compile(r"[A-Za-z_][\w./+-]*", re.ASCII)
WORDS_WITH_A_MEANING = frozenset({"null", "true", "false", "nan", "inf"})


def reproduce(overrides: Sequence[str], changes: Mapping[str, str], flags: Sequence[str] = ()) -> str:
    """The command for one cell of a job.

    `overrides` are the job's own (`key=value`; of a sweep the values of this job), `changes` what the cell sets:
    `{"model": NAME}`, and whatever an experiment's `expand` has decided. `flags` are Hydra's (`--config-dir DIR`).
    """
    kept = [o for o in overrides if not DROPPED.fullmatch(key(o)) and key(o) not in changes]
    set_here = [f"{name}={hydra_value(value)}" for name, value in changes.items()]
    return " ".join(shell_word(word) for word in ("python", "-m", "runner", *flags, *kept, *set_here))


def key(override: str) -> str:
    """Key of an override, without the sign that adds or deletes."""
    return override.partition("=")[0].lstrip("+~")


def hydra_value(text: str) -> str:
    """`text` as a value in Hydra's override grammar that is read as exactly this text."""
    if BARE.fullmatch(text) and text.lower() not in WORDS_WITH_A_MEANING:
        return text
    # A quote is escaped by a backslash, and so are the backslashes right before a quote, the closing one included.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    closed = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{closed}'"


def shell_word(text: str) -> str:
    """`text` quoted for a shell, on one line whatever it holds."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{printable(escaped)}'"
