"""The models of suite `torchbench`, one entry each; adding one that fits a family takes one line.

Batch sizes are those of TorchBench's model classes (inference, training); what upstream's benchmark runner changes
about them stands in `conf/models/torchbench.yaml`. Imports no torch.
"""

from __future__ import annotations

from typing import Any

from runner.loaders._building import Entry


def _vision(model: str, inference: int, training: int) -> Entry:
    return Entry("torchvision_models:classifier", inference, training, {"model": model})


def _timm(model: str, inference: int, training: int, **options: Any) -> Entry:
    return Entry("timm_models:classifier", inference, training, {"model": model, "options": options})


def _language(model: str, inference: int, training: int, **options: Any) -> Entry:
    return Entry("transformers_models:language_model", inference, training, {"model": model, **options})


CATALOGUE: dict[str, Entry] = {
    "BERT_pytorch": Entry("bert_pytorch:build", 16, 16, cpu_inference=2),
    "alexnet": _vision("alexnet", 128, 128),
    "dcgan": Entry("dcgan:build", 256, 32),
    "densenet121": _vision("densenet121", 64, 256),
    # ALBERT's own defaults are the xxlarge model; these are the sizes of albert-base-v2.
    "hf_Albert": _language(
        "AlbertForMaskedLM", 1, 8, sizes={"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    ),
    "hf_Bert": _language("BertForMaskedLM", 1, 4),
    "hf_DistilBert": _language("DistilBertForMaskedLM", 1, 8),
    "hf_GPT2": _language("GPT2LMHeadModel", 1, 4, inference_length=1024, cpu_inference_length=256),
    "lennard_jones": Entry("lennard_jones:build", 1000, 1000),
    "mnasnet1_0": _vision("mnasnet1_0", 32, 32),
    "mobilenet_v2": _vision("mobilenet_v2", 16, 96),
    "nanogpt": Entry("nanogpt:build", 1, 1),
    "phlippe_resnet": Entry("phlippe_resnet:build", 128, 128),
    "resnet18": _vision("resnet18", 8, 16),
    "resnet50": _vision("resnet50", 32, 32),
    "shufflenet_v2_x1_0": _vision("shufflenet_v2_x1_0", 64, 128),
    "squeezenet1_1": _vision("squeezenet1_1", 16, 32),
    # A block's last scale is zero at first: its other weights would have neither effect nor gradient.
    "timm_regnet": _timm("regnety_120", 32, 32, zero_init_last=False),
    "timm_vision_transformer": _timm("vit_small_patch16_224", 32, 32),
    "vgg16": _vision("vgg16", 4, 64),
}
