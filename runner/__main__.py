"""`python -m runner`: a subcommand, or a Hydra run."""

from __future__ import annotations

import importlib
import sys

#: Word -> module with `main(argv) -> exit code`. Their modules import no torch.
SUBCOMMANDS = {
    "compare": "runner.compare.command",
    "history": "runner.history.command",
    "models": "runner.models_command",
    "merge": "runner.merge",
    "report": "runner.report.main",
    "rerun": "runner.rerun",
    "resume": "runner.resume",
    "watch": "runner.report.watch",
}


def main() -> int:
    """Run the command line; returns the exit code."""
    if sys.platform == "win32":
        print("The runner needs Linux (macOS works with isolation=spawn); Windows is not supported.", file=sys.stderr)
        return 2
    argv = sys.argv[1:]
    if argv and argv[0] in SUBCOMMANDS:
        code: int = importlib.import_module(SUBCOMMANDS[argv[0]]).main(argv[1:])
        return code
    if "--version" in argv:
        print_versions()
        return 0
    from runner.launch import hydra_run

    return hydra_run(argv)


def print_versions() -> None:
    """A line for this program, and one for each of the two that it stands on."""
    from importlib.metadata import PackageNotFoundError, version

    from runner import __version__

    print(f"runner {__version__}")
    for package in ("torch", "hydra-core"):
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:  # a torch that is imported from its build folder has none
            print(f"{package}: no version is recorded")


def console() -> None:
    """Entry point of the console script `runner`."""
    raise SystemExit(main())


if __name__ == "__main__":
    console()
