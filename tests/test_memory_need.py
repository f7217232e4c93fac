"""A model that can't fit is refused before it is loaded, whether its suite lists it or not."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runner import memory_need
from runner.errors import Unsupported
from runner.loaders.huggingface import Huggingface, Scale
from runner.loaders.timm import Timm
from runner.loaders.torchbench import Torchbench

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
CHECKOUT = Path(__file__).parent / "fixtures" / "checkout"


class Small:
    """A device with 1 MB of free memory."""

    def free_memory_bytes(self) -> int:
        """Bytes."""
        return 1_000_000


def cell_config(suite: str, path: str, **fields: Any) -> dict[str, Any]:
    """A cell of a suite on that device."""
    return {"choices": {"suite": suite}, "suite": {"_target_": path, **fields}, "device": {"type": "npu"}}


def need(package: str) -> None:
    """Skip without it."""
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def test_any_class_of_transformers() -> None:
    """A class that isn't listed is counted in the scale that was asked for; one that isn't there can't be."""
    need("transformers")
    assert Huggingface().parameters("LlamaForCausalLM") == 6_738_415_616
    assert (Huggingface(scale=Scale.small).parameters("LlamaForCausalLM") or 0) < 1_000_000
    assert Huggingface().parameters("NoSuchForCausalLM") is None


def test_any_model_of_timm() -> None:
    """An architecture that isn't listed is counted, and so is one under its former name."""
    need("timm")
    assert Timm().parameters("vit_7b_patch16_dinov3") == 6_716_030_976
    assert Timm().parameters("adv_inception_v3") == 23_834_568
    assert Timm().parameters("no_such_model") is None


def test_language_models_of_a_checkout() -> None:
    """What a checkout makes of a configuration is counted; a model of its own code can't be."""
    need("transformers")
    loader = Torchbench(checkout=str(CHECKOUT))
    assert loader.parameters("huge_text") == 13_015_864_320
    assert loader.parameters("good") is None


def test_what_was_recorded_comes_first() -> None:
    """A recorded number spares the counting, unless the suite is asked for another size than was recorded."""
    need("transformers")
    path = "runner.loaders.huggingface.Huggingface"
    full = cell_config("huggingface", path)
    assert memory_need.known_parameters(full, "BertForMaskedLM") == 109_514_298
    small = cell_config("huggingface", path, scale="small")
    assert (memory_need.known_parameters(small, "BertForMaskedLM") or 0) < 1_000_000
    with pytest.raises(Unsupported, match=r"LlamaForCausalLM does not fit: 6\.74e\+09 parameters need 27\.0 GB"):
        memory_need.refuse_too_big(full, "LlamaForCausalLM", Small())  # type: ignore[arg-type]


def test_a_row(cli: Callable[..., Any], tmp_path: Path) -> None:
    """The row of an unlisted class that no machine holds says what it would need, and nothing was loaded."""
    need("transformers")
    cli("suite=huggingface", "model=DeepseekV3ForCausalLM", "backend=eager", "hydra.run.dir=out")
    from runner.results.reader import read_run

    (row,) = read_run(tmp_path / "out").rows
    assert row["status"] == "unsupported"
    assert "DeepseekV3ForCausalLM does not fit: 6.71e+11 parameters need 2684.1 GB (weights in float32)" in row["error"]
