"""What a report costs: an HTML page of 2 000 models with 60 samples each, and a table of 100 000 rows.

`python benchmarks/report.py` prints what was measured beside the limit, and ends with 1 if one was exceeded.
Needs chromium, chromedriver and selenium.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fixtures")]

import synthetic  # noqa: E402 - found where the line above says

MODELS, SAMPLES, ROWS = 2_000, 60, 100_000
#: What is typed into the search field, one after the other.
SEARCHES = ("resnet", "b", "bert_01", "", "crashed", "no such model", "")
PAINTED = "return performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0] || 0"
FILTER = """
const field = document.getElementById('search'), began = performance.now();
field.value = arguments[0];
field.dispatchEvent(new Event('input'));
document.body.getBoundingClientRect();
return performance.now() - began;
"""


def main() -> int:
    """Measure everything; 1 if something took longer than it may."""
    with tempfile.TemporaryDirectory() as folder:
        found = [*page(Path(folder)), *table(Path(folder))]
    for what, value, limit, unit in found:
        print(f"{what:50} {value:8.2f} {unit:3} (limit {limit:g} {unit}){'' if value <= limit else '  EXCEEDED'}")
    return int(any(value > limit for _, value, limit, _ in found))


def page(folder: Path) -> list[tuple[str, float, float, str]]:
    """Size, first paint and the slowest filter of the HTML page."""
    cells = synthetic.cells_of(synthetic.names_of(MODELS))
    rows = list(synthetic.rows_of(cells))
    synthetic.add_details(synthetic.write_run(folder / "page", rows, cells), rows, SAMPLES)
    path = folder / "report.html"
    report(folder / "page", "--format", "html", "--output", str(path))
    browser = open_browser()
    try:
        browser.get(path.as_uri())
        time.sleep(2)  # what the page does after its first paint isn't part of a filter
        painted = browser.execute_script(PAINTED)
        slowest = max(browser.execute_script(FILTER, text) for text in SEARCHES)
    finally:
        browser.quit()
    return [
        (f"HTML of {MODELS} models x {SAMPLES} samples", path.stat().st_size / 1e6, 15, "MB"),
        ("its first paint", painted / 1e3, 2, "s"),
        ("its slowest filter", slowest, 100, "ms"),
    ]


def open_browser() -> Any:
    """A headless Chromium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for switch in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        "disable-component-update",
    ):
        options.add_argument(f"--{switch}")
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def table(folder: Path) -> list[tuple[str, float, float, str]]:
    """Seconds until the report of many rows, and of few, is printed."""
    few = synthetic.cells_of(synthetic.names_of(20))
    many = synthetic.cells_of(synthetic.names_of(ROWS))
    for name, cells in (("few", few), ("many", many)):
        synthetic.write_run(folder / name, list(synthetic.rows_of(cells, random.randrange(1000))), cells)
    return [
        (f"report on {ROWS} rows", report(folder / "many"), 5, "s"),
        ("report on 20 rows", min(report(folder / "few") for _ in range(3)), 1.2, "s"),
    ]


def report(run: Path, *arguments: str) -> float:
    """Wall time of `python -m runner report`."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "runner", "report", str(run), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
