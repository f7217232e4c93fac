"""The models of suite `torchbench`, one entry each; adding one that fits a family takes one line.

Batch sizes are those of TorchBench's model classes (inference, training; none where TorchBench does not train the
model); what upstream's benchmark runner changes about them stands in `conf/models/torchbench.yaml`. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.loaders._building import Entry
from runner.loaders._published import sizes_of


def _vision(model: str, inference: int, training: int) -> Entry:
    return Entry("torchvision_models:classifier", inference, training, {"model": model})


def _timm(model: str, inference: int, training: int, image: tuple[int, ...] = (3, 224, 224), **options: Any) -> Entry:
    return Entry("timm_models:classifier", inference, training, {"model": model, "options": options, "image": image})


def _language(model: str, inference: int, training: int | None, **options: Any) -> Entry:
    return Entry("transformers_models:language_model", inference, training, {"model": model, **options})


def _t5(inference: int, training: int, sizes: Mapping[str, Any], **lengths: int) -> Entry:
    return _language("T5ForConditionalGeneration", inference, training, sizes=sizes, with_decoder=True, **lengths)


def _sound(inference: int, training: int, **sizes: int) -> Entry:
    options = {"model": "WhisperForAudioClassification", "sizes": sizes}
    return Entry("transformers_models:audio_classifier", inference, training, options)


def _graph(layer: str) -> Entry:
    return Entry("basic_gnn:build", 1, 1, {"layer": layer})


_BERT_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}

CATALOGUE: dict[str, Entry] = {
    "BERT_pytorch": Entry("bert_pytorch:build", 16, 16, cpu_inference=2),
    "LearningToPaint": Entry("learning_to_paint:build", 96, 96),
    "alexnet": _vision("alexnet", 128, 128),
    "basic_gnn_edgecnn": _graph("EdgeConv"),
    "basic_gnn_gcn": _graph("GraphConv"),
    "basic_gnn_gin": _graph("IsomorphismConv"),
    "basic_gnn_sage": _graph("SampleConv"),
    "dcgan": Entry("dcgan:build", 256, 32),
    "densenet121": _vision("densenet121", 64, 256),
    "dlrm": Entry("dlrm:build", 2048, 2048),
    "functorch_dp_cifar10": Entry("torchvision_models:group_normed", 64, 64, {"model": "resnet18"}),
    "functorch_maml_omniglot": Entry("omniglot:build", 1, 1),
    "hf_Albert": _language("AlbertForMaskedLM", 1, 8, sizes=sizes_of("albert-base-v2")),
    "hf_Bart": _language("BartForConditionalGeneration", 1, 4, sizes=sizes_of("facebook/bart-base"), with_decoder=True),
    "hf_Bert": _language("BertForMaskedLM", 1, 4),
    "hf_Bert_large": _language("BertForMaskedLM", 1, 4, sizes=_BERT_LARGE),
    "hf_BigBird": _language(
        "BigBirdForMaskedLM", 1, 2, inference_length=4096, cpu_inference_length=819, training_length=1024
    ),
    "hf_DistilBert": _language("DistilBertForMaskedLM", 1, 8),
    "hf_GPT2": _language("GPT2LMHeadModel", 1, 4, inference_length=1024, cpu_inference_length=256),
    "hf_GPT2_large": _language("GPT2LMHeadModel", 1, 4, inference_length=1024, sizes=sizes_of("gpt2-large")),
    "hf_Longformer": _language(
        *("LongformerForMaskedLM", 1, 2),
        sizes=sizes_of("allenai/longformer-base-4096"),
        inference_length=4096,
        cpu_inference_length=512,
        training_length=1024,
    ),
    "hf_Reformer": _language(
        *("ReformerForMaskedLM", 1, 8),
        sizes={"num_buckets": 128},
        inference_length=4096,
        cpu_inference_length=2048,
        training_length=4096,
    ),
    "hf_Roberta_base": _language("XLMRobertaForMaskedLM", 1, 4, sizes=sizes_of("xlm-roberta-base")),
    "hf_T5": _t5(1, 8, sizes_of("t5-small"), inference_length=2048, cpu_inference_length=512, training_length=1024),
    "hf_T5_base": _t5(1, 8, sizes_of("t5-base"), inference_length=2048, training_length=1024),
    "hf_T5_generate": Entry(
        *("transformers_models:generator", 1, None),
        {"model": "T5ForConditionalGeneration", "inference_length": 2048, "cpu_inference_length": 512},
    ),
    "hf_T5_large": _t5(1, 2, sizes_of("t5-large")),
    "hf_Whisper": _sound(8, 8),
    "hf_clip": Entry("transformers_models:clip", 32, 32),
    "hf_distil_whisper": _sound(1, 8, **sizes_of("distil-whisper/distil-medium.en")),
    "lennard_jones": Entry("lennard_jones:build", 1000, 1000),
    "llama": Entry("llama:build", 32, None),
    "llama_v2_7b_16h": _language(
        "LlamaForCausalLM", 1, 1, sizes={"num_hidden_layers": 16}, inference_length=512, training_length=128
    ),
    "microbench_unbacked_tolist_sum": Entry("tolist_sum:build", 1, None),
    "mnasnet1_0": _vision("mnasnet1_0", 32, 32),
    "mobilenet_v2": _vision("mobilenet_v2", 16, 96),
    "mobilenet_v3_large": _vision("mobilenet_v3_large", 32, 32),
    "moondream": _language("PhiForCausalLM", 1, None),
    "nanogpt": Entry("nanogpt:build", 1, 1),
    "nvidia_deeprecommender": Entry("deeprecommender:build", 256, 256),
    "phlippe_densenet": Entry("phlippe_densenet:build", 128, 128),
    "phlippe_resnet": Entry("phlippe_resnet:build", 128, 128),
    "pytorch_CycleGAN_and_pix2pix": Entry("cyclegan:build", 1, 1),
    "pytorch_unet": Entry("unet:build", 1, 1),
    "resnet152": _vision("resnet152", 32, 32),
    "resnet18": _vision("resnet18", 8, 16),
    "resnet50": _vision("resnet50", 32, 32),
    "resnext50_32x4d": _vision("resnext50_32x4d", 8, 8),
    "shufflenet_v2_x1_0": _vision("shufflenet_v2_x1_0", 64, 128),
    "soft_actor_critic": Entry("soft_actor:build", 256, 256),
    "squeezenet1_1": _vision("squeezenet1_1", 16, 32),
    "stable_diffusion_text_encoder": Entry(
        *("transformers_models:text_encoder", 1, None),
        {"model": "CLIPTextModel", "length": 10, "sizes": sizes_of("stabilityai/stable-diffusion-2")},
    ),
    "timm_efficientnet": _timm("efficientnet_b0", 64, 32),
    # The gain of a block's branch is zero at first: its other weights would have neither effect nor gradient.
    "timm_nfnet": Entry("timm_models:nfnet", 128, 128, {"model": "dm_nfnet_f0", "image": (3, 192, 192)}),
    # The same holds for a block's last scale.
    "timm_regnet": _timm("regnety_120", 32, 32, zero_init_last=False),
    "timm_resnest": _timm("resnest14d", 32, 32, zero_init_last=False),
    "timm_vision_transformer": _timm("vit_small_patch16_224", 32, 32),
    "timm_vision_transformer_large": _timm("vit_giant_patch14_224", 32, 32),
    "timm_vovnet": _timm("vovnet39a", 32, 32),
    "tts_angular": Entry("speaker_encoder:build", 64, 64),
    "vgg16": _vision("vgg16", 4, 64),
}
