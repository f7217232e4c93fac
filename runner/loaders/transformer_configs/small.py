"""Small variants: the same structure with two layers of a few thousand numbers, for a CPU and for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LENGTH = 64  # tokens, at most
_WIDTH, _INNER, _HEADS, _LAYERS, _VOCABULARY = 64, 128, 4, 2, 1000

_LAYER_COUNTS = (
    *("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers"),
    *("num_decoder_layers", "num_encoder_layers"),
)
#: The largest value of each field, by the names that transformers' configurations have for it.
_LARGEST = {
    **dict.fromkeys(_LAYER_COUNTS, _LAYERS),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "word_embed_proj_dim"), _WIDTH),
    **dict.fromkeys(("pooler_hidden_size", "emb_dim"), _WIDTH),
    **dict.fromkeys(("true_hidden_size", "intra_bottleneck_size"), _WIDTH // 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "hidden_dim"), _INNER),
    **dict.fromkeys(("d_ff", "d_inner", "feed_forward_size", "moe_intermediate_size"), _INNER),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), _HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), _HEADS),
    "num_key_value_heads": _HEADS // 2,
    **dict.fromkeys(("head_dim", "d_head", "d_kv", "attention_head_size", "rotary_dim"), _WIDTH // _HEADS),
    "query_pre_attn_scalar": _WIDTH // _HEADS,
    "vocab_size": _VOCABULARY,
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    "num_experts_per_tok": 2,
    **dict.fromkeys(("sliding_window", "window_size", "attention_window"), LENGTH // 2),
    "image_size": 32,
    "patch_size": 8,
    "mm_tokens_per_image": 4,
    "max_source_positions": 50,
}
#: Fields that have to agree with each other, by the kind of configuration.
_TOGETHER: dict[str, dict[str, Any]] = {
    "reformer": {"axial_pos_shape": [8, LENGTH // 8], "axial_pos_embds_dim": [_WIDTH // 4, _WIDTH - _WIDTH // 4]},
    "gpt_neo": {"attention_types": [[["global", "local"], _LAYERS // 2]]},
}


def shrunk(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration that are too large, as they are in its small variant."""
    depth = next((fields[key] for key in _LAYER_COUNTS if fields.get(key)), None)
    found = {key: _smaller(key, value, depth) for key, value in fields.items()}
    changed = {key: value for key, value in found.items() if value != fields[key]}
    return {**changed, **_TOGETHER.get(fields.get("model_type", ""), {})}


def _smaller(key: str, value: Any, depth: int | None) -> Any:
    if isinstance(value, Mapping) and "model_type" in value:  # a configuration in the configuration
        return {**value, **shrunk(value)}
    if isinstance(value, list):
        layers = value[:_LAYERS] if len(value) == depth else value
        return [_smaller(key, item, None) for item in layers]
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if key.endswith(("_token_id", "_token_index")):
        return min(value, _VOCABULARY - 1)
    return min(value, _LARGEST.get(key, value))
