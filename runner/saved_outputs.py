"""What a backend gave, in a file, and bit-for-bit comparison with what it gave at another time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from runner.collect import Result
from runner.compare_outputs import Rule, compare
from runner.results.tensors import Comparison, merge
from runner.trees import Flat

Groups = Mapping[str, Flat]


def file_of(folder: Path, name: str, subject: Mapping[str, Any]) -> Path:
    """Where the outputs of a model lie; `subject` is all that must be equal for a comparison to make sense."""
    digest = hashlib.sha256(repr(sorted(subject.items())).encode()).hexdigest()[:8]
    return folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}-{digest}.pt"


def portable(result: Result) -> dict[str, Flat]:
    """Groups with tensors on the CPU and everything else as text, which any process can load."""
    return {
        name: Flat({path: leaf.cpu() if isinstance(leaf, torch.Tensor) else repr(leaf) for path, leaf in flat.items()})
        for name, flat in result.groups.items()
    }


def save(result: Result, path: Path) -> None:
    """Write a file, over an older one of the same subject."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: dict(flat) for name, flat in portable(result).items()}, path)


def load(path: Path) -> dict[str, Flat]:
    """Read what `save` wrote. Raises FileNotFoundError with what to do."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: write it first with experiment.save_outputs={path.parent}")
    return {name: Flat(flat) for name, flat in torch.load(path, weights_only=True).items()}


def bitwise(one: Groups, other: Groups) -> Comparison:
    """Every bit has to agree, but that NaN equals NaN and 0 equals -0."""
    names = dict.fromkeys([*one, *other])
    return merge(compare(one.get(name, Flat()), other.get(name, Flat()), None, Rule(0.0)) for name in names)
