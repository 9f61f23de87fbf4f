"""Runs of the embedded model for the pages that show them."""

import threading
from contextlib import contextmanager

import numpy as np
import uvicorn
from PIL import Image

from attnprobe.cache import FieldCache
from attnprobe.pipeline import Pipeline
from attnprobe.recipe import load_recipe
from attnprobe.run import Run, RunFolder
from attnprobe.view.report import write_report
from attnprobe.view.report_run import ShownRun
from attnprobe.view.server.app import make_app
from attnprobe.view.server.serve import config

EVIL = "<img src=x onerror=alert(1)>"
"""A file's name that is a trap where it is taken for HTML."""


def make_run(tiny, path, *overrides, images=""):
    """Carry out a small DiffSeg run, over three scenes and a picture of an evil name if no images
    are given; its folder."""
    recipe = load_recipe("diffseg", [f"images={images or _images(path)}", *overrides])
    stages = recipe.aggregate, recipe.group, recipe.refine
    pipeline = Pipeline(tiny, recipe.probe, *stages, cache=FieldCache())
    path.mkdir(parents=True)
    list(Run(recipe, recipe.samples(), pipeline, RunFolder(path)))
    write_report(path)
    return path


def _images(path):
    pictures = path.with_name("pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(pictures / f"{EVIL}.png")
    (pictures / "<b>broken.png").write_text("no picture")
    return f"[{{use: scenes, count: 3}}, {{use: folder, path: {pictures}}}]"


@contextmanager
def served(*paths):
    """Serve runs from a thread of this process; the address."""
    with serving(make_app([ShownRun.load(path) for path in paths])) as address:
        yield address


@contextmanager
def serving(app):
    """Serve an application from a thread of this process; the address."""
    server = uvicorn.Server(config(app))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def pixels(page, selector="canvas"):
    """What the first canvas shows, as text that differs where a pixel does.

    Explorers draw in the next frame, so two are waited for.
    """
    return page.locator(selector).first.evaluate(
        """async (canvas) => {
            for (const _ of [1, 2]) await new Promise((done) => requestAnimationFrame(done));
            return canvas.toDataURL();
        }"""
    )


def wait_for_pictures(page, selector):
    """Wait until there are pictures and all of them can be seen.

    A page is loaded without its lazy pictures, so having gone there says nothing of them.
    """
    page.wait_for_function(
        """(selector) => {
            const all = [...document.querySelectorAll(selector)];
            return all.length > 0 && all.every((image) => image.naturalWidth > 0);
        }""",
        arg=selector,
    )


def overflow(page):
    """By how many pixels a page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")
