"""What is read from the source of a checkout's models, without importing them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.devices import detect
from runner.loaders.checkout.missing import explained
from runner.loaders.checkout.source import Source

FIXTURE = Path(__file__).parents[1] / "fixtures" / "checkout"


def made(folder: Path, text: str, **files: str) -> Source:
    """A model of this source, in a checkout of its own."""
    place = folder / "torchbenchmark" / "models" / "net"
    place.mkdir(parents=True)
    for name, content in {"__init__": text, **files}.items():
        (place / f"{name}.py").write_text(content)
    return Source(folder, "torchbenchmark.models.net")


def test_the_models_command(cli: Any) -> None:
    """Batch sizes are those of the classes, and what is missing here is named; nothing of the checkout is imported."""
    done = cli("models", "suite=torchbench", f"suite.checkout={FIXTURE}", "--json", env={"PYTHONPROFILEIMPORTTIME": "1"})
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    sizes = {name: (row["batch_size_inference"], row["batch_size_training"]) for name, row in rows.items()}
    assert (sizes["good"], sizes["gpu_only"], sizes["not_implemented"]) == ((2, 4), (8, None), (None, 4))
    assert rows["good"]["available"]
    why = "needs the packages kaldi_of_nowhere, sounds_of_nowhere: pip install kaldi_of_nowhere sounds_of_nowhere"
    assert rows["missing_package"]["why"] == why
    assert rows["gpu_only"]["available"] is (detect.resolve("auto") != "cpu")
    assert rows["gpu_only"]["why"] in ("", "needs a CUDA device")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "torchbenchmark"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import nowhere_a.b, nowhere_c", ("nowhere_a", "nowhere_c")),
        ("from nowhere_a import b\nimport json", ("nowhere_a",)),
        ("from . import parts\nfrom .parts import x", ("nowhere_p",)),
        ("try:\n    import nowhere_a\nexcept ImportError:\n    pass", ()),
        ("try:\n    import nowhere_a\nfinally:\n    pass", ("nowhere_a",)),
        ("if 0:\n    import nowhere_a\n\n\ndef f():\n    import nowhere_b", ()),
        ("import lonely", ()),
        ("import torchbenchmark.models.net.parts as p", ("nowhere_p",)),
        ("import (", ()),
    ],
)
def test_packages(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    """Those that importing the model is certain to import, by way of its own modules too, if they are not installed."""
    source = made(tmp_path, text, parts="import nowhere_p\nx = 1\n", lonely="")
    assert source.missing_packages() == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('device == "cpu"', True),
        ('self.device != "cuda"', True),
        ('not torch.cuda.is_available() or "cuda" not in self.device', True),
        ('not device == "cuda" and test == "eval"', False),
        ('device == "cuda"', False),
        ("self.batch_size > 4", False),
    ],
)
def test_gpu_only(tmp_path: Path, condition: str, expected: bool) -> None:
    """A model that refuses a CPU in every mode is told from one that refuses other things."""
    text = f"class Model:\n    def __init__(self, test, device):\n        if {condition}:\n            raise NotImplementedError\n"
    assert made(tmp_path, text).needs_gpu() is expected


def test_what_is_fetched(tmp_path: Path) -> None:
    """The archives and files that an installation fetches, also by way of a helper, as long as they are not there."""
    call = "checkout_s3_data('INPUT_TARBALLS', 'pictures.tar.gz')\nfetch('MODEL_PKLS', 'net/batch.pt')\n"
    source = made(tmp_path, "", install="from torchbenchmark.models.net.helper import f", helper=call)
    assert source.fetched() == ("pictures.tar.gz", "net/batch.pt")
    error = AssertionError("Couldn't find the data dir, please run install.py again.")
    assert str(explained(error, "net", source, [])) == (
        "needs the data pictures.tar.gz, net/batch.pt: run python install.py net in the checkout, with network"
    )
    (tmp_path / "torchbenchmark" / "data" / ".data" / "pictures").mkdir(parents=True)
    assert source.fetched() == ("net/batch.pt",)


def test_what_the_hub_would_have_given(tmp_path: Path) -> None:
    """Of the library's long sentence the name is kept."""
    text = "Can't load image processor for 'openai/clip'. If you were trying to load it from 'https://x', make sure"
    found = explained(OSError(text), "net", made(tmp_path, ""), [])
    assert str(found) == (
        "needs the network for weights, configurations or data: the image processor openai/clip from Hugging Face's hub"
    )
