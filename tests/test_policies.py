"""What is particular about a model: conditions, redirects, files, and that every field has its effect."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
import yaml

from runner import batch_sizes, memory_need, policies
from runner.catalog import models_file
from runner.check import Check
from runner.config import conf_dir
from runner.errors import Unsupported, UsageError
from runner.loaders.demo import Demo
from runner.policies import Situation
from runner.results.reader import read_run
from runner.worker.context import JobContext
from runner.workload import LoadRequest, Policy, Precision, Workload, tensors_of

if TYPE_CHECKING:
    from runner.devices import Device

INDUCTOR = {"_target_": "runner.backends.inductor.Inductor"}


def at(*words: str, known: tuple[str, ...] = ("training", "cuda", "fp16", "bf16", "adam")) -> Situation:
    """A situation in which `words` are true."""
    return Situation(frozenset(words), frozenset({*known, *words}))


def planned(out: str) -> dict[str, str]:
    """Name -> its line in what plan=true printed."""
    return {line.split()[0]: line.rstrip() for line in out.splitlines() if re.search(r"  (run|skipped|unsupported)", line)}


def test_conditions_hold_where_all_their_words_are_true() -> None:
    """Plain fields first, then conditions in order, a later one winning; what the command gives wins over all."""
    entry = {
        "tolerance": 0.1,
        "where": {"training": {"tolerance": 0.2}, "training+cuda": {"tolerance": 0.3}, "fp16": {"cosine": True}},
    }
    for words, tolerance in ((("fp16",), 0.1), (("training",), 0.2), (("training", "cuda"), 0.3)):
        assert policies.resolve([("x", entry)], {}, at(*words))["tolerance"] == tolerance
    assert policies.resolve([("x", entry)], {"tolerance": 1.0, "skip": None}, at("fp16")) == {"tolerance": 1.0, "cosine": True}


def test_later_entries_win() -> None:
    """A policy file's entry stands over the catalogue's, field by field."""
    entries = [("a", {"tolerance": 0.1, "iou": 0.9}), ("b", {"tolerance": 0.2})]
    assert policies.resolve(entries, {}, at()) == {"tolerance": 0.2, "iou": 0.9}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"where": {"trainin": {}}}, ["m: where trainin", "Did you mean: training"]),
        ({"where": {"fp16": {"tolerence": 1}}}, ["m: where fp16", "tolerence"]),
        ({"tolerance": "wide"}, ["m: ", "wide"]),
    ],
)
def test_mistakes_are_named(entry: dict[str, Any], words: list[str]) -> None:
    """A condition, field or value that there is not is one sentence, also where the condition does not hold."""
    with pytest.raises(UsageError) as error:
        policies.resolve([("m", entry)], {}, at("cuda"))
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ({"config": {"freezing": True}}, {"freezing"}),
        ({"mode": "reduce-overhead"}, {"cudagraphs"}),
        ({"mode": "reduce-overhead", "cudagraphs": False}, set()),
        ({"options": {"triton.cudagraphs": True}, "cudagraphs": False}, {"cudagraphs"}),
        ({"options": {"triton": {"cudagraphs": False}}, "mode": "max-autotune"}, set()),
        ({"config": {"triton": {"cudagraphs": True}}}, {"cudagraphs"}),
        ({"config": {"triton.cudagraphs": True}}, {"cudagraphs"}),
        ({"config": {"triton.cudagraphs": True}, "cudagraphs": False}, set()),
        ({"_target_": "runner.backends.dynamo.Dynamo", "name": "cudagraphs"}, {"cudagraphs"}),
        ({"_target_": "runner.backends.dynamo.Dynamo", "name": "eager"}, set()),
        ({"_target_": "runner.backends.export.Export"}, {"export"}),
    ],
)
def test_words_about_the_backend(backend: dict[str, Any], words: set[str]) -> None:
    """Freezing, CUDA graphs and exporting are known from the backend's own keys."""
    plain = {"backend": {**INDUCTOR, **backend}, "precision": {"autocast": True}}
    found = policies.situation(plain, {"precision": "amp_bf16"}, "cpu", [conf_dir()])
    assert words == found.true & {"freezing", "cudagraphs", "export"}
    assert {"amp", "amp_bf16", "cpu", "single_process"} <= found.true


def holds(suite: str, model: str, words: str) -> dict[str, Any]:
    """The policy of a model of a suite's file where `words` are true."""
    known = policies.situation({}, {}, "cpu", [conf_dir()]).known
    entry = models_file(suite, [conf_dir()])[model]
    return policies.resolve([(model, entry)], {}, Situation(frozenset(words.split()), known))


@pytest.mark.parametrize(
    ("suite", "model", "words", "field", "value"),
    [
        ("torchbench", "shufflenet_v2_x1_0", "training cuda fp32", "tolerance", 8e-2),
        ("torchbench", "yolov3", "training cuda bf16", "tolerance", 8e-2),
        ("torchbench", "phlippe_resnet", "fp16", "tolerance", 1e-2),
        ("torchbench", "squeezenet1_1", "bf16 xpu", "tolerance", 8e-2),
        ("torchbench", "mobilenet_v2", "freezing amp", "tolerance", 8e-2),
        ("huggingface", "MT5ForConditionalGeneration", "training amp", "tolerance", 2e-2),
        ("huggingface", "GPT2ForSequenceClassification", "inference amp", "tolerance", 4e-3),
        ("huggingface", "GPT2ForSequenceClassification", "inference amp cpu", "tolerance", 5e-3),
        ("timm", "inception_v3", "training bf16", "tolerance", 4e-2),
        ("timm", "beit_base_patch16_224", "training amp", "tolerance", 16e-2),
        ("timm", "deit_base_distilled_patch16_224", "training fp16", "tolerance", 8e-2),
        ("timm", "botnet26t_256", "training fp16 xpu", "tolerance", 4e-2),
        ("timm", "adv_inception_v3", "freezing inference", "tolerance", 8e-2),
        ("torchbench", "BERT_pytorch", "adam", "optimizer", "sgd"),
        ("torchbench", "demucs", "adam", "optimizer", "sgd"),
        ("huggingface", "AlbertForMaskedLM", "adam", "optimizer", "sgd"),
        ("huggingface", "BlenderbotForCausalLM", "adam", "optimizer", "sgd"),
        ("timm", "ghostnet_100", "adam", "optimizer", "sgd"),
        ("timm", "vit_base_patch14_dinov2.lvd142m", "adam cuda inductor accuracy", "optimizer", "sgd"),
        ("torchbench", "DALLE2_pytorch", "fp16", "precision", "amp_fp16"),
        ("torchbench", "vision_maskrcnn", "bf16", "precision", "fp16"),
        ("torchbench", "modded_nanogpt", "amp_fp16", "precision", "amp_bf16"),
        ("huggingface", "GoogleFnet", "bf16", "precision", "fp32"),
        ("timm", "mobilevit_s", "training", "loss_divisor", 1000.0),
        ("torchbench", "detectron2_maskrcnn_r_50_c4", "", "iou", 0.99),
        ("torchbench", "sam_fast", "", "iou", 0.95),
        ("torchbench", "sam", "", "check_runs", 5),
        ("torchbench", "mobilenet_v3_large", "", "nondeterministic", True),
        ("torchbench", "pytorch_unet", "training", "nondeterministic", True),
        ("torchbench", "vgg16", "", "deterministic_algorithms", False),
        ("torchbench", "yolov3", "", "small_tensors", True),
        ("huggingface", "BertForMaskedLM", "", "small_tensors", True),
        ("timm", "vit_base_patch14_dinov2.lvd142m", "", "backend", {"config": {"emulate_precision_casts": True}}),
        ("torchbench", "tts_angular", "", "backend", {"cudagraphs": False}),
        ("torchbench", "hf_Reformer", "", "eval_mode", False),
        ("huggingface", "M2M100ForConditionalGeneration", "", "eval_mode", True),
        ("torchbench", "maml", "", "reference", False),
        ("torchbench", "fastNLP_Bert", "", "slow", True),
        ("torchbench", "pyhpc_turbulent_kinetic_energy", "", "fixed_batch_size", True),
        ("torchbench", "dlrm", "", "batch_size_training", 1024),
        ("torchbench", "densenet121", "", "batch_size_training", 4),
        ("torchbench", "timm_efficientdet", "", "batch_size_inference", 32),
        ("torchbench", "pytorch_unet", "accuracy", "batch_size_training", 2),
        ("huggingface", "OPTForCausalLM", "", "batch_size_inference", 2),
        ("timm", "swin_base_patch4_window7_224", "", "batch_size_training", 64),
    ],
)
def test_upstream_entries(suite: str, model: str, words: str, field: str, value: Any) -> None:
    """What dynamobench's lists say about a model holds where they say so, and not elsewhere."""
    assert holds(suite, model, words)[field] == value
    assert not words or holds(suite, model, "").get(field) != value


@pytest.mark.parametrize(
    ("suite", "model", "words"),
    [
        ("torchbench", "tacotron2", ""),
        ("torchbench", "llava", "cpu"),
        ("torchbench", "detectron2_fasterrcnn_r_50_fpn", "xpu"),
        ("torchbench", "llama_v2_7b_16h", "training"),
        ("torchbench", "moondream", "training"),
        ("torchbench", "drq", "export"),
        ("torchbench", "opacus_cifar10", "export"),
        ("torchbench", "dlrm", "batch"),
        ("torchbench", "moco", "freezing cuda"),
        ("torchbench", "llama", "accuracy cudagraphs"),
        ("torchbench", "simple_gpt", "single_process"),
        ("huggingface", "AllenaiLongformerBase", "export"),
        ("huggingface", "Reformer", "unbacked"),
        ("timm", "dm_nfnet_f0", "cpu aarch64"),
    ],
)
def test_upstream_skips(suite: str, model: str, words: str) -> None:
    """What dynamobench skips on a device, in a mode or for a way to compile is skipped there and only there."""
    assert holds(suite, model, words).get("skip")
    assert not words or not holds(suite, model, "").get("skip")


def carried(suite: str) -> dict[str, list[str]]:
    """`condition: field=value` -> the models of a suite's file for which it holds, beyond what always does."""
    found: dict[str, list[str]] = {}
    for model, entry in models_file(suite, [conf_dir()]).items():
        always = holds(suite, model, "")
        for condition in ("always", *(entry.get("where") or {})):
            own = always if condition == "always" else holds(suite, model, condition.replace("+", " "))
            for field, value in own.items():
                if condition == "always" or always.get(field) != value:
                    found.setdefault(f"{condition}: {field}={json.dumps(value)}", []).append(model)
    return dict(sorted(found.items()))


def test_the_entries_are_the_recorded_ones() -> None:
    """No entry is lost or changed by mistake: which models have what policy, in tests/snapshots/policies.yaml."""
    path = Path(__file__).parent / "snapshots" / "policies.yaml"
    suites = sorted(file.stem for file in (conf_dir() / "models").glob("*.yaml"))
    now = yaml.safe_dump({suite: carried(suite) for suite in suites}, default_flow_style=None, width=110)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(now, encoding="utf-8")
    meant = "if the change is meant: UPDATE_SNAPSHOTS=1 python -m pytest tests/test_policies.py"
    assert now == path.read_text(encoding="utf-8"), meant


def test_every_entry_is_typed() -> None:
    """All fields and conditions of all models' files exist, and say what a policy can say."""
    known = policies.situation({}, {}, "cpu", [conf_dir()])
    for path in sorted((conf_dir() / "models").glob("*.yaml")):
        for name, entry in yaml.safe_load(path.read_text()).items():
            everywhere = Situation(known.known, known.known)
            policies.resolve([(f"{path.name}: {name}", entry or {})], {}, everywhere)


def test_redirects() -> None:
    """Precision and optimizer are replaced in configuration and choices; backend settings fill what is open."""
    sgd = {"_target_": "runner.optimizers.sgd.Sgd"}
    config = {
        "choices": {"precision": "bf16", "optimizer": "adam"},
        "precision": {"name": "bf16", "dtype": "bfloat16", "autocast": False},
        "optimizer": {"_target_": "runner.optimizers.adam.Adam", "lr": 0.5},
        "backend": {**INDUCTOR, "cudagraphs": None, "mode": "default", "config": {"freezing": True}},
    }
    wanted = {"cudagraphs": False, "mode": "max-autotune", "config": {"emulate_precision_casts": True, "freezing": False}}
    policy = {"precision": "amp_bf16", "optimizer": "sgd", "backend": wanted}
    found = policies.adapted(config, policy, [conf_dir()])
    assert found["choices"] == {"precision": "amp_bf16", "optimizer": "sgd"}
    assert found["precision"] == {"name": "amp_bf16", "dtype": "bfloat16", "autocast": True}
    assert (found["optimizer"]["_target_"], found["optimizer"]["lr"]) == (sgd["_target_"], 0.5)
    assert (found["backend"]["cudagraphs"], found["backend"]["mode"]) == (False, "default")
    assert found["backend"]["config"] == {"emulate_precision_casts": True, "freezing": True}
    assert config["choices"]["precision"] == "bf16"


def test_a_policy_file(cli: Any, tmp_path: Path) -> None:
    """Its entries decide what runs in what precision and batch size; the row's policy says what was applied."""
    (tmp_path / "p.yaml").write_text(
        "mlp: {where: {bf16: {precision: amp_bf16, tolerance: 0.02}}}\n"
        "convnet: {batch_size_inference: 9, batch_divisor: 2}\n"
        "transformer: {where: {bf16: {skip: not today}}}\n"
    )
    words = ("suite.policy_file=p.yaml", "precision=bf16", "backend=eager", "plan=true")
    lines = planned(cli(*words).stdout)
    assert "amp_bf16" in lines["mlp"]
    assert lines["convnet"].split()[1] == "4"
    assert "skipped: not today" in lines["transformer"]
    assert "skipped" not in planned(cli(*words, "select.no_skip=true").stdout)["transformer"]


def test_a_policy_file_is_no_part_of_a_cell(cli: Any, tmp_path: Path) -> None:
    """Two files that say the same, and `policy.*`, give the same cell as far as they say the same."""
    (tmp_path / "a.yaml").write_text("mlp: {tolerance: 0.5}\n")
    (tmp_path / "b.yaml").write_text("mlp: {where: {fp32: {tolerance: 0.5}}}\n")
    given = [("suite.policy_file=a.yaml",), ("suite.policy_file=b.yaml",), ("policy.tolerance=0.5",)]
    lines = [planned(cli(*words, "model=mlp", "plan=true").stdout)["mlp"] for words in given]
    assert len(set(lines)) == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [("mpl: {}", "Did you mean: mlp"), ("- mlp", "give model names"), ("mlp: {foo: 1}", "foo"), (None, "can't be read")],
)
def test_bad_policy_files(cli: Any, tmp_path: Path, text: str | None, word: str) -> None:
    """One sentence that names the file, exit 2."""
    if text is not None:
        (tmp_path / "p.yaml").write_text(text)
    done = cli("suite.policy_file=p.yaml", "plan=true")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert word in done.stderr
    assert "p.yaml" in done.stderr


def test_a_fixed_batch_size(cli: Any) -> None:
    """A model that can't be given another batch size is a row that says so, and runs with its own."""
    words = ("model=mlp", "policy.fixed_batch_size=true", "plan=true")
    assert "unsupported: mlp has a fixed batch size" in cli(*words, "batch_size=3").stdout
    assert planned(cli(*words, "experiment=accuracy").stdout)["mlp"].endswith("run")


def test_batch_sizes_of_a_file(cli: Any, tmp_path: Path) -> None:
    """Upstream's lines, with comma, space or both; a model that the file lacks keeps its own."""
    (tmp_path / "sizes.txt").write_text("mlp,5\nconvnet 7  # a comment\n\nelse , 16\n")
    lines = planned(cli("select.batch_size_file=sizes.txt", "plan=true").stdout)
    assert [lines[name].split()[1] for name in ("mlp", "convnet", "transformer")] == ["5", "7", "demo"]
    done = cli("select.batch_size_file=sizes.txt", "batch_size=2", "plan=true")
    assert (done.returncode, "give one of them" in done.stderr) == (2, True)


@pytest.mark.parametrize("line", ["mlp,-1", "mlp", "mlp,x", "a b 3", "mlp,0"])
def test_lines_without_a_batch_size(tmp_path: Path, line: str) -> None:
    """The file, the line and what it should look like."""
    path = tmp_path / "sizes.txt"
    path.write_text(f"vgg16,64\n{line}\n")
    with pytest.raises(UsageError, match="line 2"):
        batch_sizes.read(str(path), {})


@pytest.mark.parametrize("text", ["64x", "-2", "0", "6.5"])
def test_rows_without_a_batch_size(tmp_path: Path, text: str) -> None:
    """An edited CSV of experiment=batch_size: the file, the line and the value that is no batch size."""
    path = tmp_path / "sizes.csv"
    path.write_text(f"name,{batch_sizes.LARGEST}\nvgg16,64\nnone_fits,\nmlp,{text}\n")
    with pytest.raises(UsageError, match=f"sizes.csv, line 4: largest_batch_size is '{text}'"):
        batch_sizes.read(str(path), dict.fromkeys(batch_sizes.SAME))


def test_batch_sizes_of_a_result(tmp_path: Path) -> None:
    """The CSV of experiment=batch_size: rows of the same suite, device, mode and precision that have an answer."""
    path = tmp_path / "batch_size.csv"
    path.write_text(
        f"dev,name,{batch_sizes.LARGEST},suite,mode,precision\n"
        "cpu,mlp,64,demo,inference,fp32\ncpu,mlp,8,demo,training,fp32\ncpu,convnet,,demo,inference,fp32\n"
    )
    run = {"suite": "demo", "dev": "cpu", "mode": "inference", "precision": "fp32"}
    assert batch_sizes.read(str(path), run) == {"mlp": 64}
    with pytest.raises(UsageError, match="bf16"):
        batch_sizes.read(str(path), {**run, "precision": "bf16"})


def test_what_a_check_reads() -> None:
    """No reference where the policy forbids it, more eager runs for a model that differs from itself."""
    workload = Demo().load("mlp", LoadRequest(batch_size=2))
    settings = Check(replace(workload, policy=Policy(reference=False, nondeterministic=True))).settings
    assert (settings.reference, settings.eager_runs) == (False, 5)
    assert Check(workload).settings.reference


def test_what_an_accuracy_row_reads(cli: Any, tmp_path: Path) -> None:
    """Runs, eval mode, reference, tolerance and determinism of a policy are in the row, and so is the policy."""
    policy = {"check_runs": 3, "eval_mode": True, "reference": False, "tolerance": 0.5, "deterministic_algorithms": False}
    words = [f"policy.{key}={json.dumps(value)}" for key, value in policy.items()]
    done = cli("model=mlp", "experiment=accuracy", "backend=eager", "mode=training", *words, "hydra.run.dir=out")
    row = read_run(tmp_path / "out").rows[0]
    assert row["status"] == "ok", done.stdout
    assert (row["runs"], row["eval_mode"], row["reference"], row["tolerance"]) == (3, True, "none", 0.5)
    assert not row["determinism"].startswith("algorithms")
    assert json.loads(row["policy"]) == policy


def test_inputs_stay_as_they_are() -> None:
    """`cast_inputs: false` casts the parameters only."""
    for policy, dtype in ((Policy(), torch.float16), (Policy(cast_inputs=False), torch.float32)):
        workload = Demo().load("convnet", LoadRequest(batch_size=1, policy=policy)).cast(Precision("fp16", "float16"))
        assert {t.dtype for t in tensors_of(workload.args)} == {dtype}
        assert {p.dtype for p in workload.parameters().values()} == {torch.float16}


def loaded(**policy: Any) -> Workload:
    """The convnet as a cell in training on the CPU gets it, under a policy."""
    config = cell_config(mode={"name": "training"}, batch_size=2, policy=policy)
    job = {"config": config, "options": {}, "artifacts": "unused", "threads": 1, "cpus": None}
    context = JobContext(job, lambda message: None)
    context.device = cast("Device", Roomy())
    return context.load("convnet")


def test_a_divided_loss() -> None:
    """`loss_divisor` divides the loss that a training step takes the gradients of."""
    plain, divided = loaded(), loaded(loss_divisor=4.0)
    output = plain.step(plain.model).output.detach()
    torch.testing.assert_close(divided.loss(output) * 4, plain.loss(output))


def test_channels_last() -> None:
    """Weights and inputs with four dimensions are in that memory format, and the others stay as they are."""
    for policy, expected in (({}, False), ({"channels_last": True}, True)):
        workload = loaded(**policy)
        tensors = [*workload.parameters().values(), *tensors_of((workload.args, workload.kwargs))]
        images = [t for t in tensors if t.dim() == 4 and min(t.shape[1:]) > 1]  # others are in both formats at once
        assert len(images) > 1
        assert {t.is_contiguous(memory_format=torch.channels_last) for t in images} == {expected}
        assert all(t.is_contiguous() for t in tensors if t.dim() != 4)


CHECKPOINTED = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def gradient_checkpointing_enable(self):
        print("activations are dropped\\n", end="", flush=True)

    def forward(self, x):
        return self.linear(x)

    def get_example_inputs(self):
        return (torch.randn(2, 4),)
"""


def test_activation_checkpointing_below_ddp(cli: Any, tmp_path: Path) -> None:
    """A model that is spread over ranks drops its activations too."""
    (tmp_path / "net.py").write_text(CHECKPOINTED)
    what = ("suite=module", "suite.path=net.py", "suite.class_name=Net", "experiment=accuracy", "backend=eager")
    ddp = ("mode=training", "parallel=ddp", "parallel.nproc=1", "policy.activation_checkpointing=true")
    done = cli(*what, *ddp, "hydra.run.dir=out")
    (row,) = read_run(tmp_path / "out").rows
    assert (done.returncode, row["status"]) == (0, "ok"), row
    assert "activations are dropped" in (tmp_path / "out" / row["log"]).read_text()


class Small:
    """A device with 1 MB of free memory."""

    def free_memory_bytes(self) -> int:
        """Bytes."""
        return 1_000_000


class Roomy(Small):
    """One with room for all models here."""

    torch_name = "cpu"

    def free_memory_bytes(self) -> int:
        """Bytes."""
        return 10**12


def cell_config(**more: Any) -> dict[str, Any]:
    """A cell of suite demo on the device above."""
    suite = {"_target_": "runner.loaders.demo.Demo"}
    return {"choices": {"suite": "demo"}, "suite": suite, "device": {"type": "npu"}, **more}


def test_a_model_too_big_is_refused_before_it_is_loaded() -> None:
    """With the figures; in training gradients and the optimizer's states count too, in the precision's own width."""
    with pytest.raises(Unsupported, match=r"mlp does not fit: 2\.66e\+05 parameters need 0\.0 GB.*0\.0 GB are free on npu"):
        memory_need.refuse_too_big(cell_config(), "mlp", Small())
    memory_need.refuse_too_big(cell_config(), "convnet", Small())
    memory_need.refuse_too_big(cell_config(), "not_counted", Small())
    training = {"mode": {"name": "training"}, "optimizer": {"_target_": "runner.optimizers.adam.Adam"}}
    assert memory_need.need(100, training)[0] == 100 * 4 * 4
    assert memory_need.need(100, {**training, "precision": {"dtype": "bfloat16"}})[0] == 100 * 2 * 4
    assert memory_need.need(100, {"precision": {"dtype": "bfloat16"}})[0] == 400


def test_the_counted_lists_add_up() -> None:
    """In docs/policies.md each list's entries are those carried, default, changed, dropped and unused; so is the sum."""
    text = (Path(__file__).parents[1] / "docs" / "policies.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (`[^|]*`|[a-z][^|]*|all) \|((?: *\d* *\|){6})$", text, re.MULTILINE)
    rows = {name: [int(cell or 0) for cell in map(str.strip, cells.split("|")[:-1])] for name, cells in lines}
    total = rows.pop("all")
    assert len(rows) > 50
    assert [name for name, (entries, *parts) in rows.items() if entries != sum(parts)] == []
    assert total == [sum(column) for column in zip(*rows.values(), strict=True)]
