"""The command line as a user types it: what composes, what is refused, and how it is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from runner.results.reader import read_run

Toys = tuple[str, str]
BARE_GLOB = (*("--multirun", "model=glob(*)"),)


def said(done: Any, code: int = 2) -> str:
    """The sentence with which a command was refused: one line, and no traceback anywhere."""
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    assert not re.search("^Traceback", text, re.MULTILINE), text
    (line,) = done.stderr.splitlines()
    return str(line)


def names(done: Any) -> list[str]:
    """First words of the lines that plan=true prints for the cells that would run."""
    assert done.returncode == 0, done.stderr
    return [line.split()[0] for line in done.stdout.splitlines() if re.search(r"[0-9a-f]{12} .*\brun\s*$", line)]


#: What is typed wrongly -> a part of what is said.
MISTAKES = {
    ("bakend=eager",): "Key 'bakend' not in 'Config'. Did you mean: backend?",
    ("measure.max_pair=5",): "Key 'max_pair' not in 'Measure'. Did you mean: max_pairs",
    ("experiment.repet=5",): "Key 'repet' not in 'Speedup'",
    ("measure.min_pairs=five",): "could not be converted to Integer",
    ("experiment.cache=hot",): "Invalid value 'hot', expected one of [cold, warm]",
    ("backend=inducto",): "No backend named 'inducto'. Did you mean: inductor",
    ("suite=demoo",): "No suite named 'demoo'. Did you mean: demo?",
    ("experiment=spedup",): "No experiment named 'spedup'. Did you mean: speedup?",
    ("suite=torchbench", "model=resnet81"): "No model named 'resnet81'. Did you mean: resnet18",
    ("model=zz*",): "model=zz* matches no model of suite demo",
    ("model=mlp,convnet",): "add --multirun",
    ("model=[mlp,convnet]",): "model takes one name",
    ("model=mlp", "model=convnet"): "model takes one name",
    ("model=m*", "select.exclude=mlp"): "no cell selected",
    ("~backend",): "give backend=NAME",
    ("experiment=selftest", "backend=eager"): "'backend' is no group, or one that this experiment does not use",
    ("op=x",): "Key 'op' not in 'Config'",
    ("experiment.op=x",): "Key 'op' not in 'Speedup'",
    ("suite.fuser=foo",): "Key 'fuser' not in 'Demo'",
    ("backend.nmae=eager", "backend=dynamo"): "Key 'nmae' not in 'Dynamo'",
    ("+foo=1",): "Key 'foo' not in 'Config'",
    ("+experiment.foo=1",): "Key 'experiment.foo' not in 'Speedup'",
    ("+measure.foo=1",): "Key 'measure.foo' not in 'Measure'",
    ("++policy.foo=1",): "Key 'policy.foo' not in 'Policy'",
    ("policy.batch_size_inference=0",): "policy.batch_size_inference is 0: it must be at least 1",
    ("policy.tolerance=-1",): "policy.tolerance is -1.0: it must be at least 0",
    ("prewarm=-1", "plan=true"): "prewarm=-1: give the number",
    ("++model.policy.foo=1",): "Key 'foo' not in 'Policy'",
    ("model=null",): "model=null",
    ("backend=null",): "backend=null: choose one of its configurations: aot_eager",
    ("~experiment",): "experiment has no value",
    ("~model",): "model.name has no value",
    ("seed=x",): "could not be converted to Integer",
    ("isolation=none", "measure.processes=2", "backend=eager"): "isolation=none has one process for all",
    ("isolation=none", "experiment=compile_time"): "isolation=none has one process for all",
    ("isolation=thread",): "expected one of [fork, spawn, none]",
    ("batch_size=0",): "batch_size=0: give `suite` or a whole number above 0",
    ("batch_size=many",): "batch_size=many",
    ("limits.cell_s=-1",): "limits.cell_s=-1.0: give a number above 0",
    ("measure.rel_ci=2",): "measure.rel_ci is 2.0: it must be above 0 and below 1",
    ("measure.threads=4096",): "measure.threads is 4096",
    **{
        (f"experiment={name}", "measure=rigorous"): f"experiment={name} chooses its processes itself, add measure.proces"
        for name in ("overhead", "selftest", "compile_time")
    },
    ("device=cpu", "device.index=1"): "device.index=1",
    ("device=tpu",): "No device named 'tpu'",
    ("select.include=[^resnet]",): '\'select.include=["^resnet","bert$"]\'',
    ('select.include=["("]',): "'(' is not a regular expression",
    ("select.include=5",): "select.include=5",
    ("select.exclude=.",): "no cell selected",
    ("resume=never",): "expected one of [missing, failed, all]",
    ("resume=missing",): "holds no run to continue",
    ("resumee", "DIR"): "neither a subcommand nor KEY=VALUE",
    ("experiment.baseline=/nowhere",): "experiment.baseline=/nowhere: there is no such file or folder",
    ("suite=module",): "suite=module needs both suite.path",
    ("suite=module", "suite.path=net.py", "suite.class_name=Net"): "suite.path: there is no file",
    ("experiment._target_=os.system",): "outside the registered packages",
    ("suite._target_=subprocess.Popen",): "outside the registered packages",
    ("backend._target_=toys_of_others.Evil",): "outside the registered packages",
    ("--config-dir", "/nowhere"): "'/nowhere' not found",
    ("hydra/launcher=rocket",): "No hydra/launcher named 'rocket'",
    ("--multirun", "model=mlp,nlp"): "No model named 'nlp'. Did you mean: mlp?",
    ("--multirun", "model=mlp", "backend=eager,eagre"): "No backend named 'eagre'. Did you mean: eager",
}


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_is_one_sentence(cli: Any, tmp_path: Path, words: tuple[str, ...]) -> None:
    """What was given, what is allowed; exit 2, nothing measured."""
    assert MISTAKES[words] in said(cli(*words))
    assert not list(tmp_path.rglob("run.json"))


def test_a_target_is_refused_before_it_is_imported(cli: Any, tmp_path: Path) -> None:
    """A module that nobody registered is not even imported."""
    (tmp_path / "evil.py").write_text("open('was_here', 'w')")
    said(cli("experiment._target_=evil.Evil", env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parent.parent}"}))
    assert not (tmp_path / "was_here").exists()


def test_an_empty_glob_is_bad_usage(cli: Any) -> None:
    """A sweep that started nothing is exit 2, planned or not."""
    for more in ((), ("plan=true",)):
        assert "empty" in said(cli("--multirun", "model=glob(zz*)", *more))


def test_a_task_of_another_experiment(cli: Any, toys: Toys) -> None:
    """Naming an experiment and a task that is not its own: the task's key is not in it."""
    assert "Key 'task' not in 'Toy'" in said(cli(*toys, "experiment=toy", "task=one"))


def test_a_group_that_the_experiment_does_not_use(cli: Any, toys: Toys) -> None:
    """A group that is not pulled in is refused, in a sweep over several experiments too."""
    assert "'precision'" in said(cli(*toys, "experiment=toy_noop", "precision=bf16"))
    assert "precision" in said(cli(*toys, "--multirun", "experiment=toy,toy_noop", "precision=bf16"))


def test_a_wrong_key_in_a_file(cli: Any, tmp_path: Path) -> None:
    """A misspelt key in one's own YAML is named with the file."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(
        "defaults:\n  - /schema/experiment/speedup@_here_\n  - _self_\nexplian: true\n"
    )
    line = said(cli("--config-dir", "conf", "experiment=mine"))
    assert "experiment/mine" in line
    assert "Key 'explian' not in 'Speedup'" in line


def test_a_broken_yaml_file(cli: Any, tmp_path: Path) -> None:
    """A file that is no YAML is named."""
    (tmp_path / "conf" / "measure").mkdir(parents=True)
    (tmp_path / "conf" / "measure" / "mine.yaml").write_text("rel_ci: [\n")
    done = cli("--config-dir", "conf", "measure=mine")
    assert done.returncode == 2
    assert "mine.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_arguments_the_demo_is_planned(cli: Any) -> None:
    """Nothing typed means suite demo, all models, speedup, inductor."""
    done = cli("plan=true")
    assert names(done) == ["mlp", "convnet", "transformer"]
    assert {"demo", "speedup", "inductor"} <= set(done.stdout.split())


def test_all_models_of_a_suite_in_one_run(cli: Any) -> None:
    """`model=all` means the listed ones."""
    found = names(cli("suite=torchbench", "experiment=speedup", "backend=inductor", "plan=true"))
    assert {"resnet18", "alexnet", "nanogpt", "hf_Bert"} <= set(found)


def test_a_pattern_is_expanded_inside(cli: Any) -> None:
    """One run, several cells."""
    assert names(cli("suite=torchbench", "model=resnet*", "plan=true")) == ["resnet152", "resnet18", "resnet50"]


def test_a_glob_makes_a_job_each(cli: Any) -> None:
    """`glob(...)` sees the chosen suite's names."""
    done = cli("suite=torchbench", "model=glob([resnet*,vgg*])", "--multirun", "plan=true")
    assert names(done) == ["resnet152", "resnet18", "resnet50", "vgg16"]
    assert done.stdout.count("nothing was started") == 4


def test_a_bare_glob_means_the_listed_models(cli: Any, toys: Toys) -> None:
    """`glob(*)` and a bare star leave out what the suite knows and does not list; another glob finds it."""
    words = (*toys, "suite=toy_suite", "experiment=toy_noop", "plan=true")
    assert names(cli(*words, *BARE_GLOB)) == ["toy1"]  # toy2 is skipped
    assert names(cli(*words, "model=*")) == ["toy1"]
    assert names(cli(*words, "--multirun", "model=glob(toy*)")) == ["toy1", "toy_hidden"]
    assert names(cli(*words, "model=toy_h*")) == ["toy_hidden"]
    assert names(cli(*words, "model=toy_hidden")) == ["toy_hidden"]


def test_fields_of_the_suite_decide_its_names(cli: Any, toys: Toys) -> None:
    """`suite.FIELD=` is known to the catalogue before Hydra composes."""
    words = (*toys, "suite=toy_suite", "experiment=toy_noop", "suite.prefix=other", "plan=true")
    assert names(cli(*words, "model=other1")) == ["other1"]
    assert "No model named 'toy_hidden'" in said(cli(*words, "model=toy_hidden"))


@pytest.mark.parametrize(
    "words",
    [
        ("--multirun", "model=glob([m*])", "backend=eager,inductor"),
        ("model=glob([m*])", "--multirun", "backend=eager,inductor"),
        ("model=glob([m*])", "backend=eager,inductor", "-m"),
    ],
    ids=" ".join,
)
def test_flags_before_between_and_after(cli: Any, words: tuple[str, ...]) -> None:
    """Hydra's flags may stand anywhere."""
    assert names(cli(*words, "plan=true")) == ["mlp", "mlp"]


def test_flags_with_values_after_overrides(cli: Any, toys: Toys) -> None:
    """So may those that take a value."""
    done = cli("experiment=toy", "--cfg", "job", *toys, "suite=toy_suite", "-p", "experiment")
    assert done.returncode == 0, done.stderr
    assert "steps: 1" in done.stdout


def test_a_task_sets_suite_and_experiment(cli: Any, toys: Toys) -> None:
    """`task=` alone composes suite, experiment and the experiment's task; another side is switched on with backend."""
    done = cli(*toys, "--multirun", "task=one,two", "model=toy1,toy_hidden", "plan=true")
    assert names(done) == ["toy1", "toy_hidden", "toy1", "toy_hidden"]
    assert {"toy_suite", "toy_tasks", "one", "two"} <= set(done.stdout.split())
    assert "eager" in cli(*toys, "task=one", "backend=eager", "model=toy1", "plan=true").stdout


def test_recommended_tasks_are_expanded_inside(cli: Any, toys: Toys) -> None:
    """Without a task, a model stands for one cell per task."""
    done = cli(*toys, "experiment=toy_tasks", "suite=toy_suite", "model=toy1", "plan=true")
    assert names(done) == ["toy1", "toy1"]


def test_a_sweep_over_experiments_and_backends(cli: Any, toys: Toys) -> None:
    """Four jobs, each with its own experiment and backend."""
    done = cli(*toys, "--multirun", "experiment=toy,speedup", "backend=inductor,eager", "model=mlp", "plan=true")
    assert names(done) == ["mlp"] * 4


def test_a_sweep_over_suites(cli: Any, tmp_path: Path, toys: Toys) -> None:
    """A name that one of the suites knows is a row `skipped` in the others."""
    words = (*toys, "--multirun", "suite=demo,toy_suite", "model=toy1", "experiment=toy_noop", "isolation=none")
    done = cli(*words, "hydra.sweep.dir=out")
    rows = read_run(tmp_path / "out").rows
    assert done.returncode == 0, done.stderr
    assert [(row["suite"], row["status"]) for row in rows] == [("demo", "skipped"), ("toy_suite", "ok")]
    assert rows[0]["accuracy"] == "pass_due_to_skip"
    assert "suite demo has no model toy1" in rows[0]["error"]
    assert {"toy_noop.csv", "sweep.csv", "sweep.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_name_that_no_suite_knows(cli: Any, toys: Toys) -> None:
    """It is bad usage in a sweep over suites too, and before the first job."""
    assert "No model named 'toy9'" in said(cli(*toys, "--multirun", "suite=demo,toy_suite", "model=toy9"))


def test_a_model_file_of_the_user_wins(cli: Any, tmp_path: Path) -> None:
    """`model/NAME.yaml` under --config-dir beats the catalogue, for its policy."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mlp.yaml").write_text(
        "defaults:\n  - _self_\nname: mlp\npolicy:\n  batch_size_inference: 17\n"
    )
    done = cli("--config-dir", "conf", "model=mlp", "plan=true")
    assert names(done) == ["mlp"]
    assert "mlp   17" in done.stdout
    assert names(cli("--config-dir", "conf", "model=convnet", "plan=true")) == ["convnet"]


def test_a_model_file_with_a_name_that_the_suite_lacks(cli: Any, tmp_path: Path) -> None:
    """With one suite, it is an unknown name like any other."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("name: mpl\n")
    assert "'mpl'. Did you mean: mlp?" in said(cli("--config-dir", "conf", "model=mine"))


def test_regular_expressions(cli: Any) -> None:
    """A single one needs no quotes for Hydra, a list does."""
    assert names(cli("select.include=ml", "plan=true")) == ["mlp"]
    assert names(cli('select.include=["^m","former$"]', "select.exclude=MLP", "plan=true")) == ["transformer"]


def test_help_is_one_screen_with_the_quoted_forms(cli: Any) -> None:
    """It teaches: groups, keys, exit codes, and what must be quoted."""
    done = cli("--help")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 120
    for word in ('\'select.include=["^resnet","bert$"]\'', "'model=glob(", "resume DIR", "Exit codes", "backend="):
        assert word in done.stdout
    assert "resnet18\n" not in done.stdout


def test_resume_has_help_of_its_own(cli: Any) -> None:
    """A subcommand explains itself, and wrong usage of it is exit 2."""
    assert "--other-env" in cli("resume", "--help").stdout
    assert cli("resume").returncode == 2
    assert cli("resume", "x", "--failed", "--all").returncode == 2


def test_cfg_shows_the_composition(cli: Any) -> None:
    """`--cfg job` prints plain YAML and leaves nothing behind."""
    done = cli("--cfg", "job", "-p", "suite", "suite=torchbench")
    assert done.returncode == 0
    assert "runner.loaders.torchbench.Torchbench" in done.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [("runner suite=torchbench model=resn", "resnet18"), ("runner backend=ind", "inductor"), ("runner mode", "mode=")],
)
def test_completion(cli: Any, line: str, offered: str) -> None:
    """The console script completes groups, options and names of the chosen suite."""
    done = cli("-sc", "query=bash", env={"COMP_LINE": line, "COMP_POINT": str(len(line))})
    assert offered in done.stdout.split("\n", 1)[0] + done.stdout, done.stderr


def test_a_run_prints_a_table_and_where_the_files_are(cli: Any, tmp_path: Path, toys: Toys) -> None:
    """The default folder is outputs/DATE/TIME-ID; progress goes to stderr, the summary to stdout."""
    done = cli(*toys, "suite=toy_suite", "experiment=toy_noop", "isolation=none")
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.glob("outputs/*/*/run.json")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-[0-9a-f]{4}", str(record.parent.relative_to(tmp_path / "outputs"))
    )
    assert "[1/2] toy1 ok" in done.stderr
    assert "results in outputs/" in done.stdout
    assert "toy_noop.csv" in done.stdout


def test_strict_counts_the_unsupported(cli: Any, toys: Toys) -> None:
    """`strict=true` makes an unsupported cell exit 1; without it, it is 0."""
    words = (*toys, "suite=bad", "experiment=toy", "model=unsupported", "isolation=none")
    assert cli(*words).returncode == 0
    assert cli(*words, "strict=true").returncode == 1
