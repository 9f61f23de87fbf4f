"""How soon a report is seen: ``pytest benchmarks/test_report.py -n 0 --benchmark-enable -s``.

Twenty scenes at 128 px, whose maps have 32² tokens, opened from disk in Chromium: the time from
navigation to the first contentful paint, as the page itself has it, and what an image weighs.
"""

import shutil
import statistics

import pytest
from playwright.sync_api import sync_playwright

from attnprobe.models import ModelSpec
from tests.view.runs import make_run

IMAGES, OPENINGS = 20, 7


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    model = ModelSpec(preset="tiny", device="cpu").load()
    run = tmp_path_factory.mktemp("report") / "run"
    make_run(model, run, images=f"{{use: scenes, count: {IMAGES}}}")
    return run / "report.html"


def test_first_paint_of_a_report(report):
    times = []
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        for _ in range(OPENINGS):
            page = browser.new_page()
            page.goto(report.as_uri())
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            times.append(page.evaluate(paint))
            page.close()
        browser.close()
    weight = report.stat().st_size / IMAGES / 1e3
    print(f"\nfirst paint: median {statistics.median(times):.0f} ms of {OPENINGS} openings, ")
    print(f"slowest {max(times):.0f} ms; {weight:.0f} kB an image")
    assert max(times) < 2000
    assert weight < 1000
