"""A session of ONNX Runtime as a callable in the model's place; tensors are shared, not copied."""

from __future__ import annotations

import functools
import io
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.dlpack import from_dlpack

from runner.errors import Unsupported, UsageError
from runner.onnx_export.choices import GraphOptimization
from runner.onnx_export.exporters import Exported
from runner.onnx_export.failure import Step, failing, recorded_warnings
from runner.onnx_export.flat import builder, input_names, tensors_in
from runner.onnx_export.packages import require
from runner.registry import unknown
from runner.workload import Workload, tensors_of

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
#: torch device type -> execution providers; the first has to work, the others take what it has no kernel for.
PROVIDERS = {"cpu": (CPU,), "cuda": (CUDA, CPU)}
#: Provider -> distribution that has it.
DISTRIBUTIONS = {CUDA: "onnxruntime-gpu", "TensorrtExecutionProvider": "onnxruntime-gpu"}
#: Numbers of onnx.TensorProto.DataType.
ELEMENT_TYPES = {
    torch.float32: 1,
    torch.uint8: 2,
    torch.int8: 3,
    torch.uint16: 4,
    torch.int16: 5,
    torch.int32: 6,
    torch.int64: 7,
    torch.bool: 9,
    torch.float16: 10,
    torch.float64: 11,
    torch.uint32: 12,
    torch.uint64: 13,
    torch.bfloat16: 16,
}


class Session:
    """Called like the model; `seconds` is what making it took, `providers` are those in use.

    Inputs are bound where they lie (one that isn't contiguous is copied). Outputs are allocated by ONNX Runtime on
    the device where the model has its own, and come back as tensors on that memory. A call returns when the work is
    done. The file is needed no longer. Raises `OnnxError`.
    """

    def __init__(
        self, exported: Exported, workload: Workload, providers: Sequence[str], level: GraphOptimization
    ) -> None:
        self._runtime = runtime = require("onnxruntime")
        chosen = [_with_options(provider, workload.device) for provider in providers]
        started = time.perf_counter()
        with failing(Step.SESSION):
            self._session = runtime.InferenceSession(str(exported.path), _options(runtime, level), providers=chosen)
            self._bind(exported, workload)
        self.seconds = time.perf_counter() - started
        self.providers: list[str] = self._session.get_providers()
        self.version: str = runtime.__version__

    def _bind(self, exported: Exported, workload: Workload) -> None:
        """Match the graph's names with the model's tensors; exporters leave out inputs that nothing depends on."""
        names = input_names(workload)
        self._inputs = [(names.index(i.name), i.name) for i in self._session.get_inputs()]
        self.unused = [name for name in names if name not in {n for _, n in self._inputs}]
        outputs = zip(self._session.get_outputs(), tensors_in(exported.flat.output), strict=True)
        self._outputs = [(o.name, *_place(tensor)) for o, tensor in outputs]
        self._build = builder(exported.flat.output)
        self._queued = torch.device(workload.device).type != "cpu"

    def named_inputs(self, workload: Workload) -> list[tuple[str, torch.Tensor]]:
        """The workload's inputs under the graph's names, in its order."""
        tensors = list(tensors_of((workload.args, workload.kwargs)))
        return [(name, tensors[i]) for i, name in self._inputs]

    def named_outputs(self, tensors: Sequence[torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        """Outputs under the graph's names."""
        return [(name, tensor) for (name, *_), tensor in zip(self._outputs, tensors, strict=True)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs, in the form of the model's. Raises `OnnxError`."""
        with failing(Step.RUN):
            return self._build(iter(self._run(list(tensors_of((args, kwargs))))))

    def give_back_memory(self, workload: Workload) -> None:
        """Run once, and return what the arena of host memory holds; by itself it keeps all for the next run."""
        options = self._runtime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        with failing(Step.RUN):
            self._run(list(tensors_of((workload.args, workload.kwargs))), options)

    def _run(self, tensors: list[torch.Tensor], options: Any = None) -> list[torch.Tensor]:
        binding = self._session.io_binding()
        bound = [(name, tensors[i].detach().contiguous()) for i, name in self._inputs]
        for name, tensor in bound:
            binding.bind_input(name, *_place(tensor), _element_type(name, tensor), tensor.shape, tensor.data_ptr())
        for name, device, index in self._outputs:
            binding.bind_output(name, device, index)
        if self._queued:  # ONNX Runtime has a stream of its own, which doesn't wait for torch's
            torch.accelerator.current_stream().synchronize()
        self._session.run_with_iobinding(binding, options)
        return [_tensor(value._ortvalue) for value in binding.get_outputs()]


def _options(runtime: Any, level: GraphOptimization) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, f"ORT_{level.value.upper()}")
    # Threads that go on spinning after a run would take the CPUs from eager, which is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


@functools.cache
def usable_providers(given: tuple[str, ...], device: str) -> tuple[str, ...]:
    """The providers to use: the given ones, else those of the device.

    Raises `UsageError` for one that nobody knows, `Unsupported` for one that isn't in this ONNX Runtime or can't start.
    """
    runtime = require("onnxruntime")
    wanted = given or PROVIDERS.get(torch.device(device).type, ())
    if not wanted:
        raise Unsupported(f"backend=onnxruntime knows no execution provider for {device}: give backend.providers=[...]")
    for provider in wanted:
        if provider not in runtime.get_all_providers():
            raise UsageError(f"backend.providers: {unknown('provider', provider, runtime.get_all_providers())}")
        what_to_do = f": pip install {DISTRIBUTIONS[provider]}" if provider in DISTRIBUTIONS else ""
        if provider not in runtime.get_available_providers():
            raise Unsupported(
                f"needs an onnxruntime with {provider}; version {runtime.__version__} was built without it{what_to_do}"
            )
        if provider != CPU and not _starts(runtime, provider, device):
            raise Unsupported(
                f"onnxruntime {runtime.__version__} can't start {provider}, and the cell's log says which library it "
                f"misses{what_to_do}, in a version for the installed CUDA"
            )
    return wanted


def _starts(runtime: Any, provider: str, device: str) -> bool:
    """Whether a provider is in use after it was asked for: one that can't load its libraries is left out silently."""
    file = io.BytesIO()
    with recorded_warnings():
        torch.onnx.export(torch.nn.Identity(), (torch.zeros(1),), file, dynamo=False)  # type: ignore[arg-type]
    session = runtime.InferenceSession(file.getvalue(), providers=[_with_options(provider, device)])
    return provider in session.get_providers()


def _with_options(provider: str, device: str) -> tuple[str, dict[str, Any]]:
    """The provider with the device, and TF32 where torch's matmul may use it too."""
    if provider != CUDA:
        return provider, {}
    index = torch.device(device).index or 0
    return provider, {"device_id": index, "use_tf32": int(torch.get_float32_matmul_precision() != "highest")}


def _place(tensor: torch.Tensor) -> tuple[str, int]:
    return tensor.device.type, tensor.device.index or 0


def _element_type(name: str, tensor: torch.Tensor) -> int:
    if tensor.dtype not in ELEMENT_TYPES:
        raise TypeError(f"input {name} has dtype {tensor.dtype}, of which ONNX Runtime takes no tensors")
    return ELEMENT_TYPES[tensor.dtype]


def _tensor(value: Any) -> torch.Tensor:
    """A tensor on the memory of an OrtValue; DLPack as ONNX Runtime speaks it has no bool."""
    tensor: torch.Tensor = from_dlpack(value.to_dlpack())
    return tensor.view(torch.bool) if value.data_type() == "tensor(bool)" else tensor
