"""Two commits of the repository in the current folder, each in a work tree of its own, measured cell by cell."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import runner
from runner.compare.places import Place
from runner.errors import UsageError
from runner.results.command import key

#: What of a command line this program decides itself here.
OURS = re.compile(r"hydra\.(run|sweep)\.dir|select\.shard|resume|plan")
COUNT = re.compile(r"^(\d+) cells?, (\d+) to run", re.MULTILINE)
NAMES = ("base", "new")
INSTALLED = ("site-packages", "dist-packages")


def git(folder: Path, *words: str) -> str:
    """What a git command prints. Raises UsageError with what it says when it fails."""
    try:
        done = subprocess.run(["git", "-C", os.fspath(folder), *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UsageError(f"compare --git needs git: {error.strerror}") from error
    if done.returncode:
        raise UsageError(f"git {' '.join(words)}: {done.stderr.strip() or 'failed'}")
    return done.stdout.strip()


def commits(folder: Path, span: str) -> tuple[str, str]:
    """The two commits of `BASE..HEAD`; nothing after the dots is HEAD. Raises UsageError."""
    base, dots, head = span.partition("..")
    if not base or not dots or head.startswith("."):
        raise UsageError(f"--git {span}: give two commits as BASE..HEAD")
    found = [git(folder, "rev-parse", "--verify", f"{name}^{{commit}}") for name in (base, head or "HEAD")]
    if found[0] == found[1]:
        raise UsageError(f"--git {span}: both are commit {found[0][:12]}")
    return found[0], found[1]


@contextlib.contextmanager
def work_trees(span: str) -> Iterator[dict[str, Place]]:
    """A place for each of the two commits, as long as the context lasts; the user's checkout is left alone."""
    here = Path.cwd()
    top = Path(git(here, "rev-parse", "--show-toplevel")).resolve()
    pair = commits(here, span)
    if git(top, "status", "--porcelain", "--untracked-files=no"):
        print(f"{top} has changes that are not committed: they are in neither of the two", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="runner-compare-") as folder, contextlib.ExitStack() as stack:
        places = {}
        for name, commit in zip(NAMES, pair, strict=True):
            tree = Path(folder).resolve() / name
            git(top, "worktree", "add", "--detach", "--quiet", os.fspath(tree), commit)
            stack.callback(git, top, "worktree", "remove", "--force", os.fspath(tree))
            places[name] = _place(top, tree, here.resolve())
        yield places


def _place(top: Path, tree: Path, here: Path) -> Place:
    """How this program runs in `tree`, whose code comes first; paths into the checkout lead into the tree."""
    cwd = tree / here.relative_to(top)
    if not cwd.is_dir():
        raise UsageError(f"{here.relative_to(top)} is not in commit {git(tree, 'rev-parse', '--short', 'HEAD')}")
    given = [Path(word).absolute() for word in os.environ.get("PYTHONPATH", "").split(os.pathsep) if word]
    own = Path(runner.__file__).resolve().parent.parent
    given += [] if own.name in INSTALLED else [own]  # an installed runner is found anyway, and its neighbours come last
    paths = [tree, *(path for path in [tree / "src"] if path.is_dir()), *(_moved(path, top, tree) for path in given)]
    return Place(sys.executable, cwd, {"PYTHONPATH": os.pathsep.join(dict.fromkeys(map(os.fspath, paths)))})


def _moved(path: Path, top: Path, tree: Path) -> Path:
    path = path.resolve()
    return tree / path.relative_to(top) if path.is_relative_to(top) else path


def measure_both(places: dict[str, Place], words: Sequence[str], directory: Path) -> None:
    """Measure each cell of `python -m runner WORDS` in both places in turn, into `directory`/base and /new."""
    _refuse(words)
    counts = {name: cells(place, words) for name, place in places.items()}
    for number in range(1, max(counts.values()) + 1):
        for name in sorted(places, reverse=number % 2 == 0):
            if number <= counts[name]:
                shard = f"select.shard={number}/{counts[name]}"
                places[name].run([*words, shard], directory / name / f"{number:04d}")


def cells(place: Place, words: Sequence[str]) -> int:
    """How many cells a command has to run, at least 1: as many shards hold one each. Raises UsageError."""
    found = COUNT.search(place.ask([*words, "plan=true"]))
    if found is None:
        raise UsageError("compare --git: this commit's runner does not say how many cells it would run")
    return max(int(found[2]), 1)


def _refuse(words: Sequence[str]) -> None:
    if {"-m", "--multirun"} & set(words):
        raise UsageError("compare --git takes the arguments of one run, not of a sweep (--multirun)")
    ours = [word for word in words if OURS.fullmatch(key(word))]
    if ours:
        raise UsageError(f"compare --git sets {key(ours[0])} itself: leave {ours[0]} out")
