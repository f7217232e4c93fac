"""Sizes of published transformers models, where the library's configuration classes default to others.

From the models' own `config.json` on Hugging Face's hub: the architecture's figures, without weights. Imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """Class of a configuration in transformers, and its fields that are not the default."""

    config: str
    sizes: Mapping[str, Any] = field(default_factory=dict)


def _t5(**sizes: int) -> Published:
    return Published("T5Config", {"decoder_start_token_id": 0, **sizes})


_LLAMA_13B = {
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "max_position_embeddings": 4096,
}
_PHI_2 = {
    "vocab_size": 51200,
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "partial_rotary_factor": 0.4,
}

#: Name on the hub -> what it is.
PUBLISHED = {
    "albert-base-v2": Published(
        "AlbertConfig", {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    ),
    "allenai/longformer-base-4096": Published(
        "LongformerConfig",
        {
            "attention_window": [512] * 12,
            "max_position_embeddings": 4098,
            "vocab_size": 50265,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        },
    ),
    "distil-whisper/distil-medium.en": Published(
        "WhisperConfig",
        {
            "d_model": 1024,
            "encoder_layers": 24,
            "encoder_attention_heads": 16,
            "encoder_ffn_dim": 4096,
            "decoder_layers": 2,
            "decoder_attention_heads": 16,
            "decoder_ffn_dim": 4096,
            "vocab_size": 51864,
        },
    ),
    "distilbert-base-uncased": Published("DistilBertConfig"),
    "facebook/bart-base": Published(
        "BartConfig",
        {
            "d_model": 768,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072,
        },
    ),
    "gpt2": Published("GPT2Config"),
    "gpt2-large": Published("GPT2Config", {"n_embd": 1280, "n_layer": 36, "n_head": 20}),
    "meta-llama/Llama-2-7b-hf": Published("LlamaConfig", {"max_position_embeddings": 4096}),
    "meta-llama/Llama-2-13b-hf": Published("LlamaConfig", _LLAMA_13B),
    "microsoft/Orca-2-13b": Published("LlamaConfig", {**_LLAMA_13B, "vocab_size": 32003}),
    "microsoft/phi-1_5": Published("PhiConfig"),
    "microsoft/phi-2": Published("PhiConfig", _PHI_2),
    "mistralai/Mistral-7B-Instruct-v0.1": Published("MistralConfig"),
    "openai/clip-vit-base-patch32": Published("CLIPConfig"),
    "stabilityai/stable-diffusion-2": Published(  # its text encoder: OpenCLIP's H without the last of 24 layers
        "CLIPTextConfig",
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,
            "num_attention_heads": 16,
            "hidden_act": "gelu",
            "projection_dim": 512,
        },
    ),
    "t5-base": _t5(d_model=768, d_ff=3072, num_layers=12, num_heads=12),
    "t5-large": _t5(d_model=1024, d_ff=4096, num_layers=24, num_heads=16),
    "t5-small": _t5(),
    "vikhyatk/moondream1": Published("PhiConfig"),
    "xlm-roberta-base": Published(
        "XLMRobertaConfig",
        {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    ),
}


def sizes_of(name: str) -> Mapping[str, Any]:
    """The fields of a published configuration that are not the default."""
    return PUBLISHED[name].sizes
