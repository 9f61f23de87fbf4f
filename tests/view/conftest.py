import os
import shutil
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, headless."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        # Where all must be tested, as in .ci/run, a missing browser is a failure.
        stop = pytest.fail if os.environ.get("ATTNPROBE_REQUIRE_BROWSER") else pytest.skip
        stop("pages are tested in Chromium, which is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses root, which containers run as.
        browser = playwright.chromium.launch(
            executable_path=executable, chromium_sandbox=os.geteuid() != 0
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """An empty page; at the end none of its requests has left the machine and nothing has failed.

    `page.errors` says what has gone wrong so far.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.errors = []

    def watch(route):
        url = urlsplit(route.request.url)
        if url.scheme in ("http", "https", "ws", "wss") and url.hostname != "127.0.0.1":
            page.errors.append(f"a request left: {route.request.url}")
            route.abort()
        else:
            route.continue_()

    context.route("**/*", watch)
    page.on("pageerror", lambda error: page.errors.append(f"uncaught: {error}"))
    page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
    yield page
    errors = page.errors
    context.close()
    assert errors == []
