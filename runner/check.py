"""Is a backend's callable right on this workload? Eager runs, a reference run and the candidate's run, compared.

Every run starts from the same parameters, buffers, optimizer state, inputs and RNG state, and takes two steps, the
second on other inputs. Afterwards everything is as it was before.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch

from runner import compare_outputs, reference, state
from runner.check_settings import CheckSettings, default_tolerance, with_policy
from runner.collect import Result, collect
from runner.compare_outputs import Rule
from runner.determinism import without_tf32
from runner.draws import Draws
from runner.measure.memory import no_overcommit
from runner.parallel import agreement
from runner.results import verdicts
from runner.results.columns import Phase, Status
from runner.results.tensors import Comparison, TensorResult, merge
from runner.trees import Flat
from runner.verdict import Verdict
from runner.workload import Mode, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Check", "CheckSettings", "check", "default_tolerance", "is_oom"]

log = logging.getLogger(__name__)
T = TypeVar("T")

ROUNDING_RUNS = 4  # each nudges the parameters in other directions
NOISE_MULTIPLIER = 2.0  # a backend may be this many times as far from eager as eager is from itself
SEED_RUNS, SEED_MULTIPLIER = 4, 10.0  # the same of eager with other seeds; generous, for one number is drawn at times


class _StopError(Exception):
    """Ends a check early with a verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class Check:
    """A check of one workload, for one or several candidates: `with Check(w) as c: c.baseline() or c.judge(f)`.

    While it is open, dropout is off: the masks of a compiled program can't be eager's. A candidate that was compiled
    before is compiled again by its guards if the model has active dropout (flag `dropout_off`), and keeps its first
    program for later; whoever wants to avoid that compiles while the check is open, or calls `state.dropout_off`.
    A model that draws random numbers otherwise (flag `draws_random_numbers`) can only agree if the caller makes the
    backend draw as eager does (inductor: `fallback_random`). A candidate that draws others is not called wrong for what
    another seed would do to eager: there the two can't be compared (flag `backend_draws_differently`).

    The model is run where it stands, not on copies: state that it keeps outside of modules isn't taken back.
    """

    def __init__(self, workload: Workload, settings: CheckSettings | None = None) -> None:
        self.workload = workload
        self.settings = with_policy(settings or CheckSettings(), workload.policy)
        tolerance = self.settings.tolerance
        self.tolerance = default_tolerance(workload) if tolerance is None else tolerance
        self.flags: list[str] = []
        self.reference_word = "none"
        self._vary = self.settings.iterations > 1
        self._reference: Result | None = None
        self._rules: dict[str, Rule] = {}
        self._apart: dict[str, compare_outputs.Distance] = {}  # eager from the reference, by group
        self._noise: dict[str, TensorResult] = {}
        self._by_precision: dict[str, TensorResult] = {}  # eager's whole numbers from the reference's
        self._rounding: dict[str, TensorResult] | None = None
        self._by_seed: dict[str, TensorResult] | None = None

    def __enter__(self) -> Self:
        self._exits = ExitStack()
        device = self.workload.device
        self._exits.callback(state.set_rng_state, device, state.rng_state(device))
        self._dropouts = state.active_dropouts(self.workload.model)
        self._exits.enter_context(state.dropout_off(self.workload.model))
        self._flag("dropout_off", bool(self._dropouts))
        self.workload.zero_grad()
        self._state, self._inputs = state.State(self.workload), state.Inputs(self.workload)
        self._draws = Draws(self.workload, self.settings.seed, self.tolerance, self._dropouts, self._start)
        return self

    def __exit__(self, *exception: object) -> None:
        self._start()
        self._exits.close()
        del self._state, self._inputs, self._draws
        self._reference = None
        self._eager = Result()

    def baseline(self) -> Verdict | None:
        """Run eager and the reference; a verdict if the workload can't be checked, None if candidates can be judged."""
        try:
            self._eager = self._first_run()
            self._look_at_eager()
            self._reference = self._run_reference() if self.settings.reference else None
            self._require_usable_reference()
            self._rules = {name: self._rule(name) for name in self._eager.groups}
            self._compare_whole_numbers()
            for _ in range(1, self.settings.eager_runs):
                self._add_noise(self._run(self.workload.model, "eager_2nd_run_fail", "eager_2nd_run_OOM", Phase.EAGER))
        except _StopError as stop:
            return stop.verdict
        return None

    @property
    def dropout_off(self) -> bool:
        """Whether the model has dropout, which is off in what is compared: code of its own."""
        return bool(self._dropouts)

    def first_call(self, candidate: Callable[..., Any], known: bool = False) -> Verdict | None:
        """Let the candidate compile all that `judge` will run, in one step each; a verdict if it can't.

        Results don't count. CUDA graphs need it too: they warm up in the first call and record in the second. `known`
        says that it has run the model as it is, dropout on.
        """

        def steps() -> None:
            for dropouts in (self._dropouts, []) if self._dropouts and not known else ([],):
                self._start()
                with state.dropout_on(dropouts):
                    state.with_own_containers(self.workload).step(candidate)

        try:
            self._attempt(steps, verdicts.FAIL_TO_RUN, "OOM", Phase.COMPILE)
        except _StopError as stop:
            return stop.verdict
        return None

    def judge(self, candidate: Callable[..., Any]) -> Verdict:
        """Run the candidate and compare; needs a `baseline()` that returned None."""
        try:
            return self._judged(candidate)
        except _StopError as stop:
            return stop.verdict

    def _judged(self, candidate: Callable[..., Any]) -> Verdict:
        failed = (verdicts.FAIL_TO_RUN, "OOM", Phase.CHECK)
        result = self._run(candidate, *failed)
        draws_others = self._draws.others()
        own = merge(self._compare(name, result) for name in self._eager.groups)
        comparison = agreement.worst(own)
        ask = comparison.ok or draws_others
        repeats = ask and self._attempt(lambda: self._draws.repeated_by(candidate), *failed)
        if comparison.ok and repeats:
            reason = "each call draws the same random numbers, eager draws new ones"
            alike = Comparison((TensorResult("random numbers", False, reason),))
            own, comparison = merge([own, alike]), merge([comparison, alike])
        word, reason = self._word(own), comparison.reason
        unsure = word == verdicts.FAIL_ACCURACY and draws_others and not repeats
        if unsure and self._is_explained_by_seed(own):
            self._flag("backend_draws_differently")
            word, reason = verdicts.EAGER_TWO_RUNS_DIFFER, f"other random numbers than eager's: {reason}"
        return self._verdict(word, reason, comparison=comparison, worst=self._whole(comparison, result), result=result)

    @property
    def noise(self) -> float | None:
        """Largest root mean square of a tensor's difference between two eager runs; None where there was one run."""
        if self.settings.eager_runs == 1:
            return None
        return max((t.rmse for t in self._noise.values() if t.rmse is not None), default=0.0)

    def _verdict(self, accuracy: str, reason: str = "", **values: Any) -> Verdict:
        return Verdict(accuracy, reason, self.reference_word, self.tolerance, flags=tuple(self.flags), **values)

    def _flag(self, word: str, condition: bool = True) -> None:
        if condition and word not in self.flags:
            self.flags.append(word)

    def _restore(self) -> None:
        self.workload.zero_grad()
        self._state.restore()

    def _start(self) -> None:
        self._restore()
        self._inputs.load()

    # Runs

    def _first_run(self) -> Result:
        """Eager's first run; if the model can't do with rolled inputs, with the same inputs in each step."""
        words = ("eager_1st_run_fail", "eager_1st_run_OOM", Phase.EAGER)
        try:
            result = self._run(self.workload.model, *words)
        except _StopError as stop:
            if not self._vary or stop.verdict.status is Status.OOM:
                raise
            self._vary = False
            result = self._run(self.workload.model, *words)
            self._flag("inputs_not_varied")
        self._draws.note_eager()
        self._flag("draws_random_numbers", self._draws.found)
        return result

    def _run(self, f: Callable[..., Any], failed: str, oom: str, phase: Phase, seed: int | None = None) -> Result:
        """One run from the saved state."""
        self._restore()
        return self._attempt(lambda: self._collect(self.workload, f, self._inputs, seed), failed, oom, phase)

    def _attempt(self, action: Callable[[], T], failed: str, oom: str, phase: Phase) -> T:
        """What `action` gives; an exception becomes a verdict, for the row has to say what happened."""
        try:
            return action()
        except Exception as error:  # a model or a backend may raise anything
            log.warning("%s raised", "eager" if phase is Phase.EAGER else "the backend", exc_info=True)
            phase = Phase.COMPILE if _is_compiler_error(error) else phase
            word, kind = oom if is_oom(error) else failed, type(error).__name__
            lines = str(error).strip().splitlines() or [kind]
            verdict = self._verdict(word, lines[0], phase=phase, error_type=kind)
        raise _StopError(verdict)

    def _collect(
        self, workload: Workload, f: Callable[..., Any], inputs: state.Inputs, seed: int | None = None
    ) -> Result:
        chosen = self.settings
        seed = chosen.seed if seed is None else seed
        return collect(workload, f, inputs, seed=seed, num_steps=chosen.iterations, vary=self._vary)

    def _run_reference(self) -> Result | None:
        """The widest reference run that works; flags say why it isn't fp64."""
        if self.workload.precision.dtype == "float64":
            self.reference_word = "fp64"
        for word, dtype in reference.wider_dtypes(self.workload).items():
            free = self.settings.free_bytes
            if free is not None and reference.needed_bytes(self.workload, dtype) > free:
                self._flag(f"{word}_reference_does_not_fit")
                continue
            result = self._try_reference(word, dtype)
            if result is not None:
                self.reference_word = word
                return result
        return None

    def _try_reference(self, word: str, dtype: torch.dtype) -> Result | None:
        self._start()
        wide = None
        try:
            # In fp64 a convolution on a CPU unfolds its whole batch: many times what it takes in fp32.
            with no_overcommit() if self.workload.device == "cpu" else nullcontext():
                wide = reference.widened(self.workload, dtype)
                with reference.default_dtype(dtype):
                    result = self._collect(wide, wide.model, state.Inputs(wide))
        except Exception as error:  # a model may refuse to be copied or widened in any way
            log.warning("no %s reference", word, exc_info=True)
            failure = f"{word}_reference_failed" if wide is not None else "model_not_copyable"
            self._flag(f"{word}_reference_oom" if is_oom(error) else failure)
            return None
        for name, flat in result.groups.items():
            result.groups[name] = Flat({path: _as_reference(leaf) for path, leaf in flat.items()})
        return result

    # What eager tells

    def _look_at_eager(self) -> None:
        """Flag what a reader should know; stop where there is nothing to compare with."""
        groups = self._eager.groups
        names = [name for name in groups if name.endswith((".output", ".loss"))]
        self._flag("mutates_inputs", any(flat for name, flat in groups.items() if name.endswith(".inputs")))
        self._flag("nan_in_eager", any(compare_outputs.any_nan(groups[name]) for name in names))
        if self.workload.mode is Mode.training:
            self._look_at_training()
        reason = ""
        if any(compare_outputs.all_nan(groups[name]) for name in names):
            reason = "eager's output is NaN throughout: there is nothing to compare with"
        elif not any(compare_outputs.holds_values(leaf) for name in names for leaf in groups[name].values()):
            reason = "eager's output holds no number: there is nothing to compare"
        if reason:
            raise _StopError(self._verdict(verdicts.REFERENCE_UNUSABLE, reason))

    def _look_at_training(self) -> None:
        groups = self._eager.groups
        moved = any(compare_outputs.magnitude(Flat({"": u})) for u in self._updates(self._eager).values())
        self._flag("parameters_unchanged", self.workload.optimizer is not None and not moved)
        gradients = [flat for name, flat in groups.items() if name.endswith(".gradients")]
        self._flag("gradients_zero", not any(compare_outputs.magnitude(flat) for flat in gradients))

    def _rule(self, name: str) -> Rule:
        """How strictly a group is compared: small values get a small absolute tolerance.

        Where eager's own error drowns a group of values below the tolerance (gradients of a loss that doesn't depend
        on the parameters), they are noise and the plain tolerance holds. After the first optimizer step rounding
        errors have been amplified by training itself (a resnet's gradients are 1 % off in fp32), by how much is
        known from one sample, eager's: the plain tolerance holds, and ten times eager's distance from the reference.
        """
        low = reference.is_low_precision(self.workload)
        policy = self.workload.policy
        small = low or bool(policy.small_tensors)
        rule = Rule(self.tolerance, cosine=bool(policy.cosine), small_tensors=small, iou=policy.iou)
        if not self._is_first(name):
            return replace(rule, max_multiplier=True)
        eager = self._eager.groups[name]
        size = compare_outputs.magnitude(eager)
        apart = self._apart.get(name)
        noise = apart is not None and apart.relative > self._sane_bound and apart.rms <= self.tolerance
        self._flag(f"{name.rsplit('.', 1)[-1]}_are_noise", noise and size > 0)
        return rule if noise or not size else replace(rule, scale=min(1.0, size))

    def _is_first(self, name: str) -> bool:
        """Whether a group was computed with the parameters that the run started with."""
        return self.workload.mode is Mode.inference or name.startswith("step1.")

    @property
    def _sane_bound(self) -> float:
        """Relative distance of eager from the reference beyond which the two compute different things."""
        return 1.0 if reference.is_low_precision(self.workload) else 0.1

    def _require_usable_reference(self) -> None:
        """Stop if the first step's reference isn't what eager approximates.

        A model that draws random numbers may draw others in another dtype: it is judged without a reference, which
        is stricter.
        """
        if self._reference is None:
            return
        problem = next(filter(None, map(self._reference_problem, self._eager.groups)), "")
        if problem and self._draws.found:
            self._reference, self.reference_word = None, "none"
            self._apart.clear()
            self._flag("reference_draws_differently")
        elif problem:
            raise _StopError(self._verdict(verdicts.REFERENCE_UNUSABLE, problem))

    def _reference_problem(self, name: str) -> str:
        assert self._reference is not None
        eager, wide = self._eager.groups[name], self._reference.groups[name]
        if compare_outputs.forms(eager) != compare_outputs.forms(wide):
            return f"{name}: the reference has another structure or other shapes than eager"
        if not self._is_first(name):
            return ""
        apart = self._apart[name] = compare_outputs.distance(eager, wide)
        if name.startswith("step1.") and apart.relative > self._sane_bound and apart.rms > self.tolerance:
            return (
                f"{name}: eager is {apart.relative:.2g} away from its own {self.reference_word} reference, relatively"
            )
        return ""

    def _compare_whole_numbers(self) -> None:
        """Keep how far rounding alone moves eager's whole numbers: an argmax, a count, a pixel.

        Nothing is known of a model that draws random numbers: the reference's may be others.
        """
        if self._reference is None or self._draws.found:
            return
        for name, rule in self._rules.items():
            eager, wide = (compare_outputs.whole_numbers(r.groups[name]) for r in (self._eager, self._reference))
            self._by_precision |= {t.tensor: t for t in compare_outputs.compare(eager, wide, None, rule).tensors}

    def _add_noise(self, other: Result) -> None:
        """Keep how far another eager run is from the first."""
        self._keep_largest(self._noise, other)
        self._flag("eager_not_deterministic", any(not t.ok or bool(t.max_abs_err) for t in self._noise.values()))

    def _keep_largest(self, kept: dict[str, TensorResult], other: Result) -> None:
        """The largest difference of each tensor between the first eager run and others."""
        for name, flat in self._eager.groups.items():
            for found in compare_outputs.compare(flat, other.groups[name], None, self._rules[name]).tensors:
                known = kept.get(found.tensor)
                if known is None or (known.rmse or 0.0) < (found.rmse or 0.0):
                    kept[found.tensor] = found

    # Judging

    def _whole(self, comparison: Comparison, result: Result) -> TensorResult | None:
        """The worst tensor with the magnitudes that are left out where tensors are clearly equal."""
        worst = comparison.worst
        name = next((n for n, flat in self._eager.groups.items() if worst is not None and worst.tensor in flat), "")
        if worst is None or worst.cosine is not None or worst.max_abs_err is None or name == "parameters" or not name:
            return worst
        sides = [self._eager, result, *([self._reference] if self._reference else [])]
        eager, backend, *wide = [Flat({worst.tensor: side.groups[name][worst.tensor]}) for side in sides]
        rule = replace(self._rules[name], near=False)
        return compare_outputs.compare(eager, backend, wide[0] if wide else None, rule).worst

    def _compare(self, name: str, result: Result) -> Comparison:
        if name == "parameters":
            return self._compare_updates(result)
        wide = None if self._reference is None else self._reference.groups[name]
        return compare_outputs.compare(self._eager.groups[name], result.groups[name], wide, self._rules[name])

    def _compare_updates(self, result: Result) -> Comparison:
        """Compare what the steps did to the parameters with what the optimizer does with the same gradients.

        Gradients are compared by themselves; after an optimizer that normalises them, the sign of a gradient that is
        rounding noise would decide about a parameter.
        """
        updates = self._updates(result)
        self._restore()
        for gradients in result.gradients if self.workload.optimizer is not None else ():
            for name, parameter in self.workload.parameters().items():
                parameter.grad = gradients.get(name)
            assert self.workload.optimizer is not None
            self.workload.optimizer.step()
        replayed = Result()
        replayed.add_named("parameters", dict(self.workload.parameters()))
        expected = self._updates(replayed)
        rule = Rule(self.tolerance, scale=min(1.0, compare_outputs.magnitude(expected) or 1.0))
        return compare_outputs.compare(expected, updates, None, rule)

    def _updates(self, result: Result) -> Flat:
        """By how much a run changed each parameter."""
        after = result.groups["parameters"]
        parameters = self.workload.parameters()
        saved = {f"parameters.{name}": state.local(self._state.saved(p)) for name, p in parameters.items()}
        return Flat({path: tensor - saved[path] for path, tensor in after.items()})

    def _word(self, comparison: Comparison) -> str:
        """The accuracy word: differences are weighed against eager's own noise before they count as wrong.

        Every rank weighs what it found in its own tensors; the runs that this takes are made on all of them.
        """
        failures = comparison.failures
        if agreement.everywhere(not failures):
            return verdicts.PASS
        if agreement.everywhere(all(self._is_excused(t) for t in failures)):
            return verdicts.PASS_WITHIN_EAGER_NOISE
        if agreement.everywhere(all(t.rmse is not None for t in failures)) and self._is_rounding(comparison):
            return verdicts.PASS_WITHIN_EAGER_NOISE
        noisy = all(t.tensor in self._noise and not self._noise[t.tensor].ok for t in failures)
        return verdicts.EAGER_TWO_RUNS_DIFFER if agreement.everywhere(noisy) else verdicts.FAIL_ACCURACY

    def _is_excused(self, found: TensorResult, *more: dict[str, TensorResult]) -> bool:
        """Whether one of eager's own differences accounts for a failure."""
        noises = (noise.get(found.tensor) for noise in (self._noise, self._by_precision, *more))
        return any(noise is not None and noise.excuses(found, NOISE_MULTIPLIER) for noise in noises)

    def _is_explained_by_seed(self, comparison: Comparison) -> bool:
        """Whether what differs is as far from eager as eager with other seeds; the optimizer's part draws nothing."""
        if self._by_seed is None:
            self._by_seed = {}
            for i in range(1, SEED_RUNS + 1):
                words = ("eager_2nd_run_fail", "eager_2nd_run_OOM", Phase.EAGER)
                self._keep_largest(self._by_seed, self._run(self.workload.model, *words, self.settings.seed + i))
        kept, failures = self._eager.groups.get("parameters", ()), comparison.failures
        differing = {name: noise for name, noise in self._by_seed.items() if not noise.ok and name not in kept}
        excused = (t.tensor in differing and differing[t.tensor].excuses(t, SEED_MULTIPLIER) for t in failures)
        return agreement.everywhere(all(excused))

    def _is_rounding(self, comparison: Comparison) -> bool:
        """Whether eager is about as far from itself where it rounds otherwise; taken once there is a failure.

        Its parameters are a rounding error off, or what a device rounds to TF32 isn't. In training a rounding error can
        turn a ReLU on or off, and gradients jump; that condemns nobody. Whole numbers jump in inference too. Below
        float32 eager's distance from the reference tells as much.
        """
        if reference.is_low_precision(self.workload):
            return False
        whole = all(t.num_differing is not None for t in comparison.failures)
        if self.workload.mode is Mode.inference and not agreement.everywhere(whole):
            return False
        if self._rounding is None:
            self._rounding = {}
            self._restore()
            with without_tf32():
                self._keep_largest(self._rounding, self._collect(self.workload, self.workload.model, self._inputs))
            for i in range(ROUNDING_RUNS):
                self._restore()
                state.nudge(self.workload.parameters().values(), i)
                self._keep_largest(self._rounding, self._collect(self.workload, self.workload.model, self._inputs))
        return agreement.everywhere(all(self._is_excused(t, self._rounding) for t in comparison.failures))


def check(
    workload: Workload,
    candidate: Callable[..., Any],
    settings: CheckSettings | None = None,
    compiling: AbstractContextManager[Any] | None = None,
) -> Verdict:
    """Check one candidate: what `Check` says, in one call. What the candidate gave is not kept.

    Where dropout is off in the check, a candidate that was compiled with it compiles once more: within `compiling`.
    """
    with Check(workload, settings) as opened:
        found = opened.baseline()
        if found is None and opened.dropout_off and compiling:
            with compiling:
                found = opened.first_call(candidate, known=True)
        return (found or opened.judge(candidate)).without_result()


def is_oom(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _is_compiler_error(error: BaseException) -> bool:
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor", "torch._functorch"))


def _as_reference(leaf: Any) -> Any:
    return reference.widen(leaf, torch.float64) if isinstance(leaf, torch.Tensor) else leaf
