"""Suite `fastrnns`: every runner computes what the library's does, and says what it can't do."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from runner.errors import Unsupported
from runner.loaders.fastrnns import Fastrnns
from runner.loaders.rnns import scripting, switches
from runner.loaders.rnns.catalogue import CATALOGUE, Group
from runner.loaders.rnns.switches import Executor, Fuser, Tuning
from runner.passes import Passes, agree
from runner.workload import LoadRequest, Mode, Workload

UPSTREAM = {
    "rnns": "cudnn aten jit jit_premul jit_premul_bias jit_simple jit_multilayer py",
    "cnns": "resnet18 resnet18_jit resnet50 resnet50_jit",
    "vl_rnns": "vl_cudnn vl_jit vl_py",
    "variants": "cudnn_dropout cudnn_layernorm jit_layernorm jit_layernorm_decom jit_dropout",
}
TINY: dict[str, Any] = {"seq_length": 5, "input_size": 6, "hidden_size": 8}
FAMILIES = {name: runner.family for name, runner in CATALOGUE.items()}
COSTLY = ("compiled", "resnet")


def load(name: str, mode: Mode = Mode.training, **fields: Any) -> Workload:
    """A runner in tiny sizes with a batch of three."""
    return Fastrnns(**{**TINY, **fields}).load(name, LoadRequest(mode=mode, batch_size=3, seed=7))


def passes(name: str, **fields: Any) -> Passes:
    """The runner's passes, done once."""
    workload = load(name, **fields)
    found = Passes(workload, workload.model)
    found.try_out()
    return found


def assert_equal(name: str, other: str, **fields: Any) -> None:
    """Outputs, states and gradients of two runners agree."""
    found = agree(passes(name, **fields), passes(other, **fields), seed=0, tolerance=1e-4)
    assert found.row()["accuracy"] == "pass", found.comparison.reason
    assert found.comparison.tensors


def weighted() -> list[Any]:
    """Runners that have another to agree with; what compiles or is large is slow."""
    names = [name for name, family in FAMILIES.items() if family.equal_to]
    return [pytest.param(n, marks=pytest.mark.slow if n.startswith(COSTLY) else ()) for n in names]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo looks at it while it compiles
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean")  # torchvision's, while it is traced
@pytest.mark.parametrize("name", weighted())
def test_equal_outputs_states_and_gradients(name: str) -> None:
    """A runner reproduces the one that it is said to be equal to."""
    other = FAMILIES[name].equal_to
    assert other is not None
    assert_equal(name, other)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("aten", "cudnn"),
        ("jit_multilayer", "cudnn"),
        ("jit_stacked", "cudnn"),
        ("jit_dropout", "cudnn_dropout"),
        ("jit_bidirectional", "cudnn_bidirectional"),
        ("cudnn_layernorm", "cudnn"),
    ],
)
def test_three_layers(name: str, other: str) -> None:
    """Runners of several layers agree with the library's in three as well."""
    assert_equal(name, other, num_layers=3)


def test_a_wrong_runner_is_found() -> None:
    """An error of one per cent in one bias shows; the row says which tensor is worst."""
    wrong, right = passes("py"), passes("cudnn")
    with torch.no_grad():
        wrong.workload.parameters()["bias_hh_l0"][0] += 0.01
    row = agree(wrong, right, seed=0, tolerance=1e-4).row()
    assert (row["accuracy"], row["status"], row["reference"]) == ("fail_accuracy", "wrong_output", "cudnn")
    assert row["error"].startswith(row["worst_tensor"])


def test_low_precision_is_held_against_fp64() -> None:
    """Where both compute in bf16, being as far from fp64 as the library's is no error."""
    from runner.workload import Precision

    both = []
    for name in ("jit_premul", "cudnn"):
        workload = load(name).cast(Precision("bf16", "bfloat16"))
        both.append(Passes(workload, workload.model))
        both[-1].try_out()
    assert agree(*both, seed=0, tolerance=1e-3).row()["accuracy"] == "pass"


def test_names() -> None:
    """Upstream's twenty names are there, in its groups; `all` is every group together."""
    for group, names in UPSTREAM.items():
        assert set(names.split()) <= set(Fastrnns(group=Group(group)).names())
    together = [name for group in Group if group is not Group.all for name in Fastrnns(group=group).names()]
    assert sorted(together) == sorted(Fastrnns().names())
    assert sum(len(names.split()) for names in UPSTREAM.values()) == 20


def test_families_name_runners() -> None:
    """Whatever a runner is related to or compared with is a runner; a reference relates to itself or to cudnn."""
    for family in FAMILIES.values():
        assert {family.reference, family.equal_to} <= {*CATALOGUE, None}
        assert FAMILIES[family.reference].reference in {family.reference, "cudnn"}


def test_equal_weights_and_inputs() -> None:
    """Runners of one layer get the same numbers under the same names, in any order of loading."""
    one, other = load("jit_premul"), load("cudnn")
    assert one.parameters().keys() == other.parameters().keys()
    pairs = [*zip(one.parameters().values(), other.parameters().values(), strict=True), (one.args[0], other.args[0])]
    assert all(torch.equal(a, b) for a, b in pairs)


def test_default_sizes() -> None:
    """Upstream's: 100 steps, one layer, 512 wide, 64 sequences."""
    workload = Fastrnns().load("cudnn", LoadRequest())
    assert workload.batch_size == 64
    x, (h, c) = workload.args
    assert (x.shape, h.shape, c.shape) == ((100, 64, 512), (1, 64, 512), (1, 64, 512))


def test_variable_lengths() -> None:
    """Lengths are between 30 and 99, the same for all; outputs are padded with zeros."""
    workload = load("vl_py")
    lengths = [len(sequence) for sequence in workload.args[0]]
    assert all(30 <= length < 100 for length in lengths)
    output, _ = workload.step(workload.model).output
    assert output.shape == (max(lengths), 3, 8)
    assert not output[lengths[0] :, 0].any()


def test_multiplicative_integration_contains_the_lstm() -> None:
    """Without the product of the projections, mLSTM is an LSTM."""
    workload = load("py_mlstm")
    with torch.no_grad():
        workload.parameters()["mix"][0] = 0
    cudnn = load("cudnn")
    torch.testing.assert_close(workload.step(workload.model).output[0], cudnn.step(cudnn.model).output[0])


def test_layer_norm_by_its_formula() -> None:
    """The first step of the normalised LSTM, computed from the paper's formula."""
    workload = load("py_layernorm")
    x, (h, c) = workload.args
    p = workload.parameters()

    def norm(t: torch.Tensor) -> torch.Tensor:
        return (t - t.mean(1, keepdim=True)) / (t.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    i, f, g, o = (norm(x[0] @ p["weight_ih_l0"].T) + norm(h[0] @ p["weight_hh_l0"].T)).chunk(4, 1)
    cell = norm(f.sigmoid() * c[0] + i.sigmoid() * g.tanh())
    torch.testing.assert_close(workload.step(workload.model).output[0][0], o.sigmoid() * cell.tanh())


@pytest.mark.parametrize("name", ["cudnn_dropout", "jit_dropout"])
def test_dropout(name: str) -> None:
    """Dropout acts between layers and in training only; with one layer the row says that it can't."""
    train, infer = load(name, num_layers=2), load(name, Mode.inference, num_layers=2)
    drawn = [train.step(train.model).output[0] for _ in range(2)]
    still = [infer.step(infer.model).output[0] for _ in range(2)]
    assert not torch.equal(*drawn)
    assert torch.equal(*still)
    assert train.flags == ()
    assert load(name).flags == ("dropout_without_effect",)


def test_the_lower_bound_has_no_backward() -> None:
    """cudnn_layernorm is a bound of the forward alone."""
    assert not passes("cudnn_layernorm").has_backward


@pytest.mark.parametrize("name", ["jit", "compiled_cell", "vl_cudnn", "py_layernorm", "jit_gru", "py_mlstm"])
def test_one_layer_only(name: str) -> None:
    """More layers than a runner has are unsupported, and the message says which runners have them."""
    with pytest.raises(Unsupported, match=rf"^{name} has one layer, suite.num_layers=2 was given: use cudnn"):
        load(name, num_layers=2)


def test_sizes_are_positive() -> None:
    """A size of nothing is refused before anything is built."""
    with pytest.raises(ValueError, match=r"^suite.hidden_size=0: give a whole number above 0$"):
        Fastrnns(hidden_size=0)


def test_no_notice_of_deprecation() -> None:
    """TorchScript's deprecation is known; it isn't repeated in every log."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load("jit")
        scripting.trace(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    assert not [w for w in caught if "deprecated" in str(w.message)]


def broken(*_: Any, **__: Any) -> None:
    """What a torch without TorchScript may do."""
    raise RuntimeError("torch.jit.script is not supported in Python 3.19")


@pytest.mark.parametrize(
    ("replacement", "words"),
    [
        (None, "has no torch.jit.script"),
        (broken, "can't torch.jit.script this runner: torch.jit.script is not supported in Python 3.19"),
        (lambda function: function, "TorchScript is switched off"),
    ],
)
def test_a_torch_without_torchscript(monkeypatch: pytest.MonkeyPatch, replacement: Any, words: str) -> None:
    """A runner that this torch can't build is unsupported and says why; the others are built."""
    if replacement is None:
        monkeypatch.delattr(torch.jit, "script")
    else:
        monkeypatch.setattr(torch.jit, "script", replacement)
    with pytest.raises(Unsupported, match=words):
        load("jit")
    assert load("py").flags == ()


@pytest.fixture
def switches_as_found() -> Any:
    """Puts the process' switches back."""
    yield
    switches.apply(Executor.default, Fuser.default, Tuning(), "cpu")


@pytest.mark.usefixtures("switches_as_found")
def test_switches_last_until_the_next_runner() -> None:
    """What one request sets, the next one's defaults take back."""
    before = torch._C._jit_set_profiling_executor(True)
    torch._C._jit_set_profiling_executor(before)
    load("jit", executor=Executor.legacy, fuser=Fuser.none, cuda_pointwise_block_size=64)
    assert torch._C._jit_set_profiling_executor(False) is False
    assert not torch._C._jit_texpr_fuser_enabled()
    assert torch._C._jit_get_te_cuda_pointwise_block_size() == 64
    load("jit")
    assert torch._C._jit_set_profiling_executor(before) == before
    assert torch._C._jit_texpr_fuser_enabled()
    assert torch._C._jit_get_te_cuda_pointwise_block_size() == -1


@pytest.mark.usefixtures("switches_as_found")
@pytest.mark.parametrize("executor", Executor)
def test_executors_compute_the_same(executor: Executor) -> None:
    """Each executor's outputs and gradients are the library's."""
    assert_equal("jit", "cudnn", executor=executor)


@pytest.mark.usefixtures("switches_as_found")
def test_a_fuser_that_does_not_fuse() -> None:
    """On a torch that can't fuse on the CPU, asking for a fuser is flagged; asking for none is not."""
    if torch._C._llvm_enabled():
        pytest.skip("this torch fuses on the CPU")
    assert load("jit", fuser=Fuser.te).flags == ("fuser_without_effect",)
    assert load("jit", fuser=Fuser.none).flags == ()
    assert load("jit", cuda_pointwise_block_count=8).flags == ("te_tuning_without_effect",)


def test_switches_mean_nothing_without_torchscript() -> None:
    """A runner that isn't TorchScript flags whatever is asked of TorchScript."""
    asked = {"executor": Executor.simple, "fuser": Fuser.none, "cuda_pointwise_loop_level": 2}
    words = ("executor_without_effect", "fuser_without_effect", "te_tuning_without_effect")
    assert load("cudnn", **asked).flags == words
    assert load("cudnn").flags == ()


@pytest.mark.usefixtures("switches_as_found")
def test_switches_that_torch_has_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setter that is gone from torch is no error but a flag."""
    monkeypatch.setattr(switches, "_function", lambda _: None)
    switches._as_torch_has_it.cache_clear()
    found = switches.apply(Executor.legacy, Fuser.none, Tuning(), "cpu")
    switches._as_torch_has_it.cache_clear()
    assert found == ("executor_without_effect", "fuser_without_effect")
