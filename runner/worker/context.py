"""What an experiment's `run` is given in the child: the built parts of the cell, and ways to report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.cells import Cell
from runner.errors import Unsupported
from runner.measure.tuning import Tuning
from runner.memory_need import refuse_too_big
from runner.results.columns import Phase, Row
from runner.worker.failure import causes

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from runner.backends import Backend
    from runner.devices import Device
    from runner.measure.settings import Measure
    from runner.workload import Workload


class JobContext:
    """Implements runner.experiment.Context. `job` is Job.message; `send` takes messages to the parent."""

    cell: Cell
    backend: Backend | None
    device: Device
    measure: Measure
    seed: int
    options: Mapping[str, Any]
    artifacts: Path
    tuning: Tuning  # threads and CPUs, as applied

    def __init__(self, job: Mapping[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
        self._job = job
        self._send = send
        self._phases: list[Phase] = []
        self._flags: list[str] = []
        self._failed: tuple[BaseException, Phase] | None = None
        self.cell = Cell(job["config"])
        self.seed = job["config"].get("seed", 0)
        self.options = job["options"]
        self.artifacts = Path(job["artifacts"])
        self.tuning = Tuning(job["threads"], tuple(job["cpus"]) if job["cpus"] else None)

    def prepare(self) -> None:
        """Settle CPUs and threads, before the first helper thread starts; build device, backend and parameters."""
        import torch

        from runner import registry
        from runner.measure.settings import Measure
        from runner.worker.devices import build_device

        config = self.cell.config
        self.tuning.pin()
        torch.set_num_threads(self.tuning.threads)
        self.measure = registry.build_as(Measure, config["measure"])
        self.backend = registry.build(config["backend"]) if config.get("backend") else None
        self.device = build_device(self._job["device"])
        facts = self.device.facts()
        self._send({"kind": "values", "values": {k: facts[k] for k in ("device_name", "device_uuid") if k in facts}})

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Say what is being done; the phase before it goes on when the context ends."""
        self._enter(phase)
        try:
            yield
        except BaseException as error:
            if self.phase_of(error) is None:
                self._failed = (error, phase)
            raise
        finally:
            self._leave()

    def phase_of(self, error: BaseException) -> Phase | None:
        """The innermost phase that `error`, or what it was raised from, left by an exception."""
        if self._failed is not None and any(cause is self._failed[0] for cause in causes(error)):
            return self._failed[1]
        return None

    def _enter(self, phase: Phase) -> None:
        self._phases.append(phase)
        self._report()

    def _leave(self) -> None:
        self._phases.pop()
        self._report()

    def _report(self) -> None:
        self._send({"kind": "phase", "phase": self._phases[-1].value if self._phases else None})

    def artifact(self, name: str) -> Path:
        """Path for a new file in the cell's artifacts folder."""
        self.artifacts.mkdir(parents=True, exist_ok=True)
        return self.artifacts / name

    def load(self, name: str) -> Workload:
        """Load a model of the cell's suite, in the cell's mode, precision and memory format; in the phase load."""
        from torch._guards import detect_fake_mode

        from runner import registry

        config = self.cell.config
        with self.phase(Phase.LOAD):
            if detect_fake_mode() is None:  # fake weights take no memory
                refuse_too_big(config, name, self.device)
            workload = self._loaded(name, config.get("batch_size"))
            if config.get("optimizer"):
                parameters = list(workload.parameters().values())
                if not parameters:
                    raise Unsupported(f"{name} has no parameters to train: use mode=inference")
                workload = replace(workload, optimizer=registry.build(config["optimizer"]).make(parameters))
            return self._varying(replace(workload, reload=partial(self._loaded, name)))

    def _loaded(self, name: str, batch_size: int | None) -> Workload:
        """The model and its inputs, without an optimizer."""
        from runner import registry
        from runner.workload import Precision

        config = self.cell.config
        workload: Workload = registry.build(config["suite"]).load(name, self._request(batch_size))
        workload = workload.cast(registry.build_as(Precision, config.get("precision") or {}))
        if workload.policy.loss_divisor:
            workload = replace(workload, loss=Divided(workload.loss, workload.policy.loss_divisor))
        if workload.policy.activation_checkpointing:
            checkpoint_activations(workload)
        return channels_last(workload) if workload.policy.channels_last else workload

    def _varying(self, workload: Workload) -> Workload:
        """The workload with the marks of the group `dynamic`."""
        from runner.dynamic import mark
        from runner.workload import Dynamic

        chosen = Dynamic((self.cell.config.get("dynamic") or {"name": "static"})["name"])
        workload = replace(workload, dynamic=chosen)
        mark(workload)
        return workload

    def _request(self, batch_size: int | None) -> Any:
        from runner import registry
        from runner.workload import LoadRequest, Mode, Policy

        config = self.cell.config
        return LoadRequest(
            mode=Mode((config.get("mode") or {"name": "inference"})["name"]),
            batch_size=batch_size,
            device=self.device.torch_name,
            seed=self.seed,
            policy=registry.build_as(Policy, config.get("policy") or {}),
        )

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Append rows to the long table `<name>.csv`."""
        self._send({"kind": "table", "name": name, "rows": list(rows)})

    def samples(self, arrays: Mapping[str, Any]) -> None:
        """Keep raw samples as `samples/<cell_id>.npz`."""
        self._send({"kind": "samples", "arrays": dict(arrays)})

    def note_flags(self, *flags: str) -> None:
        """Add words to the row's column `flags`."""
        if not flags:
            return
        self._flags = list(dict.fromkeys([*self._flags, *flags]))
        self._send({"kind": "values", "values": {"flags": ";".join(self._flags)}})

    def agree(self, value: float) -> float:
        """`value`, or in a cell that spans devices the largest of its ranks' values: for decisions by the clock."""
        return value

    def expect_call(self, seconds: float, more: int = 0) -> None:
        """One call of one side took `seconds` when first timed: the default of `limits.measure_s` grows with it.

        `more` such calls are to come at the least: a cell that can't end within its limit ends now.
        """
        self._send({"kind": "call", "seconds": seconds, "more": more})


@dataclass(frozen=True)
class Divided:
    """A loss divided by a number."""

    loss: Callable[[Any], torch.Tensor]
    by: float

    def __call__(self, output: Any) -> torch.Tensor:
        """The loss of an output."""
        return self.loss(output) / self.by


def checkpoint_activations(workload: Workload) -> None:
    """Let the model drop activations and compute them again in the backward pass, where its library has a way to."""
    from runner.workload import Mode

    if workload.mode is not Mode.training:
        raise Unsupported("policy.activation_checkpointing saves memory of a backward pass: use mode=training")
    for name, args in (("gradient_checkpointing_enable", ()), ("set_grad_checkpointing", (True,))):
        method = getattr(workload.model, name, None)  # of transformers, of timm
        if method is not None:
            method(*args)
            return
    raise Unsupported(f"{workload.name} has no activation checkpointing: models of transformers and timm have it")


def channels_last(workload: Workload) -> Workload:
    """The workload with its model's and inputs' 4-D tensors in channels_last memory format."""
    import torch

    from runner.workload import map_tensors

    if isinstance(workload.model, torch.nn.Module):
        workload.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    args, kwargs = map_tensors(
        lambda t: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t,
        (workload.args, workload.kwargs),
    )
    return replace(workload, args=args, kwargs=kwargs)
