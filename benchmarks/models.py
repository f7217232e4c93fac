"""Wall time per model, how well the speedup is known, and where the time goes.

python benchmarks/models.py [suite=torchbench model=... and any other override]
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = (("nanogpt",), ("BERT_pytorch", "batch_size=2"), ("dcgan",))
PHASES = ("load", "eager", "compile", "check", "memory", "warmup", "measure")


def main() -> None:
    """One run per model, so that each pays for its own start."""
    print("model          batch  wall s  rel_hw  calls  speedup  " + "  ".join(f"{p:>7}" for p in PHASES))
    for name, *more in MODELS:
        folder = tempfile.mkdtemp()
        command = ["suite=torchbench", f"model={name}", *more, *sys.argv[1:], f"hydra.run.dir={folder}"]
        subprocess.run([sys.executable, "-m", "runner", *command], check=True, capture_output=True)
        with (Path(folder) / "speedup.csv").open() as file:
            (row,) = csv.DictReader(file)
        spent = dict(pair.split("=") for pair in row["phase_s"].split(";"))
        pairs = int(row["n_pairs"]) * (int(row["block_a"]) + int(row["block_b"]))
        print(
            f"{name:13}  {row['batch_size']:>5}  {float(row['cell_s']):6.1f}  {float(row['rel_hw']):6.4f}  {pairs:5d}"
            f"  {float(row['speedup']):7.3f}  " + "  ".join(f"{float(spent.get(p, 0)):7.2f}" for p in PHASES)
        )


if __name__ == "__main__":
    main()
