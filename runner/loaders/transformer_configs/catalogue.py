"""Names that are no class of transformers, or that need more than their class's defaults; and lengths by name.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.loaders.transformer_configs import published


@dataclass(frozen=True)
class Described:
    """A class of transformers, and the fields of its configuration that differ from the class's defaults.

    What `generates` is measured as a prompt's pass unless told otherwise; `length` is the prompt's in tokens.
    """

    kind: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    length: int | None = None
    generates: bool = False


def _language_model(kind: str, sizes: Mapping[str, Any]) -> Described:
    return Described(kind, sizes, length=1000, generates=True)


DESCRIBED: dict[str, Described] = {
    # Figures of the checkpoints that upstream names, from their config.json.
    "AllenaiLongformerBase": Described(  # allenai/longformer-base-4096
        "LongformerForMaskedLM",
        {"vocab_size": 50265, "max_position_embeddings": 4098, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    ),
    "DistillGPT2": Described("GPT2LMHeadModel", {"n_layer": 6}),  # distilgpt2
    "GoogleFnet": Described("FNetForMaskedLM"),  # google/fnet-base
    "T5Small": Described("T5ForConditionalGeneration"),  # t5-small
    "YituTechConvBert": Described("ConvBertForMaskedLM"),  # YituTech/conv-bert-base
    "Reformer": Described("ReformerForMaskedLM"),
    "ReformerModelWithLMHead": Described("ReformerModelWithLMHead", {"is_decoder": True}),  # it insists
    # Positions begin after the padding's: the class's 512 are two too few for 512 tokens. roberta-base has 514.
    "RobertaForCausalLM": Described("RobertaForCausalLM", {"max_position_embeddings": 514}),
    # Language models with a prompt of 1000 tokens; speech with half a minute of sound.
    "Llama-3.2-1B": _language_model("LlamaForCausalLM", published.LLAMA_3_2_1B),
    "gemma-2-2b": _language_model("Gemma2ForCausalLM", published.GEMMA_2_2B),
    "gemma-3-4b-it": _language_model("Gemma3ForConditionalGeneration", published.GEMMA_3_4B),
    "whisper-tiny": Described("WhisperForConditionalGeneration", published.WHISPER_TINY, length=128, generates=True),
    "Qwen3-0.6B": _language_model("Qwen3ForCausalLM", published.QWEN3_0_6B),
    "Mistral-7B-Instruct-v0.3": _language_model("MistralForCausalLM", published.MISTRAL_7B),
    "gpt-oss-20b": _language_model("GptOssForCausalLM", published.GPT_OSS_20B),
}

#: Tokens by the beginning of the name, as dynamobench has them; the first that fits counts.
_LENGTHS = (
    (("Blenderbot",), 128),
    (("GPT2", "Bart", "T5", "PLBart", "MBart", "AllenaiLongformerBase", "BigBird"), 1024),
    (("OPT",), 2048),
    (("Reformer",), 4096),
    (("Albert", "Deberta", "Layout", "Electra", "XLNet", "MegatronBert", "Bert", "Roberta"), 512),
    (("DistillGPT2", "GoogleFnet", "YituTechConvBert"), 512),
    (("TrOCRForCausalLM",), 256),
)
_OTHERWISE = 128


def described(name: str) -> Described:
    """What is known of a name; a name that is not described is a class with its defaults."""
    return DESCRIBED.get(name) or Described(name)


def length_of(name: str) -> int:
    """Tokens that a model of this name is given."""
    return described(name).length or next((n for starts, n in _LENGTHS if name.startswith(starts)), _OTHERWISE)
