"""Suite `functional_autograd`: nine models to upstream's figures, whose losses reach every parameter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from runner.loaders.builtin.deepspeech import Recurrent
from runner.loaders.builtin.detr_loss import assign
from runner.loaders.functional_autograd import FunctionalAutograd, Layout, Size
from runner.workload import LoadRequest, Mode, Precision, Workload, tensors_of

ROOT = Path(__file__).parents[2]
NAMES = FunctionalAutograd().names()
#: Parameter tensors and numbers, and the shapes of all inputs.
FIGURES = {
    "resnet18": (62, 11_689_512, [(32, 3, 224, 224)]),
    "fcn_resnet": (164, 32_957_013, [(8, 3, 480, 480)]),
    "detr": (352, 41_459_616, [(2, 3, 800, 1200)]),
    "ppl_simple_reg": (1, 11, [(10, 11), (10, 1)]),
    "ppl_robust_reg": (3, 22, [(10, 11), (10, 1)]),
    "wav2letter": (24, 26_187_278, [(10, 1, 700)]),
    "deepspeech": (59, 86_598_944, [(10, 1, 161, 500), (10,)]),
    "transformer": (27, 10_134_546, [(64, 128)]),
    "multiheadattn": (4, 400, [(6, 64, 10), (10, 64, 10), (10, 64, 10), (320, 6, 10), (2, 1, 320, 2)]),
}
#: Losses in fp64 from seed 0, dropout off.
SMALL_LOSSES = {
    "resnet18": 7.667414504358114,
    "fcn_resnet": 0.4159737764780695,
    "detr": 6362.549656216019,
    "ppl_simple_reg": -28.52228499432307,
    "ppl_robust_reg": -128.5811048193366,
    "wav2letter": 3.31839137926071,
    "deepspeech": 5.203637388793965,
    "transformer": 3.9407854983671724,
    "multiheadattn": 126.36383902811103,
}
FULL_LOSSES = {
    "multiheadattn": 1957.769580020095,
    "wav2letter": 3.3310164504091953,
    "transformer": 4.073448563881738,
    "resnet18": 7.2168712439708855,
    "deepspeech": 37.609509940806205,
    "detr": 8045.418782182243,
    "fcn_resnet": 0.506952675353976,
}
#: Models whose full forward pass in fp64 takes half a minute of one core, or more.
HALF_A_MINUTE = ("deepspeech", "detr", "fcn_resnet")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small operators are slower on several threads, and much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(name: str, size: Size = Size.small, **request: object) -> Workload:
    """A workload in fp64 without dropout."""
    workload = FunctionalAutograd(size).load(name, LoadRequest(**request)).cast(Precision("fp64", "float64"))  # type: ignore[arg-type]
    workload.model.eval()  # type: ignore[attr-defined]
    return workload


def loss_of(workload: Workload) -> torch.Tensor:
    """The scalar that is differentiated."""
    return workload.loss(workload.model(*workload.args, **workload.kwargs))


@pytest.mark.parametrize("name", NAMES)
def test_figures(name: str) -> None:
    """Parameter tensors, their numbers and the inputs' shapes are upstream's."""
    workload = FunctionalAutograd().load(name, LoadRequest(device="meta"))
    parameters = workload.parameters().values()
    inputs = [tuple(tensor.shape) for tensor in tensors_of(workload.args)]
    assert (len(parameters), sum(p.numel() for p in parameters), inputs) == FIGURES[name]


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients(name: str) -> None:
    """The small model's loss at seed 0 is the recorded scalar, and every parameter has a gradient that is not zero."""
    workload = load(name)
    loss = loss_of(workload)
    loss.backward()
    assert loss.shape == ()
    assert loss.item() == pytest.approx(SMALL_LOSSES[name], rel=1e-5)
    assert all(p.grad is not None and p.grad.norm() > 0 for p in workload.parameters().values())
    assert len(workload.parameters()) == FIGURES[name][0]


@pytest.mark.models
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in HALF_A_MINUTE else n for n in FULL_LOSSES])
def test_full_loss(name: str) -> None:
    """So is the loss in full size."""
    with torch.no_grad():
        assert loss_of(load(name, Size.full)).item() == pytest.approx(FULL_LOSSES[name], rel=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "detr", "ppl_robust_reg", "transformer"])
def test_seed(name: str) -> None:
    """The seed alone decides weights and data, whatever was loaded before."""
    first = loss_of(load(name))
    load("multiheadattn")
    torch.manual_seed(99)
    assert torch.equal(first, loss_of(load(name)))
    assert not torch.equal(first, loss_of(load(name, seed=1)))


@pytest.mark.parametrize("name", NAMES)
def test_state_stays(name: str) -> None:
    """A forward pass writes to no buffer: the function may be called again."""
    workload = FunctionalAutograd(Size.small).load(name, LoadRequest())
    before = {key: buffer.clone() for key, buffer in workload.buffers().items()}
    loss_of(workload)
    assert all(torch.equal(buffer, before[key]) for key, buffer in workload.buffers().items())


@pytest.mark.parametrize("name", NAMES)
def test_batch_size(name: str) -> None:
    """Another batch size is another workload, and it works."""
    workload = load(name, batch_size=3)
    assert workload.batch_size == 3
    assert loss_of(workload).isfinite()


def test_modes() -> None:
    """As upstream has them, dropout is active in detr and not in transformer and fcn_resnet; in training everywhere."""
    suite = FunctionalAutograd(Size.small)
    standing = {name: suite.load(name, LoadRequest()).model.training for name in NAMES}  # type: ignore[attr-defined]
    assert [name for name, training in standing.items() if not training] == ["fcn_resnet", "transformer"]
    assert suite.load("transformer", LoadRequest(mode=Mode.training)).model.training  # type: ignore[attr-defined]


def test_transformer_layouts() -> None:
    """By default a sample's loss depends on its own sequence only; `batch` attends along the batch, as upstream does."""
    outputs = {}
    for layout in Layout:
        workload = FunctionalAutograd(Size.small, layout).load("transformer", LoadRequest())
        (tokens,) = workload.args
        changed = tokens.clone()
        changed[0] = (changed[0] + 1) % 50
        outputs[layout] = [workload.model(t)[1:] for t in (tokens, changed)]
    assert torch.equal(*outputs[Layout.sequence])
    assert not torch.equal(*outputs[Layout.batch])


def test_models_file_lists_the_suite() -> None:
    """conf/models/functional_autograd.yaml lists the suite's models."""
    path = ROOT / "conf/models/functional_autograd.yaml"
    assert tuple(yaml.safe_load(path.read_text(encoding="utf-8"))) == NAMES == tuple(FIGURES)


def test_deepspeech_directions() -> None:
    """Two LSTMs, one of which reads each sound turned round, are a bidirectional one over packed sounds."""
    torch.manual_seed(0)
    ours, torchs = Recurrent(3, 4, normed=False), torch.nn.LSTM(3, 4, bidirectional=True)
    weights = {f"{key}_reverse": value for key, value in ours.back.state_dict().items()}
    torchs.load_state_dict({**ours.ahead.state_dict(), **weights})
    x, lengths = torch.randn(7, 3, 3), torch.tensor([4, 7, 5])
    places = torch.arange(7)[:, None]
    turned = torch.where(places < lengths, lengths - 1 - places, places)
    packed, _ = torchs(pack_padded_sequence(x, lengths, enforce_sorted=False))
    expected = pad_packed_sequence(packed)[0].unflatten(-1, (2, -1)).sum(-2)
    heard = (places < lengths)[..., None]
    torch.testing.assert_close(ours(x, turned) * heard, expected * heard)


def test_matching_is_the_cheapest() -> None:
    """No other assignment of objects to queries costs less."""
    torch.manual_seed(0)
    cost = torch.rand(5, 3)
    columns = torch.arange(3)
    least = min(cost[list(rows), columns].sum() for rows in itertools.permutations(range(5), 3))
    assert cost[assign(cost), columns].sum() == least


def test_matching_is_an_operator() -> None:
    """It can be traced, and has no gradient."""
    torch.library.opcheck(assign, (torch.rand(5, 3),))
