"""Suite `timm`: upstream's names and figures, any other model of the library by name, no network."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from runner.errors import Unsupported
from runner.loaders._losses import projection
from runner.loaders._weights import wake
from runner.loaders.names import known, listed_version
from runner.loaders.timm import BATCH_SIZE, RENAMED, Timm
from runner.workload import LoadRequest, Mode, Workload

ROOT = Path(__file__).parents[2]
LISTED = yaml.safe_load((ROOT / "conf/models/timm.yaml").read_text(encoding="utf-8"))

#: dynamobench's list: batch size, image size in training and in inference, millions of parameters.
UPSTREAM = {
    "adv_inception_v3": (128, 299, 299, 23.8),
    "beit_base_patch16_224": (64, 224, 224, 86.5),
    "convnextv2_nano.fcmae_ft_in22k_in1k": (128, 224, 288, 15.6),
    "deit_base_distilled_patch16_224": (64, 224, 224, 87.3),
    "deit_tiny_patch16_224.fb_in1k": (128, 224, 224, 5.7),
    "dm_nfnet_f0": (128, 192, 256, 71.5),
    "ghostnet_100": (512, 224, 224, 5.2),
    "inception_v3": (128, 299, 299, 23.8),
    "mobilenetv2_100": (128, 224, 224, 3.5),
    "mobilenetv3_large_100": (512, 224, 224, 5.5),
    "mobilevit_s": (64, 256, 256, 5.6),
    "nfnet_l0": (128, 224, 288, 35.1),
    "repvgg_a2": (128, 224, 224, 28.2),
    "swin_base_patch4_window7_224": (64, 224, 224, 87.8),
    "tf_efficientnet_b0": (128, 224, 224, 5.3),
    "visformer_small": (128, 224, 224, 40.2),
    "vit_base_patch14_dinov2.lvd142m": (128, 518, 518, 86.6),
    "vit_base_patch16_siglip_256": (128, 256, 256, 92.9),
}
#: Millions of parameters of what the list of mid-2024 had besides, counted with timm 1.0.31.
OLDER = {
    "botnet26t_256": 12.5,
    "cait_m36_384": 271.2,
    "coat_lite_mini": 11.0,
    "convit_base": 86.5,
    "convmixer_768_32": 21.1,
    "convnext_base": 88.6,
    "crossvit_9_240": 8.6,
    "cspdarknet53": 27.6,
    "dla102": 33.3,
    "dpn107": 86.9,
    "eca_botnext26ts_256": 10.6,
    "eca_halonext26ts": 10.8,
    "ese_vovnet19b_dw": 6.5,
    "fbnetc_100": 5.6,
    "fbnetv3_b": 8.6,
    "gernet_l": 31.1,
    "gluon_inception_v3": 23.8,
    "gmixer_24_224": 24.7,
    "gmlp_s16_224": 19.4,
    "hrnet_w18": 21.3,
    "jx_nest_base": 67.7,
    "lcnet_050": 1.9,
    "levit_128": 9.2,
    "mixer_b16_224": 59.9,
    "mixnet_l": 7.3,
    "mnasnet_100": 4.4,
    "pit_b_224": 73.8,
    "pnasnet5large": 86.1,
    "poolformer_m36": 56.2,
    "regnety_002": 3.2,
    "res2net101_26w_4s": 45.2,
    "res2net50_14w_8s": 25.1,
    "res2next50": 24.7,
    "resmlp_12_224": 15.4,
    "resnest101e": 48.3,
    "rexnet_100": 4.8,
    "sebotnet33ts_256": 13.7,
    "selecsls42b": 32.5,
    "spnasnet_100": 4.4,
    "swsl_resnext101_32x16d": 194.0,
    "tf_mixnet_l": 7.3,
    "tinynet_a": 6.2,
    "tnt_s_patch16_224": 23.8,
    "twins_pcpvt_base": 43.8,
    "vit_base_patch16_224": 86.6,
    "volo_d1_224": 26.6,
    "xcit_large_24_p8_224": 188.9,
}
#: timm's own tiny models, of several families; they are known and not listed.
TINY = ["test_vit", "test_nfnet", "test_resnet", "test_convnext"]


def load(name: str, mode: Mode = Mode.inference, **fields: object) -> Workload:
    """A workload of the suite."""
    return Timm().load(name, LoadRequest(mode=mode, **fields))  # type: ignore[arg-type]


def millions(workload: Workload) -> float:
    """Parameters, as the tables have them."""
    return round(sum(p.numel() for p in workload.parameters().values()) / 1e6, 1)


def test_listed_models_are_known() -> None:
    """The models' file lists upstream's 18 names first, then the older ones, and the suite knows them all."""
    assert list(LISTED) == [*UPSTREAM, *OLDER]
    assert set(LISTED) <= set(Timm().names())


def test_names_say_their_version() -> None:
    """The file of names says which timm it comes from, and is sorted and without repetitions."""
    names = known("timm")
    assert re.fullmatch(r"\d+(\.\w+)+", listed_version("timm"))
    assert list(names) == sorted(set(names))
    assert {"vit_base_patch16_224", "resnet18", *TINY} <= set(names)


@pytest.mark.parametrize("name", UPSTREAM)
def test_upstream_figures(name: str) -> None:
    """Parameters, batch sizes and image sizes are upstream's; in inference a model has its test size."""
    batch_size, training_size, inference_size, parameters = UPSTREAM[name]
    for mode, size in ((Mode.training, training_size), (Mode.inference, inference_size)):
        workload = load(name, mode, device="meta", batch_size=1)
        assert millions(workload) == parameters
        assert workload.args[0].shape == (1, 3, size, size)
        assert LISTED[name][f"batch_size_{mode.value}"] == batch_size
        assert workload.source == "timm"


@pytest.mark.slow
@pytest.mark.parametrize("name", OLDER)
def test_older_figures(name: str) -> None:
    """The other listed models have the parameters that were recorded, and give an output of their images' size."""
    workload = load(name, device="meta", batch_size=1)
    assert millions(workload) == OLDER[name]
    assert workload.step(workload.model).output.shape == (1, 1000)


@pytest.mark.parametrize("name", TINY)
def test_training_reaches_everything(name: str) -> None:
    """A training step gives every parameter a gradient, also where a gain starts at zero."""
    workload = load(name, Mode.training, batch_size=2)
    workload.step(workload.model)
    assert [n for n, p in workload.parameters().items() if p.grad is None or not p.grad.any()] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_256", "mixer_b16_224", "dm_nfnet_f0", "mobilevit_s"])
def test_gradients_of_listed_models(name: str) -> None:
    """Models of features, with a zero head or with zero gains have gradients too."""
    workload = load(name, Mode.training, batch_size=2)
    workload.step(workload.model)
    assert sum(p.grad.norm().item() for p in workload.parameters().values() if p.grad is not None) > 1e-3


def test_images_are_standardised() -> None:
    """Images have mean 0 and deviation 1, the same ones for a seed."""
    (images,) = load("test_vit", batch_size=3, seed=5).args
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(images, load("test_vit", batch_size=3, seed=5).args[0])


def test_default_batch_size() -> None:
    """A model that is not listed has a batch size as well."""
    assert load("test_vit", device="meta").batch_size == BATCH_SIZE


def test_renamed_models_exist() -> None:
    """Upstream's old names lead to models of today."""
    assert set(RENAMED.values()) <= {*known("timm"), *RENAMED.values()}
    for name in RENAMED:
        assert load(name, device="meta", batch_size=1).name == name


def test_model_of_another_version() -> None:
    """A model that the installed timm lacks is unsupported, with the version to install."""
    with pytest.raises(Unsupported, match=rf"has no model no_such_net: pip install timm=={listed_version('timm')}$"):
        load("no_such_net", device="meta")


def test_wake() -> None:
    """Weights that start at nothing get a size that shows; biases and ordinary weights stay."""
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    nn.init.constant_(model[1].weight, 1e-6)
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    first = model[0].weight.clone()
    wake(model)
    assert (model[1].weight == 0.2).all()
    assert model[2].weight.abs().max() > 1e-3
    assert not model[2].bias.any()
    assert torch.equal(model[0].weight, first)


def test_projection_sees_normed_features() -> None:
    """The mean of a layer norm's output has no gradient; its projection has."""
    gradients = []
    for loss in (torch.mean, projection):
        x = torch.randn(2, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss(nn.functional.layer_norm(x, (16,))).backward()
        assert x.grad is not None
        gradients.append(x.grad.norm().item())
    assert gradients[0] < 1e-6
    assert gradients[1] > 1e-3


def test_listing_imports_nothing() -> None:
    """Names are known without torch and without timm."""
    code = (
        "import sys\nfrom runner.loaders.timm import Timm\nassert len(Timm().names()) > 1000\n"
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading opens no connection, also for a name with a tag of pretrained weights."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load("deit_tiny_patch16_224.fb_in1k", device="meta")


def test_patterns_search_all_of_timm(cli) -> None:
    """A pattern finds models that are not listed; `all` means the listed ones; a misspelt name gets a suggestion."""
    found = cli("suite=timm", "model=test_vit*", "plan=true", "backend=eager")
    assert found.returncode == 0, found.stderr
    assert "test_vit_relpos" in found.stdout
    everything = cli("suite=timm", "plan=true", "backend=eager")
    assert "xcit_large_24_p8_224" in everything.stdout
    assert "test_vit" not in everything.stdout
    wrong = cli("suite=timm", "model=vit_base_patch16_225")
    assert wrong.returncode == 2
    assert "vit_base_patch16_224" in wrong.stderr


@pytest.mark.models
def test_a_run(cli, tmp_path: Path) -> None:
    """A tiny model trains in bf16 autocast and gets a row."""
    few = ("measure=quick", "measure.max_pairs=10", "measure.warmup_max_pairs=3", "measure.retry_unconverged=0")
    what = ("suite=timm", "model=test_convnext", "backend=eager", "mode=training", "precision=amp_bf16", "batch_size=2")
    done = cli(*what, *few, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert "timm" in (tmp_path / "out" / "speedup.csv").read_text()
