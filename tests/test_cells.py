"""Which cells a command means, and the keys that identify them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runner.cells import Cell, Selection, subject, unique
from runner.results.columns import Status

VECTORS = json.loads((Path(__file__).parent / "fixtures" / "cell_ids.json").read_text())


def cell(name: str, **more: Any) -> Cell:
    """A small cell."""
    config = {"choices": {"suite": "demo", "experiment": "speedup"}, "model": {"name": name}, "experiment": {}}
    return Cell({**config, "device": {"type": "cpu"}, **more})


def planned(out: str) -> dict[str, list[str]]:
    """Name -> the rest of its line in what plan=true printed."""
    lines = [line.split() for line in out.splitlines()]
    width = next(len(line) for line in lines if line[:1] == ["name"])
    return {line[0]: line[1:] for line in lines if len(line) >= width - 3 and line[-1] == "run"}


def ids(out: str) -> dict[str, str]:
    """Name -> cell_id in what plan=true printed."""
    return {
        name: next(word for word in words if len(word) == 12 and set(word) <= set("0123456789abcdef"))
        for name, words in planned(out).items()
    }


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["what"])
def test_cell_id_never_changes(vector: dict[str, Any]) -> None:
    """The id of a configuration is the checked-in one: results of different versions can be joined."""
    assert Cell(vector["config"]).cell_id == vector["cell_id"]


def test_cell_id_of_a_whole_configuration(cli: Any) -> None:
    """What a command composes to has the checked-in id, so no new default changes an identity unnoticed.

    A changed default is a changed measurement: then the new id belongs here, and in the changelog.
    """
    done = cli("suite=demo", "model=mlp", "device=cpu", "plan=true")
    assert ids(done.stdout) == {"mlp": "a21c07eee564"}, done.stderr


def test_cell_id_is_the_same_however_it_was_asked_for(cli: Any) -> None:
    """All, a pattern, a name and a sweep give one id for one cell; select, tag, limits and the like don't count."""
    from_all = ids(cli("plan=true", "select.exclude=mlp", "tag=x", "limits.cell_s=7", "isolation=none").stdout)
    sweep = cli("plan=true", "model=convnet,transformer", "strict=true", "--multirun").stdout
    from_sweep = ids(sweep) | ids(sweep.partition("nothing was started")[2])
    from_pattern = ids(cli("plan=true", "model=*n*", "select.include=conv").stdout)
    assert from_all == from_sweep
    assert from_pattern == {"convnet": from_all["convnet"]}


def test_cell_id_differs_where_the_measurement_does() -> None:
    """Any value that decides the result is part of the identity, its type included."""
    same = cell("a", seed=0)
    others = [cell("b", seed=0), cell("a", seed=1), cell("a", seed=0.0), cell("a", seed=0, batch_size=2)]
    assert len({c.cell_id for c in (same, *others)}) == 5


def test_keys_without_a_value_do_not_count() -> None:
    """A new optional key leaves old identities alone."""
    assert cell("a").with_field("experiment", task=None).cell_id == cell("a").cell_id


def test_expansion_changes_the_copy_only() -> None:
    """`with_field` gives another cell and leaves the first as it was."""
    first = cell("a")
    second = first.with_field("experiment", task="vjp")
    assert (first.row()["task"], second.row()["task"]) == (None, "vjp")
    assert first.cell_id != second.cell_id


def test_a_skipped_cell_is_the_same_cell() -> None:
    """Whether it runs is no part of what it is."""
    skipped = cell("a").skipped("no reason", Status.UNSUPPORTED)
    assert skipped.cell_id == cell("a").cell_id
    assert skipped.planned == {"status": "unsupported", "error": "no reason"}


def test_subject_joins_runs() -> None:
    """Two rows with other backends, ids and numbers are about the same subject; another batch size is another one."""
    row = {"suite": "demo", "name": "mlp", "experiment": "speedup", "dev": "cpu", "batch_size": 8, "task": None}
    assert subject({**row, "backend": "eager", "cell_id": "1"}) == subject({**row, "backend": "inductor", "task": ""})
    assert subject({**row, "batch_size": 9}) != subject(row)


def test_names_in_catalogue_order() -> None:
    """`all` and a bare star are the listed ones, other patterns search all known ones, a name is itself."""
    listed, known = ["b", "a"], ["a", "b", "ab", "c"]
    chosen = {model: Selection(model).models(listed, known) for model in ("all", "*", "a*", "?b", "c")}
    assert chosen == {"all": ["b", "a"], "*": ["b", "a"], "a*": ["a", "ab"], "?b": ["ab"], "c": ["c"]}


def test_include_and_exclude() -> None:
    """Regular expressions anywhere in the name, whatever the case; to go wins over to stay."""
    names = ["resnet18", "ResNet50", "vgg16"]
    selection = Selection("all", include=["^resnet", "vgg"], exclude=["50$"])
    assert selection.models(names, names) == ["resnet18", "vgg16"]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_shards_are_disjoint_and_together_everything(count: int) -> None:
    """Each cell is in exactly one shard; those that run are dealt evenly, the others go with the first."""
    cells = [cell(str(i)) if i % 3 else cell(str(i)).skipped("third") for i in range(11)]
    shards = [Selection("all", shard=(i, count)).part(cells) for i in range(1, count + 1)]
    assert sorted(c.cell_id for shard in shards for c in shard) == sorted(c.cell_id for c in cells)
    sizes = [sum(c.planned is None for c in shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [2, 1, 3]])
def test_shards_of_a_sweep_partition_its_cells(sizes: list[int]) -> None:
    """Every cell of every job is in exactly one shard, and jobs of one cell each go to the shards in turn."""
    jobs = [[cell(f"{job}.{place}") for place in range(size)] for job, size in enumerate(sizes)]
    shards = [[found for job, cells in enumerate(jobs) for found in half(i, cells, job)] for i in (1, 2)]
    assert sorted(c.cell_id for shard in shards for c in shard) == sorted(c.cell_id for cells in jobs for c in cells)
    assert abs(len(shards[0]) - len(shards[1])) <= 1


def half(number: int, cells: list[Cell], job: int) -> list[Cell]:
    """One of two shards of a job's cells."""
    return Selection("all", shard=(number, 2)).part(cells, job)


def test_a_cell_asked_for_twice_is_one() -> None:
    """Repetitions go, order stays."""
    assert [c.name for c in unique([cell("b"), cell("a"), cell("b")])] == ["b", "a"]


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "-1/2", "1/0"])
def test_a_shard_out_of_range_is_refused(cli: Any, shard: str) -> None:
    """One sentence, exit 2."""
    done = cli("plan=true", f"select.shard={shard}")
    assert done.returncode == 2
    assert "select.shard" in done.stderr
    assert "Traceback" not in done.stderr


def test_shards_of_a_command(cli: Any) -> None:
    """Two shards of three models; a fourth shard would be empty, which is exit 2."""
    found = [list(ids(cli("plan=true", f"select.shard={i}/2").stdout)) for i in (1, 2)]
    assert found == [["mlp", "transformer"], ["convnet"]]
    empty = cli("plan=true", "select.shard=4/4")
    assert (empty.returncode, empty.stderr.count("\n")) == (2, 1)
    assert "select.shard=4/4" in empty.stderr


def test_plan_starts_nothing(cli: Any, tmp_path: Path, toys: tuple[str, str]) -> None:
    """It says what would run, what not and why; no run.json, no rows; the folder can then be used for the run."""
    words = (*toys, "suite=toy_suite", "experiment=toy", "hydra.run.dir=out")
    done = cli(*words, "plan=true")
    assert done.returncode == 0
    assert "skipped: not today" in done.stdout
    assert "2 cells, 1 to run, 1 not; nothing was started" in done.stdout
    assert "none of them was run before" in done.stdout
    assert not list(tmp_path.rglob("run.json")) + list(tmp_path.rglob("*.csv"))


def test_no_skip(cli: Any, toys: tuple[str, str]) -> None:
    """`select.no_skip=true` runs what the catalogue skips, and it is the same cell."""
    words = (*toys, "suite=toy_suite", "experiment=toy", "plan=true")
    assert "2 cells, 2 to run, 0 not" in cli(*words, "select.no_skip=true").stdout


def test_policy_of_catalogue_and_command(cli: Any, toys: tuple[str, str]) -> None:
    """The model's batch size is the catalogue's; `batch_size=` and `policy.*` win over it."""
    words = (*toys, "suite=toy_suite", "experiment=toy", "model=toy1", "plan=true")
    sizes = [
        planned(cli(*words, *more).stdout)["toy1"][0]
        for more in ((), ("batch_size=5",), ("policy.batch_size_inference=7",))
    ]
    assert sizes == ["3", "5", "7"]


def test_plan_knows_earlier_durations(cli: Any, tmp_path: Path, toys: tuple[str, str]) -> None:
    """What the same cell took in an earlier run beside this one is in the plan."""
    words = (*toys, "suite=toy_suite", "experiment=toy_noop", "isolation=none", "model=toy1")
    assert cli(*words, "tag=before").returncode == 0
    done = cli(*words, "plan=true")
    assert "earlier" in done.stdout
    assert re.search(r"1 of them took \d+ s before", done.stdout)
