"""Starts Hydra: resolvers, catalogue, one-sentence errors, and the exit code from the rows on disk."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import os
import re
import secrets
import signal
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import hydra
import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner import arguments, catalog, guard, launchers, registry
from runner.config import conf_dir
from runner.errors import UsageError
from runner.results.command import shell_word
from runner.worker.signals import Interrupted

INTERRUPTED = (130, 143)
#: Longest line of --help.
HELP_WIDTH = 118
#: Lines of Hydra's messages that would lead the reader astray: `+key=...` is refused here.
NOISE = re.compile(
    r"^\s*(full_key:|object_type=|reference_type=|To append to your (config|default list) use|Set the env)"
)


def hydra_run(argv: Sequence[str]) -> int:
    """Compose and run what the arguments ask for; returns the exit code."""
    register_resolvers(secrets.token_hex(2))
    catalog.register()
    ordered = arguments.flags_first(argv)
    guard.argv = list(argv)
    sys.argv = ["runner", *ordered]
    debug = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print, and we say it in one sentence
    job = launchers.Task(task, arrive)
    entry = hydra.main(config_path=str(conf_dir()), config_name="main", version_base="1.3")(job)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        arguments.narrow_catalogue(ordered)
        start(entry)
    except (HydraException, OmegaConfBaseException, UsageError, yaml.YAMLError, OSError) as error:
        if debug:
            raise
        print(sentence(error), file=sys.stderr)
        # A plain OSError is about Hydra's own files, on a disk that can't be written.
        return 1 if isinstance(error, OSError) and not isinstance(error, HydraException) else 2
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
        return finish(code) if code in INTERRUPTED else code
    except Interrupted as stop:
        return finish(stop.exit_code)
    except KeyboardInterrupt:
        return finish(130)
    except Exception as error:
        if debug or not guard.elsewhere:
            raise
        print(f"the launcher gave up: {type(error).__name__}: {first_line(error)}", file=sys.stderr)
        return finish() or 1
    return finish()


def start(entry: Callable[[], None]) -> None:
    """Let Hydra begin. What it doesn't like about its flags, it says by a plain ValueError of its own code."""
    try:
        entry()
    except ValueError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if guard.launched is None and str(frame.f_globals["__name__"]).startswith("hydra."):
            raise UsageError(str(error)) from error
        raise


def _terminate(number: int, _frame: FrameType | None) -> None:
    """SIGTERM before, between and after jobs; while one runs, its supervisor has the signal."""
    raise Interrupted(number)


def task(cfg: DictConfig) -> None:
    """What Hydra calls; imported only now, as `--cfg` and a misspelt key never get here."""
    from runner import app

    app.task(cfg)


def arrive(taken: Mapping[str, Any]) -> launchers.Task:
    """Prepare a process in which a launcher runs jobs; `taken` is what Task brought along."""
    register_resolvers("")  # run_id is resolved by then
    vars(catalog.current).update(taken["catalogue"])
    launchers.restore_threads(taken)
    guard.argv = taken["argv"]
    return launchers.Task(task, arrive)


def first_line(error: BaseException) -> str:
    """What an exception says first."""
    return next(iter(str(error).strip().splitlines()), "")


def finish(interrupted: int | None = None) -> int:
    """Summary and exit code of what was launched."""
    if guard.launched is None:
        return interrupted or 0
    from runner import app

    return app.finish(interrupted)


def register_resolvers(run_id: str) -> None:
    """`${run_id:}` keeps two runs of one second apart, `${slug:...}` names a folder, `${groups:}` is for --help."""
    launchers.register_resolvers()
    # Hydra 1.3 also checks conf/hydra/launcher against the plug-ins' own schemas, 1.4 no longer: either is fine.
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")
    OmegaConf.register_new_resolver("run_id", lambda: run_id, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("slug", slug, replace=True)
    OmegaConf.register_new_resolver("groups", groups, replace=True)


def groups() -> str:
    """The groups and their options for `--help`, a line each."""
    folders = [f for f in sorted(conf_dir().iterdir()) if f.is_dir() and f.name not in {"hydra", "models"}]
    names = {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}
    lines = [f"  {group + '=':13}{' | '.join(options)}" for group, options in names.items()]
    return "\n".join(textwrap.fill(line, HELP_WIDTH, subsequent_indent=" " * 15) for line in lines)


def slug(text: str, longest: int = 120) -> str:
    """`text` as one folder name; a cut or changed one carries a hash, so that two never meet."""
    safe = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", text).strip(".-") or "job"
    if safe == text and len(safe) <= longest:
        return safe
    return f"{safe[:longest]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def sentence(error: BaseException) -> str:
    """What Hydra or OmegaConf has to say, without the lines that help only their developers."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return registry.unknown(group, name, error.options)
    if isinstance(error, OverrideParseException):
        return ungrammatical(error.override)
    if several := re.search(r"Ambiguous value for argument '(.*)'", str(error)):
        return f"'{several[1]}' names several values: add --multirun for a job each, or quote it: {quoted(several[1])}"
    if unused := re.search(r"Could not override '(.*)'\.\s*No match in the defaults list", str(error)):
        return f"'{unused[1]}' is no group, or one that this experiment does not use; see them with --info defaults"
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not NOISE.match(line)]
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        first = str(cause).splitlines()[0]
        lines += [first] if first not in lines else []
        if near := similar_keys(cause):
            lines[-1] += f". Did you mean: {', '.join(near)}?"
    return " ".join(lines).replace("ConfigKeyError raised while composing config: ", "") or type(error).__name__


def similar_keys(error: OmegaConfBaseException) -> list[str]:
    """What a misspelt key of a typed node may have meant."""
    kind = error.object_type
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    given = str(error.key).rpartition(".")[2]
    return [] if given in names else difflib.get_close_matches(given, names)  # a known key has a wrong value


def quoted(word: str) -> str:
    """The argument as one text: the inner quotes are for Hydra, the outer ones for the shell, which takes them off."""
    name, _, value = word.partition("=")
    escaped = value.replace('"', r"\"")
    return shell_word(f'{name}="{escaped}"')


def ungrammatical(word: str) -> str:
    """What to say of an argument that Hydra's grammar does not take."""
    if "=" not in word and not word.startswith("~"):
        return f"'{word}' is neither a subcommand nor KEY=VALUE; see python -m runner --help"
    return (
        f"'{word}' can't be read: text with ^ $ [ ] ( ) , or a space goes within quotes, and the whole in other quotes "
        "for the shell, as in 'select.include=[\"^resnet\",\"bert$\"]'"
    )
