"""Packs recorded logs into the archives that ship: `python -m runner.operators.pack RUN...`.

One archive per suite, of files that upstream could read and a manifest; the same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from runner.operators.catalogue import LOGS, read_archive

MANIFEST = "manifest.json"
#: Columns of the recording's rows that the manifest keeps, beside torch's version.
KEPT = ("batch_size", "precision", "recorded_with")


def main(argv: Sequence[str] | None = None) -> None:
    """Write an archive for each suite that the runs recorded."""
    parser = argparse.ArgumentParser(prog="python -m runner.operators.pack", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs of experiment=record_operators")
    parser.add_argument("--output", type=Path, default=LOGS, help="folder for the archives; default: in the package")
    parser.add_argument("--keep", action="store_true", help="keep those logs of an archive that the runs don't have")
    given = parser.parse_args(argv)
    suites: dict[str, dict[str, str]] = {}
    manifests: dict[str, dict[str, dict[str, str]]] = {}
    for suite, name, text, facts in (found for run in given.runs for found in recorded(run)):
        suites.setdefault(suite, {})[name] = text
        manifests.setdefault(suite, {})[name] = facts
    for suite, files in suites.items():
        path = given.output / f"{suite}.tar.xz"
        before = read_archive(path) if given.keep and path.is_file() else {}
        manifest = json.loads(before.pop(MANIFEST, "{}")) | manifests[suite]
        write(path, {**before, **files, MANIFEST: json.dumps(manifest, indent=0, sort_keys=True)})
        print(f"{path}: {len(before | files)} logs, {path.stat().st_size} bytes")


def recorded(run: Path) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Suite, file name, text and facts of each log of a run."""
    environment = json.loads((run / "run.json").read_text(encoding="utf-8"))["environment"]
    with (run / "record_operators.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["status"] == "ok":
                path = run / row["operator_log"]
                facts = {**{key: row[key] for key in KEPT}, "torch": environment["torch"]["version"]}
                yield row["suite"], path.name, path.read_text(encoding="utf-8"), facts


def write(path: Path, files: dict[str, str]) -> None:
    """A compressed archive of text files, the same bytes for the same texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for name in sorted(files):
            data = files[name].encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    main()
