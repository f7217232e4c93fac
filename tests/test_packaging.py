"""The wheel works from anywhere and leaves an installed torch alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAKE = "2.14.0a0+git"


def test_every_package_is_declared():
    """A folder with Python modules that pyproject.toml does not name would be missing from the wheel."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for top in ("runner", "experiments") for path in (ROOT / top).rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert found | {"runner.conf"} == set(declared)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and a torch that no index has; other packages come from the outer one."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*pip, str(source)], check=True)
    home = folder / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    site = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    outer = Path(os.__file__).parent / "site-packages"
    own = [p for p in sys.path if p.endswith("site-packages")]
    (site / "outer.pth").write_text("\n".join([*own, str(outer)]))
    fake = site / f"torch-{FAKE}.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {FAKE}\n")
    (fake / "RECORD").write_text("")
    wheel = next(folder.glob("*.whl"))
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-index", str(wheel)], check=True)
    return home


@pytest.mark.slow
def test_installing_leaves_torch_alone(installed: Path):
    """pip finds the source build good enough and changes nothing about it."""
    code = "import importlib.metadata as m; print(m.version('torch'))"
    found = subprocess.run([installed / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == FAKE


@pytest.mark.slow
def test_the_wheel_works_from_anywhere(installed: Path, tmp_path: Path):
    """conf/ is inside the wheel: composition, help and a plan need no checkout."""
    runner = installed / "bin" / "runner"
    for arguments in (["--cfg", "job"], ["--help"], ["plan=true"]):
        done = subprocess.run([runner, *arguments], cwd=tmp_path, capture_output=True, text=True, env=_clean())
        assert done.returncode == 0, done.stderr
    assert "3 cells" in done.stdout


@pytest.mark.slow
def test_completion_of_the_console_script(installed: Path, tmp_path: Path):
    """`runner model=m<TAB>` completes to the suite's names."""
    query = {**_clean(), "COMP_LINE": "runner suite=torchbench model=res", "COMP_POINT": "33"}
    command = [installed / "bin" / "runner", "-sc", "query=bash"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=query)
    assert {"model=resnet18", "model=resnet50"} <= set(done.stdout.split())


def _clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
