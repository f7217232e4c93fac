"""A package of somebody else's adds a suite, a backend, a device and an experiment; a broken one does no harm."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

from runner.results.reader import read_run

ROOT = Path(__file__).parent.parent
CODE = '''
"""What a vendor would write."""

from __future__ import annotations

from dataclasses import dataclass

from runner.devices.cpu import Cpu
from runner.experiment import Experiment
from runner.results.columns import Column, Phase
from runner.workload import Workload


@dataclass
class VendorSuite:
    width: int = 4

    def names(self):
        return ("tiny", "small")

    def load(self, name, request):
        import torch

        torch.manual_seed(request.seed)
        return Workload(name, torch.nn.Linear(self.width, 2), (torch.ones(3, self.width),), batch_size=3)


@dataclass
class VendorBackend:
    factor: float = 2.0

    def prepare(self, workload):
        return lambda *args: workload.model(*args) * self.factor


@dataclass
class VendorDevice(Cpu):
    type: str = "vendor_device"

    def __post_init__(self):
        self._resident_at_reset = 0

    def facts(self):
        return {"device_name": "Vendor 1", "device_uuid": "V-1"}


@dataclass
class VendorExperiment(Experiment):
    """The ratio of the outputs."""

    columns = (Column("ratio", float, "", "backend's output over eager's", headline=True),)

    digits: int = 3

    def run(self, workload, context):
        with context.phase(Phase.EAGER):
            eager = workload.step(workload.model).output
        with context.phase(Phase.COMPILE):
            output = workload.step(context.backend.prepare(workload)).output
        yield {"ratio": round(float((output / eager).mean()), self.digits)}
'''
ENTRY_POINTS = """
[runner.loaders]
vendor_suite = vendor_plugin:VendorSuite

[runner.backends]
vendor_backend = vendor_plugin:VendorBackend

[runner.devices]
vendor_device = vendor_plugin:VendorDevice

[runner.experiments]
vendor_experiment = vendor_plugin:VendorExperiment
"""
CONFIGS = {
    "suite/vendor_suite.yaml": "defaults:\n  - /schema/suite/vendor_suite@_here_\n",
    "backend/vendor_backend.yaml": "defaults:\n  - /schema/backend/vendor_backend@_here_\n",
    "device/vendor_device.yaml": "type: vendor_device\n",
    "experiment/vendor_experiment.yaml": (
        "defaults:\n  - /schema/experiment/vendor_experiment@_here_\n  - /backend@_global_.backend: vendor_backend\n"
    ),
}
WORDS = (*("suite=vendor_suite", "experiment=vendor_experiment", "device=vendor_device"),)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def install(site: Path, name: str, code: str, entry_points: str) -> None:
    """Install a distribution of one module."""
    (site / f"{name}.py").write_text(textwrap.dedent(code))
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


def paths(site: Path) -> dict[str, dict[str, str]]:
    """The environment in which the folder's packages can be imported."""
    return {"env": {"PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}}


def test_one_of_each_runs(cli: Any, tmp_path: Path, site: Path) -> None:
    """Suite, backend, device and experiment of a package, with its own configuration, without a change here."""
    install(site, "vendor_plugin", CODE, ENTRY_POINTS)
    for name, text in CONFIGS.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text)
    words = ("--config-dir", "conf", *WORDS, "backend.factor=3", "suite.width=5", "hydra.run.dir=out")
    done = cli(*words, **paths(site))
    assert done.returncode == 0, done.stderr
    rows = read_run(tmp_path / "out").rows
    assert [(row["name"], row["ratio"], row["batch_size"]) for row in rows] == [("tiny", 3.0, 3), ("small", 3.0, 3)]
    for row in rows:
        assert (row["dev"], row["device_name"], row["device_uuid"]) == ("vendor_device", "Vendor 1", "V-1")
        assert all(row[group] == f"vendor_{group}" for group in ("suite", "backend", "experiment"))
    assert "Key 'fcator' not in 'VendorBackend'" in cli(*words, "backend.fcator=1", **paths(site)).stderr


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("broken = no_colon_here", "'no_colon_here' is not module:Class"),
        ("broken = spaces in it:Class", "is not module:Class"),
        ("broken = vendor_plugin:VendorSuite\n[runner.backends]\nbroken = vendor_plugin:", "is not module:Class"),
    ],
)
def test_a_broken_entry_point_is_a_warning(cli: Any, site: Path, entry: str, words: str) -> None:
    """It is named, and everything else works."""
    install(site, "vendor_plugin", CODE, f"[runner.loaders]\n{entry}\n")
    done = cli("plan=true", "model=mlp", **paths(site))
    assert done.returncode == 0, done.stderr
    assert "broken" in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_two_plugins_of_one_name(cli: Any, site: Path) -> None:
    """The second one is ignored, and both are named."""
    install(site, "vendor_plugin", CODE, "[runner.loaders]\nsame = vendor_plugin:VendorSuite\n")
    install(site, "other_plugin", CODE, "[runner.loaders]\nsame = other_plugin:VendorSuite\n")
    done = cli("plan=true", "model=mlp", **paths(site))
    assert done.returncode == 0
    assert "vendor_plugin:VendorSuite" in done.stderr
    assert "other_plugin:VendorSuite" in done.stderr


def test_a_plugin_that_cannot_be_imported(cli: Any, tmp_path: Path, site: Path) -> None:
    """Others don't notice; whoever chooses it reads why in one sentence."""
    install(site, "vendor_plugin", "raise OSError('no licence')", ENTRY_POINTS)
    for name, text in CONFIGS.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text)
    assert cli("--config-dir", "conf", "plan=true", "model=mlp", **paths(site)).returncode == 0
    for group in ("suite", "backend", "experiment", "device"):
        done = cli("--config-dir", "conf", f"{group}=vendor_{group}", "plan=true", **paths(site))
        assert done.returncode == 2, (group, done.stderr)
        assert "vendor_plugin" in done.stderr
        assert "no licence" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_plugin_without_the_class(cli: Any, tmp_path: Path, site: Path) -> None:
    """An entry point that names nothing is said to."""
    install(site, "vendor_plugin", "", ENTRY_POINTS)
    (tmp_path / "conf" / "suite").mkdir(parents=True)
    (tmp_path / "conf" / "suite" / "vendor_suite.yaml").write_text(CONFIGS["suite/vendor_suite.yaml"])
    done = cli("--config-dir", "conf", "suite=vendor_suite", "plan=true", **paths(site))
    assert done.returncode == 2
    assert "'vendor_plugin.VendorSuite' is not a dataclass" in done.stderr
