"""`python -m runner compare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import UsageError

if TYPE_CHECKING:
    from runner.compare.judge import Comparison, Estimator
    from runner.compare.likeness import Differences
    from runner.compare.places import Place
    from runner.compare.remeasure import PlaceOf
    from runner.compare.sides import Entry, Side

#: What is said where a metric that not every run has is in no cell.
NOTHING = {
    "latency": "no cell has an absolute latency that can be compared: both sides need measure.processes=3 or more "
    "and measure.samples_file=true",
    "mean": "no cell has a column mean on both sides: that is for experiment=autograd_functional",
}
NO_VALUE = "no cell has a {metric} on both sides"
EPILOG = """\
Exit code: 3 with a regression, 1 where failed cells kept it from being judged, 2 for bad usage, else 0.
A change is a regression or an improvement when its adjusted p is at most 0.05 and it is at least the margin.
Where no interval is known, nothing is flagged.
"""


def main(argv: Sequence[str]) -> int:
    """Compare two results; returns the exit code."""
    given = _parsed(argv)
    try:
        return _compare(given)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runner compare",
        usage="%(prog)s BASE NEW [options]\n       %(prog)s --git BASE..HEAD [options] -- <arguments of a run>",
        description="Compare two results: what got faster, what got slower, and how small a change could be seen.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("results", nargs="*", type=Path, metavar="BASE NEW", help="folders of runs or sweeps, or CSV files")
    add("--margin", type=_percent, default=0.03, metavar="PCT", help="smallest change that counts, in percent (3)")
    add("--adjust", choices=("holm", "bh"), default="holm", help="for many models: holm for gates, bh for dashboards")
    metrics = "speedup, or a column with an interval (compile_cold_s); latency and mean need measure.processes >= 3"
    add("--metric", default="speedup", metavar="NAME", help=metrics)
    add("--margin-alone", action="store_true", help="flag by the margin where no interval is known: noise too")
    add("--format", choices=("terminal", "md", "csv", "json", "autograd"), default="terminal")
    add("--unlike", action="store_true", help="compare although device, threads or allocator differ")
    add("--remeasure", action="store_true", help="measure what seems to have changed again, on both sides")
    add("--git", metavar="BASE..HEAD", help="measure two commits of the repository in this folder, in turn")
    add("--output", type=Path, metavar="DIR", help="new folder for what --git and --remeasure measure")
    add("--expect", type=Path, metavar="FILE", help="CSV of accuracy and graph breaks that NEW must equal")
    add("--update-expected", type=Path, metavar="FILE", help="write what NEW found into such a file")
    return parser


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    place = list(argv).index("--") if "--" in argv else len(argv)
    parser = _parser()
    given = parser.parse_args(argv[:place])
    given.words = list(argv[place + 1 :])
    gate, two = bool(given.expect or given.update_expected), 2
    if given.git is None and given.words:
        parser.error("arguments after -- are for --git")
    if given.git is not None and given.results:
        parser.error("--git measures both sides itself: leave BASE and NEW out")
    if given.git is None and len(given.results) != two and not (gate and len(given.results) == 1):
        parser.error("give two results, BASE and NEW" + (" (or NEW alone with --expect)" if gate else ""))
    return given


def _percent(text: str) -> float:
    """A share. Raises ArgumentTypeError for what is no percentage."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage: give a number between 0 and 100, without a sign")
    return value / 100


def _compare(given: argparse.Namespace) -> int:
    from runner.compare.places import Stopped
    from runner.compare.sides import read_side

    try:
        if given.git is not None:
            return _git(given)
        sides = [read_side(path) for path in given.results]
        code = _two(given, sides[0], sides[-1], _output(given), None) if len(sides) > 1 else 0
        return max(code, _gate(given, sides[-1]))
    except Stopped as stop:
        return stop.code


def _git(given: argparse.Namespace) -> int:
    """Measure both commits, then compare; the work trees last as long as a second stage needs them."""
    from runner.compare.sides import read_side
    from runner.compare.worktrees import NAMES, measure_both, work_trees

    output = _output(given)
    with work_trees(given.git) as places:
        measure_both(places, given.words, output)

        def place_of(entry: Entry) -> Place:
            assert entry.run is not None
            return places[entry.run.directory.relative_to(output).parts[0]]

        base, new = (read_side(output / name) for name in NAMES)
        code = _two(given, base, new, output, place_of)
    print(f"results in {output}", file=sys.stderr)
    return max(code, _gate(given, new))  # 3 wins over 1 wins over 0


def _two(given: argparse.Namespace, base: Side, new: Side, output: Path, place_of: PlaceOf | None) -> int:
    from runner.compare import likeness
    from runner.compare.join import join
    from runner.compare.judge import Settings, judge

    pairs = join(base, new)
    unlike = likeness.differences(pairs)
    if unlike.refused and not given.unlike:
        raise UsageError(f"unlike with unlike: {'; '.join(unlike.refused)}; --unlike compares them all the same")
    estimator = _estimator(given.metric, [*base.entries, *new.entries])
    settings = Settings(given.margin, given.adjust, given.margin_alone)
    comparison = judge(pairs, settings, estimator, given.metric)
    if given.metric != "speedup" and not any(finding.delta for finding in comparison.findings):
        raise UsageError(NOTHING.get(given.metric, NO_VALUE.format(metric=given.metric)))
    if given.remeasure and comparison.candidates:
        comparison = _again(comparison, output, estimator, place_of)
    _print(given, comparison, unlike, base, new)
    return comparison.exit_code


def _again(comparison: Comparison, output: Path, estimator: Estimator, place_of: PlaceOf | None) -> Comparison:
    from runner.compare.places import recorded_place
    from runner.compare.remeasure import second_stage

    return second_stage(comparison, output / "remeasured", estimator, place_of or recorded_place)


def _estimator(metric: str, entries: Sequence[Entry]) -> Estimator:
    from runner.compare import intervals, judge, latency

    own = {"speedup": judge.speedup_of, "latency": latency.speed_of, "mean": latency.mean_speed_of}
    return own.get(metric) or intervals.metric_of(metric, entries)


def _print(given: argparse.Namespace, comparison: Comparison, unlike: Differences, base: Side, new: Side) -> None:
    from runner.compare import render

    for side in (base, new):
        if side.dropped:
            print(f"{side.path}: {side.dropped} damaged lines ignored", file=sys.stderr)
        if side.foreign:
            print(f"{side.path} is no CSV of this runner's: it has no intervals", file=sys.stderr)
    if given.format == "terminal":
        render.to_terminal(comparison, unlike, sys.stdout)
    elif given.format == "md":
        print(render.to_markdown(comparison, unlike, str(base.path), str(new.path)), end="")
    elif given.format == "autograd":
        from runner.compare.upstream import render_autograd

        print(render_autograd(comparison, unlike), end="")
    elif given.format == "csv":
        print(render.to_csv(comparison), end="")
    else:
        print(render.to_json(comparison, unlike))


def _gate(given: argparse.Namespace, new: Side) -> int:
    """Expectations: 3 for one that is not met, 1 where a value is missing."""
    from runner.compare import expected

    code = 0
    if given.expect:
        outcomes = expected.check(new, given.expect)
        # Beside a table for machines, the gate's words go where messages go.
        stream = sys.stdout if given.format in ("terminal", "md", "autograd") or len(given.results) == 1 else sys.stderr
        print(*expected.table(outcomes), sep="\n", file=stream)
        code = max((outcome.exit_code for outcome in outcomes), default=0)
    if given.update_expected:
        changed = expected.update(new, given.update_expected)
        print(f"{given.update_expected}: {changed} rows changed or added", file=sys.stderr)
    return code


def _output(given: argparse.Namespace) -> Path:
    """An absolute folder that does not exist yet, or the one that was asked for."""
    from datetime import datetime

    if given.output is None:
        return (Path("outputs") / f"{datetime.now().astimezone():compare-%Y-%m-%d-%H-%M-%S}").absolute()
    output: Path = given.output
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is no folder: give a new or an empty one with --output")
    if output.exists() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty: choose another --output")
    return output.resolve()
