"""The documentation: its commands and examples run, its links lead somewhere, its tables say what the code says."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from runner.measure import measurement
from runner.measure.settings import Measure
from runner.measure.statistics import hodges_lehmann
from runner.results.columns import Phase, Status
from runner.worker.limits import Limits
from runner.workload import Policy

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")] + sorted(DOCS.glob("*.md"))
READMES = [ROOT / folder / "README.md" for folder in ("conf", "runner", "experiments")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: What is run instead of a command, always. `make` gets this Python; the tests don't call themselves or a registry.
INSTEAD = {
    "make run": "make run PYTHON={python} ARGS=plan=true",
    "make test": "make -n test PYTHON={python}",
    'make run ARGS="suite=demo model=mlp"': 'make run PYTHON={python} ARGS="suite=demo model=mlp plan=true"',
    "PYTHON=/path/python make run": "PYTHON={python} make run ARGS=plan=true",
    "pip install -e .": "python -c 'import acme.kernels'",
}
#: By default a command only makes its plan (`plan=true`), unless it has one of these words: then it runs, with FEW.
RUN_BY_DEFAULT = ("hydra.run.dir=results/", "experiment.steps=2", "backend=inference_mode")
#: These have no plan.
RUN_AS_THEY_ARE = ("--help", "--cfg", "--info", " resume ", " report ", " watch ", " compare ", " rerun ", " history ", " models ")
#: Few pairs; by default also one model and no compiler where the command names no backend.
FEW = "measure.max_pairs=10 measure.warmup_max_pairs=3 measure.retry_unconverged=0"
#: With `-m slow` every command runs, with FEW, and with smaller models in the place of these.
SMALLER = {
    "suite=torchbench measure=quick": "suite=torchbench model=lennard_jones measure=quick",
    "'model=resnet*' mode=training backend.mode=max-autotune": "'model=lennard*' backend.mode=max-autotune",
    "'model=resnet*' mode=training": "'model=lennard*' mode=training",
    "'model=glob([resnet*,vgg*])'": "'model=glob([lennard*,phlippe*])'",
    "model=resnet18,hf_Bert": "model=lennard_jones,phlippe_resnet",
    "measure=rigorous": "measure.processes=2",
    "experiment=selftest": "experiment=selftest experiment.repeats=4",
}


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Texts of the fenced blocks in these languages."""
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield text


def commands(page: Path) -> list[str]:
    """What stands behind the prompts."""
    return [line[2:] for text in blocks(page, "console") for line in text.splitlines() if line.startswith("$ ")]


def files(page: Path) -> dict[str, str]:
    """Example files by their path, which is the block's first line, as a comment."""
    found = (
        re.match(r"# ([\w./]+\.(?:py|yaml|toml))\n", text) and text for text in blocks(page, "python", "yaml", "toml")
    )
    return {text.splitlines()[0][2:]: text for text in found if text}


def write_files(page: Path, folder: Path) -> None:
    """Write the page's example files, and what installing them would: the metadata of the distribution."""
    for name, text in files(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    if (folder / "pyproject.toml").exists():
        install(folder)


def install(folder: Path) -> None:
    """The distribution of `folder`/pyproject.toml, without pip: PYTHONPATH finds it."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = folder / f"{project['name']}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = (
        f"[{group}]\n" + "\n".join(f"{name} = {target}" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (metadata / "entry_points.txt").write_text("\n\n".join(groups))


def planned(command: str) -> str:
    """What the default suite runs for `command`."""
    if not command.startswith("python -m runner") or any(word in f"{command} " for word in RUN_AS_THEY_ARE):
        return command
    if any(word in command for word in RUN_BY_DEFAULT):
        own_model = "model=" in command or "suite=" in command
        fewer = ("" if own_model else " model=mlp") + ("" if uses_backend(command) else " backend=eager")
        return f"{command} {FEW} isolation=none{fewer}"
    return f"{command} plan=true"


def uses_backend(command: str) -> bool:
    """Whether it names a backend, or an experiment that has none."""
    return "backend=" in command or "experiment=operator_count" in command


def shortened(command: str) -> str:
    """What `-m slow` runs for `command`."""
    if not command.startswith("python -m runner") or any(word in f"{command} " for word in RUN_AS_THEY_ARE):
        return command
    for words, smaller in SMALLER.items():
        if words in command:
            command = command.replace(words, smaller)
            break
    return f"{command} {FEW}"


def run(command: str, folder: Path, paths: list[Path], timeout_s: float) -> str:
    """Run a command line of the documentation in `folder`; `make` in the checkout. Returns what it printed."""
    line = INSTEAD.get(command, command).format(python=sys.executable) if command in INSTEAD else command
    done = subprocess.run(
        ["bash", "-c", f'python() {{ "{sys.executable}" "$@"; }}\n{line}'],
        cwd=ROOT if "make " in line else folder,
        # Device leases are files in TMPDIR: with its own, the test doesn't wait for other runs on this machine.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"$ {line}\n{done.stdout}"
    return done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_commands(page: Path, tmp_path: Path) -> None:
    """Every command of a page succeeds, in order, with the page's example files in the working directory."""
    write_files(page, tmp_path)
    for command in commands(page):
        run(planned(command), tmp_path, [ROOT, tmp_path], timeout_s=300)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_commands_for_real(page: Path, tmp_path: Path) -> None:
    """Every command of a page measures what it says, with few pairs."""
    write_files(page, tmp_path)
    for command in commands(page):
        run(shortened(command), tmp_path, [ROOT, tmp_path], timeout_s=1800)


def test_examples_work_inside_the_project(tmp_path: Path) -> None:
    """The files of a third-party package do the same in the places that this project has for them."""
    for name in ("runner", "experiments", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    homes = {"kernels": "runner/loaders", "inference_mode": "runner/backends", "npu": "runner/devices"}
    for name, text in files(DOCS / "adding.md").items():
        path = Path(name)
        home = tmp_path / homes.get(path.stem, "experiments") if path.parent.name == "acme" else tmp_path / path.parent
        home.joinpath(path.name).write_text(text, encoding="utf-8")
    run("python -m runner suite=kernels experiment=operator_count device=npu", tmp_path, [tmp_path], timeout_s=300)
    run("python -m runner suite=kernels backend=inference_mode plan=true", tmp_path, [tmp_path], timeout_s=300)


def test_the_example_statistic_is_ours(tmp_path: Path) -> None:
    """The script that recomputes a speedup from the samples finds the row's."""
    write_files(DOCS / "results.md", tmp_path)
    rng = np.random.default_rng(0)
    a, b = rng.lognormal(0, 0.1, 20), rng.lognormal(0.2, 0.1, 20)
    np.savez(tmp_path / "samples.npz", tA_0=a, tB_0=b)
    printed = run("python speedup_of.py samples.npz", tmp_path, [ROOT], timeout_s=60)
    assert float(printed.split()[1]) == pytest.approx(np.exp(hodges_lehmann(np.log(a / b)).center))


@pytest.mark.parametrize("page", [*PAGES, *READMES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Every relative link leads to a file, and to a heading of it where it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """What headings are called in links: lower case, without punctuation, spaces as hyphens."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_results_page_is_current() -> None:
    """docs/results.md has the columns that the code declares."""
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    assert generator().refreshed(page) == page, "docs/results.md is out of date: run `python docs/generate.py`"


def generator() -> ModuleType:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(page: Path, first: str) -> list[list[str]]:
    """Rows of the table whose head starts with `first`, without backticks; several names in a row are several rows."""
    text = page.read_text(encoding="utf-8")
    head = re.search(rf"^\| *{re.escape(first)} *\|.*\n\|[-|]+\n", text, re.MULTILINE)
    assert head, f"{page} has no table that starts with {first!r}"
    lines = text[head.end() :].split("\n\n", 1)[0].splitlines()
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|"))
    return [[name.strip(" `"), *rest] for name_cell, *rest in rows for name in name_cell.split(",")]


def shown(value: Any) -> str:
    """A default as the pages write it."""
    value = value.value if isinstance(value, Enum) else value
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if value != 1 else str(value).lower()


def test_parameters() -> None:
    """The table of measure.* has every field in order, with its default and what the presets make of it."""
    presets = [
        yaml.safe_load((ROOT / "conf" / "measure" / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("quick", "rigorous")
    ]
    expected = [
        [f.name, shown(f.default), *(shown(preset[f.name]) if f.name in preset else "" for preset in presets)]
        for f in dataclasses.fields(Measure)
    ]
    rows = table(DOCS / "measuring.md", "name")
    assert [[row[0], *(cell.strip("`") for cell in row[1:4])] for row in rows] == expected


def test_tables_of_concepts() -> None:
    """Statuses, policy, limits and choices are those of the code."""
    page = DOCS / "concepts.md"
    assert [row[0] for row in table(page, "status")] == [status.value for status in Status]
    assert {row[0] for row in table(page, "policy")} == {f.name for f in dataclasses.fields(Policy)}
    limits = {row[0]: row[1] for row in table(page, "`limits.`")}
    assert limits == {f.name: shown(f.default).removesuffix(".0") for f in dataclasses.fields(Limits)}
    for group in ("suite", "experiment", "backend"):
        choices = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
        assert {row[0] for row in table(page, group)} == choices
    assert all(f"`{phase.value}`" in page.read_text(encoding="utf-8") for phase in Phase)


def test_flags() -> None:
    """The table of flags has every word of the engine, the check and speedup; other experiments' are on some page."""
    documented = {row[0] for row in table(DOCS / "measuring.md", "flag")}
    own = {path.stem: flags_of_an_experiment(path) for path in (ROOT / "experiments").glob("*.py")}
    assert flags_of_the_engine() | flags_of_the_check() | own["speedup"] <= documented
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    assert {"short_check", "nothing_to_minify", "search_cut_short"} <= set().union(*own.values())
    assert [word for word in set().union(*own.values()) if f"`{word}`" not in pages] == []


def flags_of_the_engine() -> set[str]:
    """Keys of the dictionaries `words`, and NOISE."""
    tree = ast.parse(Path(measurement.__file__).read_text(encoding="utf-8"))
    assigned = [n for n in ast.walk(tree) if isinstance(n, ast.Assign) and isinstance(n.value, ast.Dict)]
    keys = [key for n in assigned if ast.unparse(n.targets[0]) == "words" for key in n.value.keys]  # type: ignore[attr-defined]
    return {flag for _, _, flag in measurement.NOISE} | {ast.literal_eval(key) for key in keys if key is not None}


def flags_of_the_check() -> set[str]:
    """First arguments of `_flag`, those that are plain words."""
    tree = ast.parse((ROOT / "runner" / "check.py").read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "self._flag"]
    return {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}


def flags_of_an_experiment(path: Path) -> set[str]:
    """Words in the arguments of `note_flags` and `join_flags`, written there or as constants of the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        ast.unparse(n.targets[0]): n.value.value
        for n in tree.body
        if isinstance(n, ast.Assign) and isinstance(n.value, ast.Constant)
    }
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    noted = [n for n in calls if ast.unparse(n.func).rsplit(".", 1)[-1] in ("note_flags", "join_flags")]
    parts = [part for call in noted for argument in call.args for part in ast.walk(argument)]
    said = [constants.get(p.id) if isinstance(p, ast.Name) else getattr(p, "value", None) for p in parts]
    return {word for word in said if isinstance(word, str) and word not in ("", "flags")}
