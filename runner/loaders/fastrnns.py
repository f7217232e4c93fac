"""Suite `fastrnns`: recurrent networks from the library and written out, to see what a compiler makes of a loop.

All runners of a family have equal weights, inputs and loss. The names are those of PyTorch's `benchmarks/fastrnns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.loaders import WithPolicies
from runner.loaders._building import Draw, assemble, chosen_batch_size
from runner.loaders.rnns import switches
from runner.loaders.rnns.catalogue import CATALOGUE, Group, Runner
from runner.loaders.rnns.switches import Executor, Fuser, Tuning
from runner.workload import LoadRequest, Mode, Workload

if TYPE_CHECKING:
    from runner.loaders.rnns.parts import Order


@dataclass
class Fastrnns(WithPolicies):
    """Sizes are those of the recurrent networks; the switches are TorchScript's."""

    group: Group = Group.all  # what model=all means
    seq_length: int = 100  # not for vl_rnns
    num_layers: int = 1
    input_size: int = 512
    hidden_size: int = 512
    executor: Executor = Executor.default
    fuser: Fuser = Fuser.default
    cuda_pointwise_loop_level: int | None = None  # these three tune the fuser te
    cuda_pointwise_block_count: int | None = None
    cuda_pointwise_block_size: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a size that no network has."""
        for name in ("seq_length", "num_layers", "input_size", "hidden_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"suite.{name}={getattr(self, name)}: give a whole number above 0")

    def names(self) -> Sequence[str]:
        """The group's runners."""
        return tuple(name for name, runner in CATALOGUE.items() if self.group in (Group.all, runner.group))

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build one with random weights; sets TorchScript's switches for the process.

        Raises Unsupported for what the runner or the installed torch can't do.
        """
        runner = CATALOGUE[name]
        order = self._order(name, runner, request)
        flags = self._switch(runner, request.device)
        if self.num_layers == 1 and "dropout" in name:
            flags = (*flags, "dropout_without_effect")
        more = {"family": runner.family, "compiles": runner.compiles, "flags": flags}
        return assemble(name, f"rnns.{runner.build}", runner.options, order, request, **more)

    def _order(self, name: str, runner: Runner, request: LoadRequest) -> Order:
        from runner.loaders.rnns.parts import Order, Shapes

        return Order(
            name=name,
            training=request.mode is Mode.training,
            batch_size=chosen_batch_size(request) or runner.batch_size,
            device=request.device,
            draw=Draw(request.seed, request.device),
            shapes=Shapes(self.seq_length, self.num_layers, self.input_size, self.hidden_size),
        )

    def _switch(self, runner: Runner, device: str) -> tuple[str, ...]:
        tuning = Tuning(self.cuda_pointwise_loop_level, self.cuda_pointwise_block_count, self.cuda_pointwise_block_size)
        asked = (self.executor, self.fuser, tuning)
        return switches.apply(*asked, device) if runner.is_torchscript else switches.ignored(*asked)
