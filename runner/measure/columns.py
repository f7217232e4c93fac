"""What the columns of a measured row are: plain data, in the order in which they are written."""

from __future__ import annotations

#: name, type, unit, meaning, headline (upstream's name, directly after upstream's key).
ColumnFacts = tuple[str, type, str, str, bool]

COLUMNS: tuple[ColumnFacts, ...] = (
    ("speedup", float, "", "time of A over time of B: exp of the Hodges-Lehmann centre of the pairs' log ratios", True),
    ("abs_latency", float, "ms", "median time per call of side B, the backend under test", True),
    ("eager_latency", float, "ms", "median time per call of side A, the baseline", False),
    ("speedup_lo", float, "", "lower end of the interval of speedup; empty with too few pairs", False),
    ("speedup_hi", float, "", "upper end of the interval of speedup; empty with too few pairs", False),
    ("ci_level", float, "", "confidence level of the interval", False),
    ("rel_hw", float, "", "half-width of the interval in log units: 0.02 is +-2 %", False),
    ("se_within", float, "", "standard error of log(speedup) within one process", False),
    ("mde80", float, "", "smallest relative difference that a measurement of this width finds 80 % of the time", False),
    ("verdict", str, "", "faster, slower, same (within measure.practical) or inconclusive", False),
    ("n_pairs", int, "", "pairs of blocks that were measured, one block of each side", False),
    ("block_a", int, "", "calls per timed block of side A", False),
    ("block_b", int, "", "calls per timed block of side B", False),
    ("stop", str, "", "why measuring ended: target, futile, budget, max_pairs", False),
    ("converged", bool, "", "is the interval as narrow as measure.rel_ci asks?", False),
    ("order", str, "", "which side goes first within a pair: random_pair, abba, abab", False),
    ("seed", int, "", "seed of that order, mixed with the name of the model", False),
    ("clock", str, "", "wall (synchronised before and after a block) or device (events)", False),
    ("sync", str, "", "synchronised once per block, or after each call", False),
    ("l2_flush", bool, "", "was the device's last-level cache overwritten before every call?", False),
    ("speedup_median_ratio", float, "", "ratio of the two median times, as upstream computes it", False),
    ("speedup_min", float, "", "ratio of the two smallest times", False),
    ("iqr_a_pct", float, "%", "interquartile range of side A's times, of their median", False),
    ("iqr_b_pct", float, "%", "interquartile range of side B's times, of their median", False),
    ("device_ms_a", float, "ms", "median time per call of side A between device events", False),
    ("device_ms_b", float, "ms", "median time per call of side B between device events", False),
    ("launch_bound", str, "", "sides whose device time is below 0.9 of the wall time: none, a, b, both", False),
    ("warmup_pairs", int, "", "pairs run to warm up, not counting those that chose the block", False),
    ("steady", bool, "", "had both sides stopped getting faster when measuring began?", False),
    ("drift_pct", float, "%", "change of side A's median from the first to the second half", False),
    ("ratio_drift_p", float, "", "Mann-Whitney p-value for the ratio being the same in both halves", False),
    ("minflt_a", float, "", "minor page faults per call of side A", False),
    ("minflt_b", float, "", "minor page faults per call of side B", False),
    ("nivcsw_per_s", float, "1/s", "involuntary context switches per second of measured time, all threads", False),
    ("run_delay_pct", float, "%", "time that the most delayed thread waited for a CPU, of wall time", False),
    ("psi_cpu_pct", float, "%", "time in which some task of the machine waited for a CPU", False),
    ("steal_pct", float, "%", "CPU time that the hypervisor gave to others", False),
    ("load1", float, "", "load average over one minute without this process's own share", False),
    ("cpu_mhz", float, "MHz", "clock of the first CPU, median of the looks", False),
    ("governor", str, "", "frequency governor, no_turbo where that is off; empty in most virtual machines", False),
    ("canary_ms", float, "ms", "median time of a fixed matrix product before measuring", False),
    ("canary_drift_pct", float, "%", "how much longer the same product took after measuring", False),
    ("gpu_sm_mhz", float, "MHz", "GPU clock, median of the looks", False),
    ("gpu_throttle", str, "", "reasons seen why the GPU was held back; pairs measured then were repeated", False),
    ("gpu_temp", float, "C", "highest GPU temperature at the looks", False),
    ("gpu_shared", bool, "", "did another process compute on the GPU?", False),
    ("noisy", bool, "", "did something around the measurement exceed its limit? The flags say what", False),
    ("gc", str, "", "Python's garbage collector: freeze (never inside a block) or inherit", False),
    ("warmup_s", float, "s", "time spent choosing blocks and warming up", False),
    ("measure_s", float, "s", "time spent on the measured pairs", False),
)

#: Facts about the process that the caller of the engine knows; written beside COLUMNS.
PROCESS_COLUMNS: tuple[ColumnFacts, ...] = (
    ("threads", int, "", "threads that the measured code computes with", False),
    ("affinity", str, "", "CPUs the process was pinned to, or inherit", False),
    ("malloc", str, "", "the allocator while measuring: no_trim, inherit, or the name of a preloaded one", False),
    ("process", int, "", "number of this process among n_processes, from 0; empty where they are combined", False),
    ("n_processes", int, "", "fresh processes that the row was estimated from", False),
    ("between_sd", float, "", "standard deviation of log(speedup) between processes", False),
)
