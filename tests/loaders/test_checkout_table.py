"""docs/torchbench_table.py: the table of a checkout's models says what came of each."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
HEADER = "name,status,error,batch_size,flags,source"


def script() -> ModuleType:
    """The command as a module."""
    spec = importlib.util.spec_from_file_location("torchbench_table", ROOT / "docs" / "torchbench_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_joins_runs(tmp_path: Path) -> None:
    """A model that ran in one of the runs has run; others keep their last reason; a model of no run is named."""
    one = "a,unsupported,has a fixed batch size,1,,\nb,unsupported,needs the package x|y,,,\n"
    own = "a,ok,,7,checkout_0;random_weights,torchbenchmark\nb,timeout,,,,\n"
    for name, rows in {"one": one, "own": own}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "speedup.csv").write_text(f"{HEADER}\n{rows}")
    module = script()
    text = module.table(["a", "b", "c"], module.best(module.rows([tmp_path / "own", tmp_path / "one"])), "abc")
    assert text.startswith("1 of 3 core models ran; commit `abc`")
    lines = text.splitlines()[-3:]
    assert lines[0] == "| a | ok | 7 | random for pretrained |  |"
    assert lines[1] == "| b | unsupported |  |  | needs the package x\\|y |"
    assert lines[2].startswith("| c | not run |")
