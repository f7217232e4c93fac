"""The HTML report in a browser. Needs chromium, chromedriver and the package selenium."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.report.main import main

pytestmark = pytest.mark.services
EVIL = "<script>document.title='broken'</script>"
BATCH = 60


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium that logs its console and its requests."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    assert all(found.values()), f"not installed: apt-get install chromium chromium-driver ({found})"
    options = webdriver.ChromeOptions()
    options.binary_location = found["chromium"]
    for switch in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"):
        options.add_argument(f"--{switch}")
    options.add_argument("--disable-background-networking")
    options.add_argument("--disable-component-update")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found["chromedriver"]))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def run(made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all sorts of rows, one of which has a hostile name and error."""
    folder = tmp_path_factory.mktemp("run")
    cells = made.cells_of([*made.names_of(BATCH), EVIL])
    rows = list(made.rows_of(cells, seed=3))
    rows[-1] = {**rows[-1], "status": "crashed", "phase": "compile", "error": EVIL, "flags": EVIL, "speedup": None}
    rows[0] |= {"status": "ok", "speedup": 1.5, "speedup_lo": float("nan"), "speedup_hi": float("inf")}
    rows[1] |= {"status": "ok", "speedup": float("inf"), "abs_latency": float("nan")}
    rows[0], rows[1] = ({**made.ok_row(random.Random(0)), **row} for row in rows[:2])
    files = made.write_run(folder, rows, cells)
    made.add_details(files, rows)
    return folder


@pytest.fixture
def page(browser, run: Path, tmp_path: Path) -> Iterator[Any]:
    """The report, opened; at the end nothing was requested and nothing complained."""
    path = tmp_path / "report.html"
    assert main([str(run), "--format", "html", "--output", str(path)]) == 0
    browser.set_window_size(1360, 1000)
    browser.get_log("performance")
    browser.get(path.as_uri())
    browser.execute_script("try { localStorage.clear() } catch {}")
    yield browser
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in sent if not url.startswith(("file:", "data:"))] == []


def rows_of(run: Path) -> list[dict[str, str]]:
    """What the CSV says."""
    with (run / "speedup.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def shown(page: Any, column: str) -> list[str]:
    """The texts of a column, all lines of the list, which is made as high as it needs to be."""
    page.execute_script("document.getElementById('table').style.maxHeight = 'none'; dispatchEvent(new Event('resize'))")
    script = 'return [...document.querySelectorAll(`.row [data-column="${arguments[0]}"]`)].map(e => e.textContent)'
    return page.execute_script(script, column)


def text_of(page: Any, selector: str) -> str:
    """Text of one element."""
    return page.execute_script("return document.querySelector(arguments[0]).innerText", selector)


def click(page: Any, selector: str) -> None:
    """Click an element, wherever it is."""
    page.execute_script("document.querySelector(arguments[0]).click()", selector)


def test_it_shows_what_the_csv_says(page, run: Path):
    """Every model with its status and its speedup, sorted by speedup."""
    rows = {row["name"]: row for row in rows_of(run)}
    names, values, statuses = shown(page, "name"), shown(page, "speedup"), shown(page, "status")
    assert sorted(names) == sorted(rows)
    for name, value, status in zip(names, values, statuses, strict=True):
        wanted = rows[name]["speedup"]
        assert float(value or 0) == pytest.approx(float(wanted or 0), rel=5e-4)
        assert status in (rows[name]["status"], "unconverged")
    measured = [float(value) for value in values if value not in ("", "inf")]
    assert measured == sorted(measured)


def test_tiles_agree_with_the_terminal(page, run: Path, capsys: pytest.CaptureFixture[str]):
    """Pass rate, mean and both intervals are the same figures."""
    main([str(run)])
    text = capsys.readouterr().out
    tiles = text_of(page, "#tiles")
    mean = next(word for word in tiles.split() if word.endswith("x") and word[0].isdigit())
    assert f"{mean} (n=" in text
    measurement = tiles.split("measurement interval")[1].split()[0]
    assert f"[{measurement}," in text


def test_sorting(page):
    """A click on a column's head sorts by it, a second one the other way round; empty ones stay last."""
    for reverse in (False, True):
        click(page, '[data-sort="compile_s"]')
        values = shown(page, "compile_s")
        numbers = [float(value) for value in values if value]
        assert numbers == sorted(numbers, reverse=reverse)
        assert all(values[: len(numbers)])


def test_filtering(page, run: Path):
    """Search, status and flag narrow the list and the charts; reset brings everything back."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    rows = rows_of(run)
    page.find_element(By.ID, "search").send_keys("resnet")
    assert set(shown(page, "name")) == {row["name"] for row in rows if "resnet" in row["name"]}
    assert text_of(page, "#charts").count("slowest first") == 1
    click(page, "#reset")
    Select(page.find_element(By.CSS_SELECTOR, '[data-pick="flag"]')).select_by_value("load")
    assert set(shown(page, "name")) == {row["name"] for row in rows if "load" in row["flags"].split(";")}
    click(page, "#reset")
    Select(page.find_element(By.CSS_SELECTOR, '[data-pick="status"]')).select_by_value("crashed")
    assert set(shown(page, "name")) == {row["name"] for row in rows if row["status"] == "crashed"}
    click(page, "#reset")
    assert len(shown(page, "name")) == len(rows)


def test_a_model(page, run: Path):
    """Its numbers, its samples, where compiling went, the log and the command; the address leads back to it."""
    row = next(row for row in rows_of(run) if row["status"] == "ok" and row["graph_breaks"] == "2")
    assert row["name"] in shown(page, "name")
    find = "[...document.querySelectorAll('.model')].find(e => e.textContent === arguments[0])"
    page.execute_script(f"{find}.click()", row["name"])
    text = text_of(page, "#detail").lower()
    for words in (
        row["name"],
        "samples: 60 pairs",
        "distribution",
        "graph breaks",
        "compile-time phases",
        f"compiling {row['name']}",
    ):
        assert words in text
    assert text_of(page, "#command") == row["command"]
    value = text_of(page, '[data-fact="abs_latency"]')
    assert float(value) == pytest.approx(float(row["abs_latency"]), rel=5e-4)
    click(page, '[aria-label="Close"]')
    assert page.execute_script("return document.getElementById('detail').hidden")


def test_hostile_text_is_text(page):
    """A name that is a script is shown and not run."""
    assert EVIL in shown(page, "name")
    assert page.title.startswith("Benchmark report")
    assert EVIL in text_of(page, "#failures")


def test_light_and_dark(page):
    """The page follows the system, and a button changes it."""
    ground = "return getComputedStyle(document.body).backgroundColor"
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    dark = page.execute_script(ground)
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    light = page.execute_script(ground)
    assert light != dark
    click(page, "#theme")
    assert page.execute_script(ground) == dark
    click(page, "#theme")
    assert page.execute_script(ground) == light


def test_on_a_phone(page, run: Path):
    """Nothing is wider than the screen, in the overview and in a model's part."""
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        for place in ("", "#0/0"):
            page.execute_script("location.hash = arguments[0]", place)
            page.execute_script("dispatchEvent(new Event('resize'))")
            assert page.execute_script("return document.documentElement.scrollWidth") <= 390
            assert page.execute_script(
                "const d = document.getElementById('detail'); return d.hidden || d.scrollWidth <= d.clientWidth"
            )
        assert len(page.execute_script("return [...document.querySelectorAll('#head > *')]")) == 3
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
