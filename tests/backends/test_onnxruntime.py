"""Backend `onnxruntime`: inputs and outputs of any form, number formats, sizes that vary, and what is missing."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from runner.backends import _packages
from runner.backends.onnxruntime import Onnxruntime
from runner.check import check
from runner.errors import Unsupported, UsageError
from runner.onnx_export.choices import Exporter, GraphOptimization
from runner.onnx_export.facts import facts_of
from runner.onnx_export.failure import OnnxError
from runner.results.reader import read_run
from runner.workload import Dynamic, Mode, Precision, Workload

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parent.parent.parent
QUICK = ("measure.min_pairs=6", "measure.max_pairs=6", "measure.warmup_max_pairs=1", "measure.retry_unconverged=0")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Cache:
    """An object of a type that nobody registered."""

    def __init__(self, keys: torch.Tensor) -> None:
        self.keys = [keys]
        self.length = 3


@dataclass
class Output:
    """A dataclass."""

    logits: torch.Tensor
    extra: dict[str, Any]


class Nested(torch.nn.Module):
    """Takes and returns tensors in all kinds of containers, and more than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, y: Any = None, pair: Any = None, flag: bool = True) -> Output:
        h = torch.nn.functional.gelu(self.linear(x))
        numbers = (h.sum(-1), [y * 2, pair["z"][0] + 1])
        more = {"cache": Cache(h + 1), "mask": h > 0, "none": None, "number": 3, "empty": x[:0]}
        return Output(h if flag else -h, {"numbers": numbers, **more})


def nested() -> Workload:
    """Some of its inputs are keyword arguments; one is read by nothing."""
    torch.manual_seed(0)
    pair = {"z": (torch.ones((), dtype=torch.int64), torch.zeros(2))}
    kwargs = {"y": torch.randn(3), "pair": pair, "flag": False}
    return Workload("nested", Nested().eval(), (torch.randn(2, 8),), kwargs, batch_size=2)


class Net(torch.nn.Module):
    """Plain layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def net(batch_size: int = 4) -> Workload:
    """A model whose batch size can be chosen."""
    torch.manual_seed(0)
    return Workload("net", Net().eval(), (torch.randn(batch_size, 8),), batch_size=batch_size, reload=net)


@pytest.mark.parametrize("exporter", Exporter)
def test_inputs_and_outputs_of_any_form(exporter: Exporter) -> None:
    """The session takes and returns what the model does: dataclass, dict, nested tuples, objects, masks, no tensors."""
    workload = nested()
    candidate = Onnxruntime(exporter).prepare(workload)
    output = workload.step(candidate).output
    assert isinstance(output, Output)
    assert (output.extra["none"], output.extra["number"], output.extra["cache"].length) == (None, 3, 3)
    assert output.extra["mask"].dtype == torch.bool
    assert check(workload, candidate).accuracy == "pass"


def test_outputs_are_new_each_time() -> None:
    """A call leaves the outputs of the call before alone."""
    workload = net()
    candidate = Onnxruntime().prepare(workload)
    with torch.no_grad():
        first = candidate(*workload.args)
        kept = first.clone()
        candidate(workload.args[0] + 1)
    assert torch.equal(first, kept)


def test_inputs_that_are_not_contiguous() -> None:
    """A transposed input is copied, not read as it lies."""
    workload = net()
    workload = replace(workload, args=(torch.randn(8, 4).t(),))
    assert check(workload, Onnxruntime().prepare(workload)).accuracy == "pass"


@pytest.mark.parametrize("exporter", [Exporter.torchscript, Exporter.dynamo])
def test_sizes_that_vary(exporter: Exporter) -> None:
    """With dynamic=batch one file serves other batch sizes; without, ONNX Runtime says what it expected."""
    workload, other = net(4), net(7)
    varying = Onnxruntime(exporter).prepare(replace(workload, dynamic=Dynamic.batch))
    static = Onnxruntime(exporter).prepare(workload)
    with torch.no_grad():
        varying(*workload.args)
        assert torch.allclose(varying(*other.args), other.model(*other.args), atol=1e-5)
        static(*workload.args)
        with pytest.raises(OnnxError, match="Expected: 4"):
            static(*other.args)


@pytest.mark.parametrize("exporter", [Exporter.torchscript, Exporter.dynamo])
def test_fp16(exporter: Exporter) -> None:
    """Half precision runs where the provider has kernels for it."""
    workload = net().cast(Precision("fp16", "float16"))
    assert check(workload, Onnxruntime(exporter).prepare(workload)).accuracy == "pass"


@pytest.mark.parametrize("exporter", [Exporter.torchscript, Exporter.dynamo])
def test_autocast(exporter: Exporter, tmp_path: Path) -> None:
    """What autocast does is part of the exported model, whether it is exported ahead or by the first call."""
    workload = net().cast(Precision("amp_fp16", "float16", autocast=True))
    backend = Onnxruntime(exporter)
    session = backend.open(backend.export(workload, tmp_path), workload)
    assert workload.step(session).output.dtype == torch.float16
    assert check(workload, backend.prepare(workload)).accuracy == "pass"


def test_bf16_without_a_kernel() -> None:
    """A number format without a kernel fails when the session is made, and the error names the operator."""
    workload = net().cast(Precision("bf16", "bfloat16"))
    with pytest.raises(OnnxError, match="session: NotImplemented: .*Gemm"):
        workload.step(Onnxruntime(Exporter.torchscript).prepare(workload))


def test_session_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session has the run's threads, one at a time, and the level of optimisation that was asked for."""
    import onnxruntime

    made = []
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: made.append((a, k)) or session(*a, **k))
    workload = net()
    workload.step(Onnxruntime(Exporter.torchscript, graph_optimization=GraphOptimization.basic).prepare(workload))
    ((_, options), more) = made[0]
    assert options.intra_op_num_threads == torch.get_num_threads()
    assert options.inter_op_num_threads == 1
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert more["providers"] == [("CPUExecutionProvider", {})]


def test_opset(tmp_path: Path) -> None:
    """The file has the opset that was asked for."""
    import onnx

    exported = Onnxruntime(Exporter.torchscript, opset=15).export(net(), tmp_path)
    assert onnx.load(str(exported.path)).opset_import[0].version == 15


@pytest.mark.parametrize("exporter", [exporter for exporter in Exporter if exporter is not Exporter.torchscript])
def test_an_opset_that_is_not_written(exporter: Exporter, tmp_path: Path) -> None:
    """Torch goes on with its own where it can't convert to the one that was asked for: that is unsupported."""
    assert facts_of(Onnxruntime(exporter, opset=21).export(net(), tmp_path).path).opset == 21
    with pytest.raises(Unsupported, match=rf"backend.opset=99: exporter {exporter.value} can't .* keeps \d+; give"):
        Onnxruntime(exporter, opset=99).export(net(), tmp_path)


def test_what_it_refuses() -> None:
    """Training, sizes about which nothing may be asked, and providers that nobody has."""
    with pytest.raises(Unsupported, match="use mode=inference"):
        Onnxruntime().prepare(replace(net(), mode=Mode.training))
    with pytest.raises(Unsupported, match="dynamic=batch"):
        Onnxruntime(Exporter.torchscript).prepare(replace(net(), dynamic=Dynamic.unbacked))
    with pytest.raises(UsageError, match="Did you mean: CPUExecutionProvider"):
        Onnxruntime(providers=["CPUExecutionProvide"]).prepare(net())


def test_a_provider_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU without a provider for it the row will say what to install; also when its libraries are missing."""
    from runner.onnx_export import session

    class Runtime:
        """An ONNX Runtime whose CUDA provider never starts."""

        __version__ = "1.30"
        available = ("CPUExecutionProvider",)

        @staticmethod
        def get_all_providers() -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        @classmethod
        def get_available_providers(cls) -> tuple[str, ...]:
            return cls.available

        class InferenceSession:
            def __init__(self, model: bytes, providers: object) -> None:
                """Falls back."""

            def get_providers(self) -> list[str]:
                return ["CPUExecutionProvider"]

    monkeypatch.setattr(session, "require", lambda name: Runtime)
    usable = session.usable_providers.__wrapped__
    with pytest.raises(Unsupported, match="needs an onnxruntime with CUDA.*: pip install onnxruntime-gpu"):
        usable((), "cuda:0")
    Runtime.available = ("CUDAExecutionProvider", "CPUExecutionProvider")
    with pytest.raises(Unsupported, match="can't start CUDAExecutionProvider.*: pip install onnxruntime-gpu"):
        usable((), "cuda:0")


def test_a_package_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The versions that are wanted and found are named, with what to install."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "__version__", "1.3.0")
    with pytest.raises(Unsupported, match=r"needs onnxruntime>=1.21, and 1.3.0 is installed: pip install 'onnxruntime>="):
        Onnxruntime(Exporter.torchscript).prepare(net())


def test_an_exporter_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the exporters that need onnxscript miss it."""
    monkeypatch.setattr(_packages.importlib, "import_module", without("onnxscript"))
    with pytest.raises(Unsupported, match="needs the package onnxscript: pip install 'onnxscript>="):
        Onnxruntime(Exporter.dynamo).prepare(net())
    Onnxruntime(Exporter.torchscript).prepare(net())


def without(package: str) -> Any:
    """importlib.import_module where one package is not installed."""

    def find(name: str) -> Any:
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importlib.__import__(name)

    return find


def test_the_row_where_it_is_missing(cli: Any, tmp_path: Path) -> None:
    """`unsupported`, with what to install; the exit code is 0."""
    (tmp_path / "hidden" / "onnxruntime").mkdir(parents=True)
    hidden = "raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')"
    (tmp_path / "hidden" / "onnxruntime" / "__init__.py").write_text(hidden)
    words = ("suite=demo", "model=mlp", "backend=onnxruntime", "isolation=none", "hydra.run.dir=out", *QUICK)
    done = cli(*words, env={"PYTHONPATH": f"{tmp_path / 'hidden'}:{ROOT}"})
    (row,) = read_run(tmp_path / "out").rows
    assert (done.returncode, row["status"]) == (0, "unsupported"), done.stderr
    assert "needs the package onnxruntime: pip install 'onnxruntime>=" in row["error"]


def test_it_is_compared_with_eager(cli: Any, tmp_path: Path) -> None:
    """speedup and accuracy take it as they take any other; compiling is the export and the first run."""
    words = ("--multirun", "experiment=speedup,accuracy", "suite=demo", "model=mlp", "backend=onnxruntime")
    done = cli(*words, *QUICK, "measure.threads=1", "isolation=none", "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stderr
    rows = {row["experiment"]: row for row in read_run(tmp_path / "out").rows}
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {row["backend"] for row in rows.values()} == {"onnxruntime_dynamo"}
    assert rows["speedup"]["compile_s"] > 0.1
    assert rows["accuracy"]["accuracy"] == "pass"


def test_weights_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session finds weights that lie beside the file, as those of large models do, and needs neither later."""
    from torch.onnx._internal.exporter import _onnx_program

    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 100)
    workload, backend = net(), Onnxruntime()
    exported = backend.export(workload, tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    session = backend.open(exported, workload)
    for file in tmp_path.iterdir():
        file.unlink()
    assert names == {"model.onnx", "model.onnx.data"}
    assert check(workload, session).accuracy == "pass"


@pytest.mark.slow
@pytest.mark.skipif(psutil.virtual_memory().available < 20e9, reason="needs 20 GB of memory")
@pytest.mark.parametrize("exporter", [Exporter.torchscript, Exporter.dynamo])
def test_a_model_beyond_two_gigabytes(tmp_path: Path, exporter: Exporter) -> None:
    """Weights that don't fit into the file go beside it."""

    class Large(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(540_000_000))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.weight[:4].sum() + self.weight[-1]

    workload, backend = Workload("large", Large(), (torch.ones(4),)), Onnxruntime(exporter)
    exported = backend.export(workload, tmp_path)
    assert exported.path.stat().st_size < 1_000_000
    with torch.no_grad():
        assert torch.equal(backend.open(exported, workload)(*workload.args), torch.ones(4))
    for file in tmp_path.iterdir():
        file.unlink()
