"""One rank of a cell: a process that runs the experiment like the others, on its own device."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.parallel import Parallel, agreement
from runner.parallel.progress import Marks
from runner.results.columns import Phase, Row
from runner.worker.child import WHERE_SIGNAL
from runner.worker.context import JobContext
from runner.worker.messages import Message, encode
from runner.worker.perform import perform
from runner.workload import Step, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.distributed.device_mesh import DeviceMesh

#: The limits of the cell decide how long a rank waits for another, not torch.
WAIT = timedelta(days=1)


def main(job: Message, channels: Sequence[socket.socket], marks: Marks) -> None:
    """Run the job as the rank that the agent's environment says, and report on its channel."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # the agent's own handlers came along with the fork
    faulthandler.register(WHERE_SIGNAL, all_threads=True)
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(variable, "lo")  # all ranks are on this machine

    def send(message: Message) -> None:
        channels[rank].sendall(encode({"rank": rank, **message}))

    send({"kind": "hello", "pid": os.getpid()})
    result = perform(share_of(job, rank, world), send, make=partial(RankContext, marks=marks.of(rank)))
    send(result)
    if result["kind"] != "done":
        os._exit(1)
    from torch import distributed

    distributed.destroy_process_group()


def share_of(job: Message, rank: int, world: int) -> Message:
    """The job with this rank's device, threads and CPUs."""
    config = job["config"]
    index = None if config["device"]["type"] == "cpu" else rank
    own = {
        "device": {**job["device"], "index": index},
        "threads": max(1, job["threads"] // world),
        "artifacts": str(Path(job["artifacts"]) / f"rank{rank}"),
    }
    if job["cpus"]:
        share = len(job["cpus"]) / world
        own["cpus"] = job["cpus"][int(rank * share) : int((rank + 1) * share)] or job["cpus"]
    return {**job, **own}


def mesh(device: str) -> DeviceMesh:
    """All ranks in a row."""
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device.partition(":")[0], (distributed.get_world_size(),))


class RankContext(JobContext):
    """A context that spreads models, and agrees with the other ranks where it is asked for a number."""

    def __init__(self, job: Message, send: Callable[[Message], None], marks: Any) -> None:
        super().__init__(job, send)
        self._marks = marks

    def prepare(self) -> None:
        """Join the process group besides."""
        from torch import distributed

        from runner import registry

        super().prepare()
        backend = distributed.get_default_backend_for_device(self.device.type)
        distributed.init_process_group(backend, timeout=WAIT)
        agreement.begin(distributed.new_group(backend="gloo", timeout=WAIT), self._report_own)
        free = self.device.free_memory_bytes
        self.device.free_memory_bytes = lambda: agreement.least(free())  # type: ignore[method-assign,assignment,return-value]
        self._parallel: Parallel = registry.build(self.cell.config["parallel"])
        self._report_own({"threads": self.tuning.threads, "affinity": self.tuning.affinity})

    def _report_own(self, row: Row) -> None:
        self._send({"kind": "values", "values": row, "own": True})

    def _loaded(self, name: str, batch_size: int | None) -> Workload:
        spread = self._parallel.wrap(super()._loaded(name, batch_size))
        own = {field.name: getattr(spread, field.name) for field in fields(spread)}
        return RankWorkload(**own, marks=self._marks)

    def agree(self, value: float) -> float:
        """The largest of the ranks' values."""
        return agreement.slowest(value)

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """All ranks enter a phase together, or the limits would count one's waiting as another's work."""
        with super().phase(phase):
            agreement.slowest(0.0)
            yield

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Tables come from the first rank."""
        if agreement.is_first():
            super().table(name, rows)

    def samples(self, arrays: Mapping[str, Any]) -> None:
        """So do samples: all ranks measured the same."""
        if agreement.is_first():
            super().samples(arrays)


@dataclass
class RankWorkload(Workload):
    """A workload that marks how far it is, for whoever looks for the rank that hangs."""

    marks: Any = None

    def step(self, f: Callable[..., Any]) -> Step:
        """One step, with a mark before and after the forward and at the end."""
        self.marks.step()
        try:
            return super().step(lambda *args, **kwargs: self.marks.passed(f(*args, **kwargs)))
        finally:
            self.marks.step()
