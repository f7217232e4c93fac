"""Random inputs and labels of a model of transformers, by what it takes and by the head that its class's name ends in.

Labels cover all classes, so that every loss has a gradient.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported

if TYPE_CHECKING:
    import torch

    from runner.loaders._building import Order

Inputs = dict[str, "torch.Tensor"]

_CHOICES = 3  # answers to choose from
_SAMPLES = 10_000  # of sound, as dynamobench gives Wav2Vec2; 31 frames of it
_TRANSCRIPT = 20  # tokens said in it; dynamobench's 100 are more than there are frames
_REGIONS = 42  # of an image that text is about, as dynamobench gives Lxmert


def inputs_of(order: Order, net: Any, length: int) -> Inputs:
    """Inputs and, where the head has some, labels; raises `Unsupported` for a model that takes something else."""
    makers: dict[str, Callable[[Order, Any, int], Inputs]] = {
        "input_ids": _text,
        "pixel_values": _images,
        "input_values": _sound,
        "input_features": _spectrogram,
    }
    maker = makers.get(net.main_input_name)
    if maker is None:
        raise Unsupported(
            f"{type(net).__name__} takes {net.main_input_name}, for which suite huggingface has no inputs; "
            f"it has {', '.join(makers)}"
        )
    return maker(order, net, length)


def takes(net: Any, argument: str) -> bool:
    """Whether the model's forward has this argument."""
    return argument in inspect.signature(net.forward).parameters


def text_config(net: Any) -> Any:
    """The part of the configuration that is about text."""
    return net.config if hasattr(net.config, "vocab_size") else net.config.get_text_config(decoder=True)


def tokens(order: Order, net: Any, *shape: int) -> torch.Tensor:
    """Token ids, uniform over the vocabulary."""
    vocabulary = getattr(text_config(net), "vocab_size", None)
    if vocabulary is None:
        raise Unsupported(f"{type(net).__name__} has no vocabulary in its configuration to draw tokens from")
    return order.draw.integers(0, vocabulary, *shape)


def _text(order: Order, net: Any, length: int) -> Inputs:
    choices = (_CHOICES,) if _head(net, "MultipleChoice") else ()
    ids = tokens(order, net, order.batch_size, *choices, length)
    by_end = net.config.is_encoder_decoder and _head(net, "SequenceClassification")
    if (by_end or "Bart" in type(net).__name__) and not ids.is_meta:  # every sequence has one end, as it has to
        end = net.config.eos_token_id
        ids[ids == end] = end + 1
        ids[..., -1] = end
    inputs = {"input_ids": ids}
    if net.config.is_encoder_decoder and takes(net, "decoder_input_ids"):
        inputs["decoder_input_ids"] = ids
    return {**inputs, **_regions(order, net), **_text_labels(order, net, length)}


def _regions(order: Order, net: Any) -> Inputs:
    """What a detector would have found in the image that the text is about: features and boxes of its regions."""
    if not takes(net, "visual_feats"):
        return {}
    shape = (order.batch_size, _REGIONS)
    features = order.draw.normal(*shape, net.config.visual_feat_dim)
    return {"visual_feats": features, "visual_pos": order.draw.uniform(0, 1, *shape, net.config.visual_pos_dim)}


def _text_labels(order: Order, net: Any, length: int) -> Inputs:
    batch, draw = order.batch_size, order.draw
    if _head(net, "QuestionAnswering", "QuestionAnsweringSimple") and takes(net, "start_positions"):
        return {key: draw.integers(0, length, batch) for key in ("start_positions", "end_positions")}
    if not takes(net, "labels"):
        return {}
    if _head(net, "PreTraining"):  # some tell replaced tokens (1) from others (0), the rest take any token
        pairs = [key for key in ("next_sentence_label", "sentence_order_label", "matched_label") if takes(net, key)]
        shapes = {"labels": (batch, length), **dict.fromkeys(pairs, (batch,))}
        answers = {"ans": draw.integers(0, net.config.num_qa_labels, batch)} if takes(net, "ans") else {}
        return {**{key: draw.integers(0, 2, *shape) for key, shape in shapes.items()}, **answers}
    classes = {
        "MultipleChoice": (_CHOICES, (batch,)),
        "NextSentencePrediction": (2, (batch,)),
        "QuestionAnswering": (getattr(net.config, "num_qa_labels", net.config.num_labels), (batch,)),
        "SequenceClassification": (net.config.num_labels, (batch,)),
        "TokenClassification": (net.config.num_labels, (batch, length)),
    }
    for head, (count, shape) in classes.items():
        if _head(net, head):
            return {"labels": draw.integers(0, count, *shape)}
    return {"labels": tokens(order, net, batch, length)}


def _images(order: Order, net: Any, length: int) -> Inputs:  # noqa: ARG001 - one signature for all
    config = getattr(net.config, "vision_config", net.config)
    size = getattr(config, "image_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    images = order.draw.normal(order.batch_size, getattr(config, "num_channels", 3), height, width)
    return {"pixel_values": images, **_class_labels(order, net, "ImageClassification")}


def _sound(order: Order, net: Any, length: int) -> Inputs:  # noqa: ARG001
    inputs = {"input_values": order.draw.normal(order.batch_size, _SAMPLES)}
    if _head(net, "CTC"):  # token 0 stands for nothing said
        return {**inputs, "labels": order.draw.integers(1, net.config.vocab_size, order.batch_size, _TRANSCRIPT)}
    return {**inputs, **_class_labels(order, net, "SequenceClassification")}


def _spectrogram(order: Order, net: Any, length: int) -> Inputs:
    config = net.config
    if not hasattr(config, "max_source_positions") or not hasattr(config, "num_mel_bins"):
        raise Unsupported(f"{type(net).__name__} takes input_features of a size that its configuration does not say")
    features = order.draw.normal(order.batch_size, config.num_mel_bins, 2 * config.max_source_positions)
    inputs = {"input_features": features}
    if _head(net, "AudioClassification"):
        return {**inputs, **_class_labels(order, net, "AudioClassification")}
    return {**inputs, "labels": tokens(order, net, order.batch_size, length)}


def _class_labels(order: Order, net: Any, *heads: str) -> Inputs:
    if not _head(net, *heads):
        return {}
    return {"labels": order.draw.integers(0, net.config.num_labels, order.batch_size)}


def _head(net: Any, *endings: str) -> bool:
    return type(net).__name__.endswith(endings)
