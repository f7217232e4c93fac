"""The environment probe below an invented root."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from runner.measure.engine import measure
from runner.measure.environment import Snapshot, environment
from runner.measure.nvml import GpuState
from runner.measure.probe import HostProbe, matmul_canary, python_threads
from runner.measure.settings import Gc, Measure

BEFORE = {
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\nfull avg10=0.00 total=7\n",
    "proc/stat": "cpu  100 0 100 800 0 0 0 10 5 0\ncpu0 1 2 3\n",
    "proc/loadavg": "3.50 2.00 1.00 1/100 4242\n",
    "proc/self/task/11/schedstat": "5000 1000 3\n",
    "proc/self/task/11/children": "77 \n",
    "proc/self/task/12/schedstat": "6000 2000 3\n",
    "proc/self/task/13/schedstat": "1 1 1\n",
    "proc/77/task/77/schedstat": "100 0 1\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2600000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "1\n",
}
AFTER = BEFORE | {
    "proc/pressure/cpu": "some avg10=9.00 avg60=0.00 avg300=0.00 total=201000\n",
    "proc/stat": "cpu  150 0 110 828 0 0 0 22 9 0\n",
    "proc/self/task/11/schedstat": "9000 11001000 3\n",
    "proc/self/task/12/schedstat": "20006000 30002000 3\n",
    "proc/77/task/77/schedstat": "10000100 0 1\n",
}


def lay_out(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class OneSecondApart:
    """A clock that is read once per second."""

    time_ns = 0

    def now_ns(self) -> int:
        self.time_ns += 1_000_000_000
        return self.time_ns

    def sleep(self, seconds: float) -> None:
        """Never asked for."""


def probe(root: Path, **arguments: Any) -> HostProbe:
    return HostProbe(OneSecondApart(), root=root, helper_threads=lambda: [12], **arguments)


def test_differences_of_all_sources(tmp_path: Path) -> None:
    """One second between two snapshots: every percentage is worked out by hand."""
    host = probe(tmp_path)
    lay_out(tmp_path, BEFORE)
    first = host.snapshot()
    lay_out(tmp_path, AFTER)
    seen = environment([first, host.snapshot()])
    assert seen.columns["psi_cpu_pct"] == pytest.approx(20)
    assert seen.columns["steal_pct"] == pytest.approx(12)
    assert seen.columns["run_delay_pct"] == pytest.approx(3)
    assert 0 <= seen.columns["load1"] <= 3.5
    assert seen.columns["cpu_mhz"] == 2600
    assert seen.columns["governor"] == "powersave no_turbo"
    assert seen.helpers_pct == pytest.approx(3)


def test_the_load_leaves_out_our_own_share() -> None:
    """A load of 3.5 of which this process used two CPUs is 1.5; a negative rest is none."""
    first = Snapshot(at_ns=0, own_cpu_s=0.0, load1=0.0)
    assert environment([first, Snapshot(10**9, own_cpu_s=2.0, load1=3.5)]).columns["load1"] == 1.5
    assert environment([first, Snapshot(10**9, own_cpu_s=2.0, load1=0.5)]).columns["load1"] == 0


@pytest.mark.parametrize("missing", ["proc/pressure", "proc/stat", "proc/loadavg", "proc/self", "proc/77", "sys"])
def test_a_missing_source_empties_its_own_fields_only(tmp_path: Path, missing: str) -> None:
    """No error, and the other fields are as before."""
    fields = {
        "proc/pressure": {"psi_cpu_pct"},
        "proc/stat": {"steal_pct"},
        "proc/loadavg": {"load1"},
        "proc/self": {"run_delay_pct"},
        "proc/77": set(),
        "sys": {"cpu_mhz", "governor"},
    }
    host, snapshots = probe(tmp_path), []
    for files in (BEFORE, AFTER):
        lay_out(tmp_path, {name: text for name, text in files.items() if not name.startswith(missing)})
        snapshots.append(host.snapshot())
    columns = environment(snapshots).columns
    empty = {name for name, value in columns.items() if value is None and not name.startswith("gpu_")}
    assert empty == fields[missing]


def test_an_empty_root_gives_empty_fields(tmp_path: Path) -> None:
    """As on a system without /proc and /sys."""
    host = probe(tmp_path)
    seen = environment([host.snapshot(), host.snapshot()])
    assert set(seen.columns.values()) == {None}
    assert seen.helpers_pct is None


def test_the_clock_of_a_virtual_machine_comes_from_cpuinfo(tmp_path: Path) -> None:
    """Without cpufreq the first `cpu MHz` line counts."""
    lay_out(tmp_path, {"proc/cpuinfo": "processor\t: 0\ncpu MHz\t\t: 2100.5\n\ncpu MHz : 9\n"})
    assert probe(tmp_path).snapshot().cpu_mhz == 2100.5


def test_turned_off_boost_is_said(tmp_path: Path) -> None:
    """AMD's switch counts like Intel's."""
    lay_out(tmp_path, {"sys/devices/system/cpu/cpufreq/boost": "0\n"})
    assert probe(tmp_path).snapshot().governor == "no_turbo"


def test_one_snapshot_alone_has_no_differences(tmp_path: Path) -> None:
    """Nothing is divided by no time."""
    lay_out(tmp_path, BEFORE)
    columns = environment([probe(tmp_path).snapshot()]).columns
    assert columns["psi_cpu_pct"] is None
    assert columns["cpu_mhz"] == 2600


def test_the_canary_is_the_median_of_five_after_one(tmp_path: Path) -> None:
    """Six calls; a clock that is read a second apart makes each 1000 ms."""
    calls: list[int] = []
    assert probe(tmp_path, canary=lambda: calls.append(1)).canary_ms() == 1000
    assert len(calls) == 6
    assert probe(tmp_path).canary_ms() is None


def test_the_matmul_canary_ends_synchronised() -> None:
    """It can be called again and again, and waits each time."""
    pytest.importorskip("torch")
    waits: list[int] = []
    canary = matmul_canary("cpu", lambda: waits.append(1))
    canary()
    canary()
    assert len(waits) == 2


def test_other_python_threads_are_helpers() -> None:
    """A second thread is listed, the calling one is not."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert thread.native_id in python_threads()
        assert threading.get_native_id() not in python_threads()
    finally:
        stop.set()
        thread.join()


def test_gpu_states_are_summed_up() -> None:
    """Median clock, highest temperature, every reason seen, shared at any time."""
    states = [
        GpuState(1980, 60, False),
        GpuState(1900, 70, True, frozenset({"hw_thermal"})),
        GpuState(1500, None, None),
    ]
    columns = environment([Snapshot(i, gpu=state) for i, state in enumerate(states)], {"low_clock"}).columns
    assert columns["gpu_sm_mhz"] == 1900
    assert columns["gpu_temp"] == 70
    assert columns["gpu_throttle"] == "hw_thermal low_clock"
    assert columns["gpu_shared"] is True


def test_the_real_machine_can_be_probed() -> None:
    """Whatever this machine has or lacks, no error."""
    host = HostProbe(OneSecondApart())
    assert host.counters()[0] > 0
    environment([host.snapshot(), host.snapshot()])


class Surroundings:
    """A probe whose snapshots and reasons are given."""

    threads, cores = 2, 2

    def __init__(self, last: Snapshot | None = None, held_back: Any = frozenset) -> None:
        self.snapshots = iter([Snapshot(total_ticks=0, stolen_ticks=0, psi_us=0, own_cpu_s=0, helpers_ns=0)])
        self.last = last or Snapshot()
        self.held_back = held_back
        self.faults = 0.0
        self.canaries = iter([5.0, 5.5])

    def counters(self) -> tuple[float, float]:
        self.faults += 100
        return self.faults, self.faults

    def snapshot(self) -> Snapshot:
        return next(self.snapshots, self.last)

    def canary_ms(self) -> float:
        return next(self.canaries)


def measured(world: Any, surroundings: Surroundings) -> Any:
    simulated = world(lambda side, _t, _n: 2e-3 if side == "a" else 1e-3)
    return simulated, measure(
        simulated.side("a"),
        simulated.side("b"),
        Measure(gc=Gc.inherit),
        seed=0,
        name="m",
        clock=simulated,
        device=simulated,
        probe=surroundings,
    )


def test_every_limit_has_its_flag(world: Any) -> None:
    """A disturbed measurement says by what; noise does not make it fail."""
    disturbed = Snapshot(
        at_ns=10**9,
        psi_us=150_000,
        stolen_ticks=2,
        total_ticks=100,
        own_cpu_s=0.5,
        load1=4.0,
        helpers_ns=20_000_000,
        governor="powersave",
        gpu=GpuState(1000, 80, True, frozenset()),
    )
    _, measurement = measured(world, Surroundings(disturbed))
    row = measurement.row()
    assert row["noisy"] is True
    assert row["canary_drift_pct"] == pytest.approx(10)
    assert row["minflt_a"] == 100
    assert set(measurement.flags) == {
        *("cpu_pressure", "steal", "canary_drift", "preempted", "load", "busy_helpers", "gpu_shared"),
        *("page_faults", "governor"),
    }


def test_a_pair_measured_while_the_gpu_was_held_back_is_repeated(world: Any) -> None:
    """Three pairs are replaced, whole, after growing pauses; the row says why, and keeps ten pairs."""
    answers = iter([frozenset(), *[frozenset({"hw_thermal"})] * 3])
    simulated, measurement = measured(world, Surroundings(held_back=lambda: next(answers, frozenset())))
    row = measurement.row()
    assert simulated.slept == pytest.approx([0.05, 0.075, 0.1125])
    assert row["n_pairs"] == 10
    assert row["gpu_throttle"] == "hw_thermal"
    assert "gpu_throttle" in measurement.flags


def test_a_gpu_that_stays_held_back_is_measured_as_it_is(world: Any) -> None:
    """Ten repetitions in all, pauses of at most half a second, then the pairs are taken."""
    simulated, measurement = measured(world, Surroundings(held_back=lambda: frozenset({"sw_power_cap"})))
    assert len(simulated.slept) == 10
    assert max(simulated.slept) == 0.5
    assert measurement.row()["n_pairs"] == 10
