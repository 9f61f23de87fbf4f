"""From hover to picture: ``pytest benchmarks/test_explorer.py -n 0 --benchmark-enable -s``.

One layer of 32² tokens and eight segments over a picture of 384×512, in Chromium: the time from a
pointer's move until the place's map is drawn.
"""

import shutil

import numpy as np
from playwright.sync_api import sync_playwright

from attnprobe.fields import Segmentation
from attnprobe.view.explorer import explorer_html, explorer_payload
from tests.view.test_explorer_page import open_page, picture, random_maps

HOVER = """async () => {
    const canvas = document.querySelector("canvas");
    const readout = document.querySelector(".readout");
    const box = canvas.getBoundingClientRect();
    const times = [];
    for (let i = 0; i < 30; i += 1) {
        await new Promise((done) => setTimeout(done, 20));
        const before = readout.textContent;
        const start = performance.now();
        canvas.dispatchEvent(new PointerEvent("pointermove", {
            clientX: box.left + (box.width * (i + 0.5)) / 32,
            clientY: box.top + box.height / 2,
            pointerType: "mouse",
        }));
        while (readout.textContent === before) {
            await new Promise((done) => requestAnimationFrame(done));
        }
        canvas.getContext("2d").getImageData(0, 0, 1, 1); // waits until it is drawn
        times.push(performance.now() - start);
    }
    return times;
}"""


def test_from_hover_to_picture(tmp_path):
    labels = np.arange(48).reshape(6, 8) % 8
    payload = explorer_payload(
        picture(), [random_maps(grid=(32, 32))], segmentation=Segmentation(labels)
    )
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        page = open_page(browser.new_page(), tmp_path, explorer_html(payload))
        times = page.evaluate(HOVER)
        browser.close()
    print(f"\nfrom hover to picture: median {np.median(times):.0f} ms of {len(times)}")
    assert np.median(times) < 50
