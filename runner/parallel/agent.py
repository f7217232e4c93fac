"""Runs a cell's ranks: torch's elastic agent starts and watches them, here their reports become one."""

from __future__ import annotations

import faulthandler
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runner.parallel import RANKS, nproc_of
from runner.parallel.progress import Marks
from runner.results.columns import Row, Status
from runner.results.status import is_failure
from runner.worker.child import WHERE_SIGNAL
from runner.worker.messages import Decoder, Message

#: Seconds that the other ranks get to end once one has: by then they would have agreed on everything.
FOLLOW_S = 60.0
#: Columns whose largest value over the ranks is the cell's.
LARGEST = ("eager_peak_mem", "dynamo_peak_mem", "compile_s")
#: Columns that tell how outputs were judged.
VERDICT = ("status", "phase", "error_type", "error", "accuracy", "max_abs_err", "max_rel_err", "worst_tensor")
#: What rank 0 says for all.
FORWARDED = frozenset({"phase", "call", "table", "samples", "values"})


def run_ranks(job: Message, send: Any) -> Message:
    """Run `job` in as many processes as it says, `send` what they find, and return the last message."""
    if sys.platform != "linux":
        return failure(Status.UNSUPPORTED, "Unsupported", "parallel needs Linux: its ranks are forked")
    team = Team(job, nproc_of(job["config"]), send)
    crash = team.run()
    return team.conclude(crash)


def failure(status: Status, error_type: str, message: str, phase: str | None = None) -> Message:
    """The last message of a cell that failed."""
    return {"kind": "failed", "status": status.value, "phase": phase, "type": error_type, "message": message}


@dataclass
class Rank:
    """What one rank has reported."""

    pid: int = 0
    values: Row = field(default_factory=dict)
    own: Row = field(default_factory=dict)  # for ranks.csv only
    phase: str | None = None
    last: Message | None = None


class Team:
    """The ranks of one cell."""

    def __init__(self, job: Message, size: int, send: Any) -> None:
        self._job, self._size, self._sender = job, size, send
        self._sending = threading.Lock()
        self._marks = Marks.make(size)
        self._ranks = [Rank() for _ in range(size)]
        self._ended: list[int] = []  # ranks in the order in which they said so
        self._dead: dict[int, int] = {}  # exit codes of ranks that were dead when another one ended
        pairs = [socket.socketpair() for _ in range(size)]
        self._ours, self._theirs = [a for a, _ in pairs], [b for _, b in pairs]
        self._stop, self._stopped = os.pipe()

    def _send(self, message: Message) -> None:
        with self._sending:  # the listener's messages and those of the main thread
            self._sender(message)

    def run(self) -> Mapping[int, Any]:
        """Start the ranks and wait for their end; returns the agent's failures by rank."""
        faulthandler.unregister(WHERE_SIGNAL)
        signal.signal(WHERE_SIGNAL, lambda *_: self._say_where())
        listener = threading.Thread(target=self._listen, daemon=True)
        listener.start()
        try:
            return launch(self._job, self._size, (self._theirs, self._marks))
        finally:
            os.write(self._stopped, b"!")
            listener.join()

    def _say_where(self) -> None:
        """Before the cell is killed for its time: who is behind, and in the log where every rank is."""
        for rank in self._ranks:
            if rank.pid:
                os.kill(rank.pid, WHERE_SIGNAL)
        self._send({"kind": "where", "text": self._marks.where()})

    def _listen(self) -> None:
        """Take the ranks' messages until they have ended; give stragglers a limit."""
        with selectors.DefaultSelector() as selector:
            decoders = {channel: Decoder() for channel in self._ours}
            selector.register(self._stop, selectors.EVENT_READ)
            for channel in self._ours:
                selector.register(channel, selectors.EVENT_READ)
            over = False
            while not over or selector.select(0):
                heard = selector.select(FOLLOW_S if self._ended else None)
                if not heard:
                    self._end_stragglers()
                for key, _ in heard:
                    if key.fileobj is self._stop or key.fd == self._stop:
                        over = True
                        selector.unregister(self._stop)
                    else:
                        self._read(key.fileobj, decoders)  # type: ignore[arg-type]

    def _read(self, channel: socket.socket, decoders: Mapping[socket.socket, Decoder]) -> None:
        for message in decoders[channel].feed(channel.recv(1 << 16)):
            self._take(message)

    def _take(self, message: Message) -> None:
        number, kind = message.pop("rank"), message["kind"]
        rank = self._ranks[number]
        if kind == "hello":
            rank.pid = message["pid"]
        elif kind == "phase":
            rank.phase = message["phase"]
        elif kind == "values":
            own = message.pop("own", False)
            (rank.own if own else rank.values).update(message["values"])
            if own:
                return
        elif kind in {"done", "failed", "misused"}:
            rank.last = message
            self._ended.append(number)
            self._look_for_dead()
        if kind in FORWARDED and number == 0:
            self._send(message)

    def _look_for_dead(self) -> None:
        """Note who died without a word: the others then fail too, and the agent may see one of them first."""
        for number, rank in enumerate(self._ranks):
            code = exit_code_of(rank.pid) if rank.last is None and rank.pid else None
            if code is not None:
                self._dead[number] = code

    def _end_stragglers(self) -> None:
        for number, rank in enumerate(self._ranks):
            if rank.last is None and rank.pid:
                first = self._ended[0]
                message = f"still at work {FOLLOW_S:g} s after rank {first} had ended"
                rank.last = failure(Status.CRASHED, "straggler", message, rank.phase)
                self._ended.append(number)
                os.kill(rank.pid, signal.SIGKILL)

    def conclude(self, failures: Mapping[int, Any]) -> Message:
        """Write ranks.csv and the columns about all ranks; returns how the cell ended."""
        self._send({"kind": "table", "name": "ranks", "rows": [self._row(n) for n in range(self._size)]})
        first = self._first_problem(failures)
        if first is not None:
            return first
        self._send({"kind": "values", "values": self._together()})
        return {"kind": "done"}

    def _first_problem(self, failures: Mapping[int, Any]) -> Message | None:
        """What went wrong first: a process that died without a word explains what the others say about it."""
        spoken = [n for n in self._ended if self._ranks[n].last != {"kind": "done"}]
        known = {n: found.exitcode for n, found in failures.items() if self._ranks[n].last is None}
        silent = {**known, **self._dead} if spoken else known
        for number, code in silent.items():
            if number in self._dead or not spoken or code < 0:
                return failure(Status.CRASHED, *_death(number, code), self._ranks[number].phase)
        if spoken:
            last = self._ranks[spoken[0]].last
            assert last is not None
            return {**last, "message": f"rank {spoken[0]}: {last['message']}"}
        return None

    def _together(self) -> Row:
        """Columns of the cell: the slowest rank's times are rank 0's already, since the clock was agreed."""
        known = {name for name, *_ in experiment_columns(self._job["config"])}
        times = [ms for rank in self._ranks if (ms := rank.own.get("abs_latency")) is not None]
        spread = 100.0 * (max(times) / min(times) - 1.0) if times and min(times) > 0 else None
        values: Row = {"nproc": self._size, "rank_spread_pct": spread, **self._largest(), **self._worst()}
        return {key: value for key, value in values.items() if key in known}

    def _largest(self) -> Row:
        found: Row = {}
        for name in LARGEST:
            values = [rank.values[name] for rank in self._ranks if rank.values.get(name) is not None]
            found |= {name: max(values)} if values else {}
        if found.get("dynamo_peak_mem") and self._ranks[0].values.get("compression_ratio"):
            found["compression_ratio"] = found["eager_peak_mem"] / found["dynamo_peak_mem"]
        return found

    def _worst(self) -> Row:
        """The outcome of the first rank whose outputs aren't right, where those of rank 0 are."""
        for number, rank in enumerate(self._ranks):
            if is_failure({"status": rank.values.get("status") or Status.OK}):
                found = {name: rank.values.get(name) for name in VERDICT}
                return {**found, "error": f"rank {number}: {found['error'] or ''}".rstrip()}
        return {}

    def _row(self, number: int) -> Row:
        rank = self._ranks[number]
        facts = {**rank.values, **rank.own, "rank": number, "process": self._job["options"].get("process", 0)}
        last = rank.last or {"status": Status.CRASHED.value}
        facts["status"] = last.get("status") or rank.values.get("status") or Status.OK.value
        return {column.name: facts.get(column.name) for column in RANKS}


def _death(rank: int, code: int) -> tuple[str, str]:
    if code >= 0:
        return "exit", f"rank {rank} left with exit code {code} before it was done"
    name = signal.Signals(-code).name
    return name, f"rank {rank} died of {name}"


def exit_code_of(pid: int) -> int | None:
    """Exit code, or minus the signal, of a child that is dead and not yet waited for; None of any other process."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return os.waitstatus_to_exitcode(int(fields[-1])) if state == "Z" else None


def experiment_columns(config: Mapping[str, Any]) -> list[tuple[str]]:
    """Names of the columns that the cell's row can have."""
    from runner import registry
    from runner.results.columns import header

    found: Any = registry.locate(config["experiment"]["_target_"])
    return [(column.name,) for column in header(found.columns)]


def launch(job: Message, size: int, shared: tuple[Any, ...]) -> Mapping[int, Any]:
    """Let the elastic agent run the ranks, forked from this process, on a port that is free."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from runner.parallel import rank

    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "5")
    with TemporaryDirectory(prefix="runner-ranks-") as folder:  # the agent would leave one of its own behind
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=size,
            run_id=job["cell_id"],
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            monitor_interval=0.1,
            start_method="fork",
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, rank.main)(job, *shared)
        except ChildFailedError as error:
            return dict(error.failures)
    return {}
