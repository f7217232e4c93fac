"""Arguments that are results of another operator: a backward gets the statistics that its forward computed.

Random values in their place would be refused (dtypes that the forward chooses) or would make eager and a compiler
differ although both are right (indices of maxima that are none).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

Arguments = Mapping[str, Any]
aten = torch.ops.aten


def _layer_norm(given: Arguments) -> dict[str, torch.Tensor]:
    out = aten.native_layer_norm(given["input"], given["normalized_shape"], given["weight"], given["bias"], 1e-5)
    return {"mean": out[1], "rstd": out[2]}


def _group_norm(given: Arguments) -> dict[str, torch.Tensor]:
    sizes = [given[name] for name in ("N", "C", "HxW", "group")]
    out = aten.native_group_norm(given["input"], given["weight"], None, *sizes, 1e-5)
    return {"mean": out[1], "rstd": out[2]}


def _batch_norm(given: Arguments) -> dict[str, torch.Tensor]:
    if not given.get("train", True):
        return {}
    out = aten.native_batch_norm(given["input"], given["weight"], None, None, None, True, 0.1, given["eps"])
    return {"save_mean": out[1], "save_invstd": out[2]}


def _softmax(given: Arguments) -> dict[str, torch.Tensor]:
    return {"output": given["output"].softmax(given["dim"])}


def _log_softmax(given: Arguments) -> dict[str, torch.Tensor]:
    return {"output": given["output"].log_softmax(given["dim"])}


def _through(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Arguments], dict[str, torch.Tensor]]:
    return lambda given: {"output": function(given["output"])}


def _max_pool(given: Arguments) -> dict[str, torch.Tensor]:
    keys = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    return {"indices": aten.max_pool2d_with_indices(given["self"], *(given[key] for key in keys))[1]}


def _adaptive_max_pool(given: Arguments) -> dict[str, torch.Tensor]:
    return {"indices": aten.adaptive_max_pool2d(given["self"], given["grad_output"].shape[-2:])[1]}


def _log_sigmoid(given: Arguments) -> dict[str, torch.Tensor]:
    return {"buffer": aten.log_sigmoid_forward(given["self"])[1]}


def _flash_for_cpu(given: Arguments) -> dict[str, torch.Tensor]:
    three = [given[name] for name in ("query", "key", "value")]
    more = {"attn_mask": given.get("attn_mask"), "scale": given.get("scale")}
    out = aten._scaled_dot_product_flash_attention_for_cpu(*three, 0.0, given["is_causal"], **more)
    return {"out": out[0], "logsumexp": out[1]}


def _efficient(given: Arguments) -> dict[str, torch.Tensor]:
    three = [given[name] for name in ("query", "key", "value")]
    causal = given.get("is_causal", False)
    out = aten._scaled_dot_product_efficient_attention(*three, given["attn_bias"], True, 0.0, causal)
    names = ("out", "logsumexp", "philox_seed", "philox_offset")
    return dict(zip(names, out, strict=True))


def _embedding_bag(given: Arguments) -> dict[str, torch.Tensor]:
    weight = given["grad"].new_zeros(given["num_weights"], given["grad"].shape[1])
    out = aten._embedding_bag(weight, given["indices"], given["offsets"], False, given["mode"])
    return {"offset2bag": out[1], "bag_size": out[2], "maximum_indices": out[3]}


def _rms_norm(given: Arguments) -> dict[str, torch.Tensor]:
    out = aten._fused_rms_norm(given["input"], given["normalized_shape"], given["weight"], 1e-5)
    return {"rstd": out[1]}


def _mkldnn_rnn(given: Arguments) -> dict[str, torch.Tensor]:
    """The workspace is what a CPU's own library keeps; with another one it dies."""
    tensors = [given[name] for name in ("input", "weight1", "weight2", "weight3", "weight4", "hx_", "cx_tmp")]
    sizes = [given[name] for name in ("batch_sizes", "mode", "hidden_size", "num_layers")]
    flags = [given[name] for name in ("has_biases", "bidirectional", "batch_first")]
    out = aten.mkldnn_rnn_layer(*tensors, given["reverse"], *sizes, *flags, True)
    return dict(zip(("output", "hy_", "cy_", "workspace"), out, strict=True))


#: Operator -> function of its arguments by name (with their defaults) that gives those that depend on the others.
DERIVED: Mapping[str, Callable[[Arguments], dict[str, torch.Tensor]]] = {
    "native_layer_norm_backward": _layer_norm,
    "native_group_norm_backward": _group_norm,
    "native_batch_norm_backward": _batch_norm,
    "_softmax_backward_data": _softmax,
    "_log_softmax_backward_data": _log_softmax,
    "sigmoid_backward": _through(torch.sigmoid),
    "tanh_backward": _through(torch.tanh),
    "max_pool2d_with_indices_backward": _max_pool,
    "adaptive_max_pool2d_backward": _adaptive_max_pool,
    "log_sigmoid_backward": _log_sigmoid,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _flash_for_cpu,
    "_scaled_dot_product_efficient_attention_backward": _efficient,
    "_embedding_bag_dense_backward": _embedding_bag,
    "_fused_rms_norm_backward": _rms_norm,
    "mkldnn_rnn_layer_backward": _mkldnn_rnn,
}
