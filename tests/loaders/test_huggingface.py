"""Suite `huggingface`: upstream's names and sizes, labels with gradients, generation, no network."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch._dynamo.testing import CompileCounter

from runner.batch_invariance import part_of
from runner.dynamic import mark
from runner.errors import Unsupported
from runner.loaders.huggingface import BATCH_SIZE, Huggingface, Scale, StepKind
from runner.loaders.names import known, listed_version
from runner.loaders.transformer_configs.small import LENGTH
from runner.results.reader import read_run
from runner.state import dropout_off
from runner.workload import Dynamic, LoadRequest, Mode, Workload, tensors_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

ROOT = Path(__file__).parents[2]
LISTED = yaml.safe_load((ROOT / "conf/models/huggingface.yaml").read_text(encoding="utf-8"))

#: dynamobench's list: batch size, tokens, millions of parameters; those of GPT-J, GPT-Neo and Blenderbot's second head
#: were counted with transformers 5.23.
UPSTREAM = {
    "AlbertForMaskedLM": (4, 512, 206.4),
    "AllenaiLongformerBase": (4, 1024, 148.7),
    "BartForCausalLM": (4, 1024, 254.1),
    "BertForMaskedLM": (16, 512, 109.5),
    "BlenderbotForCausalLM": (4, 128, 2538.6),
    "BlenderbotForConditionalGeneration": (16, 128, 2696.3),
    "DebertaV2ForMaskedLM": (2, 512, 880.0),
    "DistilBertForMaskedLM": (128, 128, 67.0),
    "DistillGPT2": (16, 512, 81.9),
    "ElectraForCausalLM": (32, 512, 13.5),
    "GPT2ForSequenceClassification": (4, 1024, 124.4),
    "GPTJForCausalLM": (1, 128, 6050.9),
    "GPTJForQuestionAnswering": (1, 128, 5844.4),
    "GPTNeoForCausalLM": (32, 128, 1315.6),
    "GPTNeoForSequenceClassification": (32, 128, 1315.6),
    "GoogleFnet": (16, 512, 83.5),
    "LayoutLMForMaskedLM": (16, 512, 113.3),
    "M2M100ForConditionalGeneration": (16, 128, 483.9),
    "MBartForCausalLM": (4, 1024, 254.1),
    "MT5ForConditionalGeneration": (16, 128, 172.1),
    "MegatronBertForCausalLM": (4, 512, 333.7),
    "MobileBertForMaskedLM": (128, 128, 36.6),
    "OPTForCausalLM": (2, 2048, 125.2),
    "PLBartForCausalLM": (8, 1024, 95.9),
    "PegasusForCausalLM": (32, 128, 254.1),
    "RobertaForCausalLM": (16, 512, 124.7),
    "T5ForConditionalGeneration": (4, 1024, 60.5),
    "T5Small": (4, 1024, 60.5),
    "TrOCRForCausalLM": (32, 256, 253.6),
    "XGLMForCausalLM": (8, 128, 564.5),
    "XLNetLMHeadModel": (8, 512, 360.3),
    "YituTechConvBert": (16, 512, 106.3),
    "Reformer": (16, 4096, 6.0),
}
#: Exact parameters of the published checkpoints; the experts of gpt-oss are counted as numbers, not as 4-bit blocks.
PUBLISHED = {
    "Llama-3.2-1B": 1_235_814_400,
    "gemma-2-2b": 2_614_341_888,
    "gemma-3-4b-it": 4_300_079_472,
    "whisper-tiny": 37_760_640,
    "Qwen3-0.6B": 596_049_920,
    "Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "gpt-oss-20b": 20_914_757_184,
}
#: Those whose steps run with the default tests: one family each.
FEW = ("BertForMaskedLM", "GPT2ForSequenceClassification", "M2M100ForConditionalGeneration", "Qwen3-0.6B")


def load(
    name: str, mode: Mode = Mode.inference, step: StepKind | None = None, scale: Scale = Scale.small, **fields: Any
) -> Workload:
    """A workload of the suite, small unless told otherwise."""
    return Huggingface(scale=scale, step=step).load(name, LoadRequest(mode=mode, **fields))


def parameters(workload: Workload) -> int:
    """How many numbers the model learns."""
    return sum(p.numel() for p in workload.parameters().values())


def few_of_all() -> list[Any]:
    """All listed models; most of them are marked as slow."""
    return [pytest.param(n, marks=() if n in FEW else pytest.mark.slow) for n in (*UPSTREAM, *PUBLISHED)]


def test_listed_models_are_known() -> None:
    """The models' file lists upstream's names, and the suite knows them all."""
    assert list(LISTED) == [*UPSTREAM, *PUBLISHED]
    assert set(LISTED) <= set(Huggingface().names())
    assert {"BertForQuestionAnswering", "ViTForImageClassification"} <= set(known("transformers"))
    assert re.fullmatch(r"\d+(\.\w+)+", listed_version("transformers"))


@pytest.mark.parametrize("name", UPSTREAM)
def test_upstream_figures(name: str) -> None:
    """Parameters, tokens and batch sizes are upstream's; labels are given in inference too, as there."""
    batch_size, tokens, millions = UPSTREAM[name]
    workload = load(name, scale=Scale.full, device="meta", batch_size=2)
    assert round(parameters(workload) / 1e6, 1) == millions
    assert workload.kwargs["input_ids"].shape == (2, tokens)
    assert {"labels", "start_positions"} & set(workload.kwargs)
    assert workload.tokens == 2 * tokens
    assert workload.source == "transformers"
    assert LISTED[name]["batch_size_inference"] == LISTED[name]["batch_size_training"] == batch_size


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(name: str) -> None:
    """Language models have exactly the parameters of their checkpoints, and a prompt of 1000 tokens."""
    workload = load(name, scale=Scale.full, device="meta", batch_size=1)
    assert parameters(workload) == PUBLISHED[name]
    assert LISTED[name]["batch_size_inference"] == 1
    if name != "whisper-tiny":
        assert workload.kwargs["input_ids"].shape == (1, 1000)


@pytest.mark.parametrize("name", few_of_all())
def test_training_has_gradients(name: str) -> None:
    """In training the labels give a loss with a gradient."""
    workload = load(name, Mode.training, batch_size=2)
    workload.step(workload.model)
    found = [p.grad for p in workload.parameters().values() if p.grad is not None]
    assert all(g.isfinite().all() for g in found)
    assert sum(g.norm().item() ** 2 for g in found) > 0.01


@pytest.mark.parametrize("name", few_of_all())
def test_dropout_can_be_put_out(name: str) -> None:
    """Where a reference is compared nothing random is left in a model that trains, dropped layers included."""
    workload = load(name, Mode.training, batch_size=2)
    losses = set()
    with dropout_off(workload.model):
        for seed in range(3):
            torch.manual_seed(seed)
            random.seed(seed)
            losses.add(workload.step(workload.model).loss.item())  # type: ignore[union-attr]
    assert len(losses) == 1


def test_small_is_small() -> None:
    """A small variant has two layers, a small vocabulary and short sequences, and keeps the structure."""
    workload = load("gpt-oss-20b", batch_size=1)
    config = workload.model.model.config  # type: ignore[attr-defined]
    assert config.num_hidden_layers == len(config.layer_types) == 2
    assert config.num_local_experts == 4
    assert parameters(workload) < 1_000_000
    assert workload.tokens == LENGTH


def test_labels_cover_all_classes() -> None:
    """Labels of a classifier are not all the same, and input ids use the vocabulary."""
    inputs = load("GPT2ForSequenceClassification", batch_size=32).kwargs
    assert set(inputs["labels"].tolist()) == {0, 1}
    assert load("RobertaForCausalLM", batch_size=4).kwargs["input_ids"].unique().numel() > 50


def test_bart_has_one_end() -> None:
    """Bart classifies by the end of the text, of which every sequence has one, at its end."""
    workload = load("BartForSequenceClassification", Mode.training, batch_size=16)
    ends = workload.kwargs["input_ids"] == workload.model.config.eos_token_id  # type: ignore[attr-defined]
    assert ends.sum(1).tolist() == [1] * 16
    assert ends[:, -1].all()
    assert workload.step(workload.model).loss.isfinite()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name",
    [
        *("BertModel", "BertForQuestionAnswering", "BertForMultipleChoice", "ViTForImageClassification"),
        *("Wav2Vec2ForCTC", "LxmertForPreTraining", "LxmertForQuestionAnswering", "ReformerModelWithLMHead"),
    ],
)
def test_other_classes(name: str) -> None:
    """A class that is not listed gets inputs and labels by its name, and 16 of them."""
    workload = load(name, Mode.training, batch_size=2)
    workload.step(workload.model)
    assert sum(p.grad.norm().item() for p in workload.parameters().values() if p.grad is not None) > 1e-3
    assert load(name, device="meta").batch_size == BATCH_SIZE


def test_what_else_is_looked_at_or_heard() -> None:
    """As upstream: Lxmert is given 42 regions of an image, Wav2Vec2 10 000 samples, Reformer's decoder 4096 tokens."""
    seen = load("LxmertForPreTraining", device="meta", scale=Scale.full, batch_size=2).kwargs
    assert (seen["visual_feats"].shape, seen["visual_pos"].shape) == ((2, 42, 2048), (2, 42, 4))
    assert load("Wav2Vec2ForCTC", device="meta", batch_size=2).kwargs["input_values"].shape == (2, 10_000)
    decoder = load("ReformerModelWithLMHead", device="meta", scale=Scale.full, batch_size=2)
    assert decoder.kwargs["input_ids"].shape == (2, 4096)
    assert decoder.model.config.is_decoder  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["Qwen3-0.6B", "gemma-2-2b"])
def test_decoding_goes_on_from_a_prompt(name: str) -> None:
    """With a prompt's keys and values in its cache, decode gives what the whole text gives at once; so does prefill."""
    prompt, token = 20, 1  # shorter than gemma's window
    suite = {step: Huggingface(scale=Scale.small, step=step, length=prompt) for step in StepKind}
    request = LoadRequest(batch_size=2)
    prefill, decode = (suite[step].load(name, request) for step in (StepKind.prefill, StepKind.decode))
    ids = prefill.kwargs["input_ids"]
    first, cache = prefill.step(prefill.model).output
    with torch.no_grad():
        for place, (keys, values) in enumerate(cache):
            getattr(decode.model, f"_keys_{place}")[:, :, :prompt] = keys
            getattr(decode.model, f"_values_{place}")[:, :, :prompt] = values
        whole = prefill.model.model(torch.cat([ids, decode.kwargs["input_ids"]], 1)).logits  # type: ignore[attr-defined]
    torch.testing.assert_close(first, whole[:, prompt - 1], rtol=1e-3, atol=1e-4)
    for _ in range(2):  # it can be repeated
        torch.testing.assert_close(decode.step(decode.model).output, whole[:, prompt], rtol=1e-3, atol=1e-4)
    assert (prefill.tokens, decode.tokens) == (2 * prompt, 2 * token)


def test_speech() -> None:
    """Whisper prefills from a spectrogram, without tokens per second, and decodes a token at a time."""
    prefill, decode = (load("whisper-tiny", step=s, batch_size=2) for s in (StepKind.prefill, StepKind.decode))
    assert prefill.tokens is None
    assert decode.tokens == 2
    shapes = [next(tensors_of(w.step(w.model).output)).shape for w in (prefill, decode)]
    assert shapes == [(2, 1000), (2, 1000)]


@pytest.mark.models
@pytest.mark.parametrize("name", ["Qwen3-0.6B", "whisper-tiny"])
def test_decoding_batches_of_other_sizes(name: str) -> None:
    """One graph decodes batches of several sizes, larger ones too; a part of a batch gives what it gives in the whole."""

    def decode(batch_size: int) -> Workload:
        return load(name, step=StepKind.decode, batch_size=batch_size)

    static = decode(4)
    torch.testing.assert_close(*(w.step(static.model).output[:2] for w in (part_of(static, 2), static)))
    full = replace(decode(4), reload=decode, dynamic=Dynamic.batch)
    sizes = [full, *(full.resized(size) for size in (3, 2, 6))]
    mark(full)
    counter = CompileCounter()
    torch._dynamo.reset()
    compiled = torch.compile(full.model, backend=counter, fullgraph=True)  # type: ignore[arg-type]
    for one in sizes:
        torch.testing.assert_close(one.step(compiled).output, one.step(full.model).output)
    assert counter.frame_count == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Llama-3.2-1B", "gpt-oss-20b", "whisper-tiny"])
def test_decode_compiles_as_one_graph(name: str) -> None:
    """A decoding step is one graph, which gives what eager gives."""
    expected, workload = (load(name, step=StepKind.decode, batch_size=1) for _ in range(2))
    torch._dynamo.reset()
    compiled = torch.compile(workload.model, backend="eager", fullgraph=True)  # type: ignore[arg-type]
    for _ in range(3):
        torch.testing.assert_close(workload.step(compiled).output, expected.step(expected.model).output)


def test_what_has_no_such_step() -> None:
    """Decoding with a model that is no decoder, training a decoding step, or inputs not known here is unsupported."""
    with pytest.raises(Unsupported, match=r"use suite.step=forward$"):
        load("BertForMaskedLM", step=StepKind.decode, batch_size=1)
    with pytest.raises(Unsupported, match="is inference: use mode=inference"):
        load("Qwen3-0.6B", Mode.training, step=StepKind.decode)
    with pytest.raises(Unsupported, match="no NoSuchForCausalLM: pip install transformers=="):
        load("NoSuchForCausalLM")
    with pytest.raises(ValueError, match="give the number of tokens, at least 1"):
        Huggingface(length=0)


def test_cast_and_moved_with_the_model() -> None:
    """The keys and values of a decoding step follow the model to another format."""
    from runner.workload import Precision

    workload = load("Llama-3.2-1B", step=StepKind.decode, batch_size=1).cast(Precision("bf16", "bfloat16"))
    assert workload.step(workload.model).output.dtype is torch.bfloat16
    floating = [b for b in workload.model.buffers() if b.is_floating_point()]  # type: ignore[attr-defined]
    assert all(b.dtype is torch.bfloat16 for b in floating)


def test_listing_imports_nothing_and_loading_needs_no_network() -> None:
    """Names are known without torch; every kind of entry loads in a process in which no connection can be made."""
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection was tried')\n"
        "socket.socket.connect = refuse\nsocket.getaddrinfo = refuse\n"
        "from runner.loaders.huggingface import Huggingface\nassert len(Huggingface().names()) > 1000\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
        "from runner.workload import LoadRequest\n"
        "for name in ('T5Small', 'AllenaiLongformerBase', 'BertForMaskedLM', 'gemma-3-4b-it'):\n"
        "    Huggingface().load(name, LoadRequest(device='meta', batch_size=1))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_plans(cli) -> None:
    """`all` is upstream's list, a pattern searches all of transformers, a wrong scale is refused."""
    everything = cli("suite=huggingface", "plan=true", "backend=eager", "select.no_skip=true")
    assert everything.returncode == 0, everything.stderr
    assert all(name in everything.stdout for name in LISTED)
    found = cli("suite=huggingface", "model=Roberta*", "plan=true", "backend=eager")
    assert "RobertaForTokenClassification" in found.stdout
    wrong = cli("suite=huggingface", "suite.scale=tiny", "plan=true")
    assert wrong.returncode == 2
    assert "full" in wrong.stderr
    assert "small" in wrong.stderr


@pytest.mark.models
def test_a_run(cli, tmp_path: Path) -> None:
    """A small language model decodes, and its row has its tokens per second; a model without tokens has none."""
    few = ("measure=quick", "measure.max_pairs=10", "measure.warmup_max_pairs=3", "measure.retry_unconverged=0")
    what = ("suite=huggingface", "model=Qwen3-0.6B", "suite.scale=small", "suite.step=decode", "backend=eager")
    done = cli(*what, *few, "select.no_skip=true", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "out").rows
    assert row["source"] == "transformers"
    assert row["tokens_per_s"] == pytest.approx(row["batch_size"] / row["abs_latency"] * 1e3, rel=1e-3)
    done = cli("suite=demo", "model=mlp", "backend=eager", *few, "hydra.run.dir=plain")
    assert done.returncode == 0, done.stderr
    assert read_run(tmp_path / "plain").rows[0]["tokens_per_s"] is None
