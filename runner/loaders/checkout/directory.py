"""A pytorch/benchmark checkout on disk: its models by their folders, and its commit; nothing of it is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from runner.errors import UsageError
from runner.loaders.checkout.source import Source

_KINDS = ("models", "canary_models")
#: What is known here of TorchBench's models was found at this commit of 2026-08-22.
KNOWN_COMMIT = "0e83c440a51cd63464fee34724d01b7c814ce39b"


@dataclass(frozen=True)
class Checkout:
    """A clone of pytorch/benchmark; raises UsageError when `root` is none."""

    root: Path

    def __post_init__(self) -> None:
        if not (self.root / "torchbenchmark" / "models").is_dir():
            raise UsageError(
                f"suite.checkout={self.root} is no checkout of pytorch/benchmark: "
                "it has no folder torchbenchmark/models"
            )

    def core(self) -> tuple[str, ...]:
        """Names of the models that upstream runs."""
        return self._names("models")

    def canary(self) -> tuple[str, ...]:
        """Names of the models that upstream only tries out."""
        return self._names("canary_models")

    def _names(self, kind: str) -> tuple[str, ...]:
        folder = self.root / "torchbenchmark" / kind
        found = folder.glob("*/__init__.py") if folder.is_dir() else ()
        return tuple(sorted((path.parent.name for path in found), key=str.lower))

    def package(self, name: str) -> str:
        """Import name of a model: a core one, else a canary one."""
        kind = next(kind for kind in _KINDS if (self.root / "torchbenchmark" / kind / name / "__init__.py").is_file())
        return f"torchbenchmark.{kind}.{name}"

    def source(self, name: str) -> Source:
        """What the model's code says, without importing it."""
        return Source(self.root, self.package(name))

    def commit(self) -> str | None:
        """Hash of the commit that is checked out; None where it can't be read, as in an unpacked archive."""
        try:
            return _head(self._git_folder())
        except (OSError, ValueError):
            return None

    def _git_folder(self) -> Path:
        git = self.root / ".git"
        if git.is_dir():
            return git
        return self.root / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()  # a linked work tree


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref: "):
        return head
    ref = head.removeprefix("ref: ")
    common = git / "commondir"
    shared = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
    if (shared / ref).is_file():
        return (shared / ref).read_text(encoding="utf-8").strip()
    packed = (shared / "packed-refs").read_text(encoding="utf-8")
    found = re.search(rf"^([0-9a-f]+) {re.escape(ref)}$", packed, re.MULTILINE)
    return found[1] if found else None
