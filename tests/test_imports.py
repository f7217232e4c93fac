"""Who may import whom, and that nothing loads torch before a child needs it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("runner", "experiments")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
#: Imported or run in the parent: no torch, not even through what they import at their top.
LIGHT = (
    *("runner.app", "runner.launch", "runner.resume", "runner.cells", "runner.planning", "runner.execute"),
    *("runner.results", "runner.report", "runner.measure.statistics", "runner.measure.settings", "runner.worker"),
    *("runner.devices", "runner.environment", "runner.registry", "runner.catalog", "experiments"),
)
POISON = "raise RuntimeError('torch was imported')"


def imports(path: Path, top_only: bool = False) -> Iterator[str]:
    """Modules that a file imports; with `top_only` those that its own import loads."""
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), top_only):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in FILES)


def walk(tree: ast.AST, top_only: bool) -> Iterator[ast.AST]:
    """All nodes; with `top_only` not those in functions, nor those for the type checker."""
    for node in ast.iter_child_nodes(tree):
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if top_only and (deferred or typing_only):
            continue
        yield node
        yield from walk(node, top_only)


def under(module: str, *packages: str) -> bool:
    """Whether a module is in one of the packages."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def loaded(module: str, seen: set[str]) -> Iterator[str]:
    """Everything that importing one of our modules loads, at its top and through ours."""
    for name in imports(FILES[module], top_only=True):
        yield name
        parts = name.split(".")
        for parent in (".".join(parts[: i + 1]) for i in range(len(parts))):
            if parent in FILES and parent not in seen:
                seen.add(parent)
                yield from loaded(parent, seen)


@pytest.mark.parametrize("module", [m for m in FILES if under(m, "runner")])
def test_the_runner_names_no_experiment(module: str) -> None:
    """From experiments to runner, never back; also not in a string, but for the package that the registry looks in."""
    assert not [name for name in imports(FILES[module]) if under(name, "experiments")]
    texts = [n.value for n in ast.walk(ast.parse(FILES[module].read_text())) if isinstance(n, ast.Constant)]
    assert not [text for text in texts if isinstance(text, str) and text.startswith("experiments.")]


@pytest.mark.parametrize("module", [m for m in FILES if under(m, "experiments")])
def test_experiments_use_the_public_pieces(module: str) -> None:
    """An experiment reaches neither Hydra nor the machinery around it."""
    closed = ("hydra", *(f"runner.{m}" for m in ("app", "launch", "execute", "planning", "worker", "catalog")))
    assert not [name for name in imports(FILES[module]) if under(name, *closed)]
    others = {m for m in FILES if under(m, "experiments") and m not in (module, "experiments")}
    assert not others & set(imports(FILES[module]))


@pytest.mark.parametrize("module", [m for m in FILES if under(m, "runner.measure")])
def test_the_measuring_engine_stands_alone(module: str) -> None:
    """runner.measure imports neither Hydra nor the rest of the runner."""
    names = [name for name in imports(FILES[module]) if under(name, "hydra", "omegaconf", "runner", "experiments")]
    assert [name for name in names if not under(name, "runner.measure")] == []


@pytest.mark.parametrize("module", [m for m in FILES if under(m, *LIGHT)])
def test_the_parent_loads_no_torch(module: str) -> None:
    """Importing it loads neither torch nor pandas nor scipy's statistics, directly or through others of ours."""
    heavy = [name for name in loaded(module, {module}) if under(name, "torch", "pandas", "scipy.stats", "torchvision")]
    assert heavy == []


@pytest.mark.parametrize("module", [m for m in FILES if not under(m, "runner.devices", "runner.measure")])
def test_only_devices_know_cuda(module: str) -> None:
    """No comparison with "cuda" outside the devices and the engine's probes."""
    compared = [n for n in ast.walk(ast.parse(FILES[module].read_text())) if isinstance(n, ast.Compare)]
    constants = [c.value for n in compared for c in ast.walk(n) if isinstance(c, ast.Constant)]
    assert "cuda" not in constants


def test_importing_statistics_is_light() -> None:
    """The engine's statistics need numpy and scipy.special, and no more."""
    heavy = ["torch", "pandas", "scipy.stats", "hydra"]
    code = f"import sys, runner.measure.statistics; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("--cfg", "job"), 0),
        (("--info", "defaults"), 0),
        (("model=mpl",), 2),
        (("backend=inducto",), 2),
        (("plan=true",), 0),
        (("--multirun", "model=mlp,convnet", "mode=training", "plan=true"), 0),
        (("suite=torchbench", "model=resnet*", "plan=true"), 0),
        (("resume",), 2),
        (("resume", "nowhere"), 2),
        (("resume", "--help"), 0),
    ],
    ids=str,
)
def test_torch_stays_unimported(cli: Any, tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    """These answer with a torch that can't be imported."""
    (tmp_path / "poison" / "torch").mkdir(parents=True)
    (tmp_path / "poison" / "torch" / "__init__.py").write_text(POISON)
    (tmp_path / "poison" / "torch" / "version.py").write_text("__version__ = '9.9'\n")
    done = cli(*words, env={"PYTHONPATH": os.pathsep.join([str(tmp_path / "poison"), str(ROOT)])})
    assert done.returncode == code, done.stderr
    assert "torch was imported" not in done.stderr
