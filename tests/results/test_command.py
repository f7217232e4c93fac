"""The command that reproduces one row."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from runner.results.command import hydra_value, reproduce, shell_word


def test_minimal_overrides() -> None:
    """Selection, resuming, planning and Hydra's own go; the model is the cell's; everything else stays as typed."""
    given_ = ["suite=timm", "model='resnet*'", "select.fast=true", "resume=failed", "plan=true", "hydra.run.dir=x"]
    more = ["hydra/launcher=joblib", "~hydra.x", "++backend.options={a: 1}", "tag=a b", "selector=1"]
    command = reproduce([*given_, *more], {"model": "resnet18"}, flags=["--config-dir", "my conf"])
    assert command == (
        "python -m runner --config-dir 'my conf' suite=timm '++backend.options={a: 1}' 'tag=a b' selector=1 "
        "model=resnet18"
    )


def test_values_that_expand_decided() -> None:
    """What an experiment's expansion chose replaces what the user typed."""
    changes = {"model": "detr", "experiment.task": "vjp"}
    command = reproduce(["experiment.task=recommended", "model=all"], changes)
    assert command == "python -m runner model=detr experiment.task=vjp"


@pytest.mark.parametrize("name", ["resnet18", "google/bert-base", "null", "True", "12", "1e3", "a b", "a,b", "glob(x)"])
def test_names_survive_hydra_grammar(name: str) -> None:
    """Hydra reads back exactly the name, as text."""
    assert read_back(hydra_value(name)) == name


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_any_name_survives_hydra_grammar(name: str) -> None:
    """Quotes, backslashes, newlines and all else, as long as Hydra has a way to write it."""
    assert read_back(hydra_value(name)) == name


def read_back(value: str) -> object:
    """The value that Hydra makes of `model=<value>`."""
    override = OverridesParser.create().parse_override(f"model={value}")
    return override.value()


@pytest.mark.parametrize("word", ["a", "it's", "a\nb", "a'\\\n\x1b", "$HOME `x`", "", 'é"\t'])
def test_shell_words(word: str) -> None:
    """A shell reads back the word from one line of text, whatever it holds."""
    quoted = shell_word(word)
    assert quoted.isprintable()
    done = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True)
    assert done.stdout.decode() == word
    if word.isprintable():
        assert shlex.split(quoted) == [word]
